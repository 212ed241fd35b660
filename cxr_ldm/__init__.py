"""cxr_ldm: text-to-chest-X-ray latent diffusion, from raw radiographs to measured samples."""

__version__ = "0.1.0"
