"""LightningModules: thin, the mathematics lives in `networks` and `diffusion`."""
