"""Which measures of a VAE, a diffusion model, a classifier or two models are taken, and on which images."""
