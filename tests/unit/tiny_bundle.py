"""A bundle of a model so small that it is written in a moment: images of 16 pixels, random weights."""

import torch

from cxr_ldm.bundle import save_bundle
from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.unet import UNet
from cxr_ldm.networks.whitening import Whitening
from cxr_ldm.text.encoders import scratch

UNET = {"channels": [8, 16], "blocks": 1, "attention_levels": [0, 1], "middle_attention": True, "heads": 2, "groups": 4}
VAE = {"latent_channels": 2, "channels": [8, 8], "blocks": 1, "groups": 4}
TEXTS = ["Right pleural effusion.", "Normal chest X-ray, clear lungs.", ""]


def write_tiny(place):
    """Everything away from its silent start."""
    torch.manual_seed(0)
    text = scratch(TEXTS * 3, vocabulary=100, layers=1, width=16, heads=2, length=12)
    network = UNet(latent_channels=2, context_width=16, **UNET)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    parts = {
        "autoencoder": Autoencoder(**VAE),
        "network": network,
        "text_encoder": text,
        "whitening": Whitening([0.0, 0.5], [1.0, 2.0]),
    }
    specs = {
        "autoencoder": {"_target_": "cxr_ldm.networks.autoencoder.Autoencoder", **VAE},
        "network": {"_target_": "cxr_ldm.networks.unet.UNet", "latent_channels": 2, "context_width": 16, **UNET},
        "schedule": {"_target_": "cxr_ldm.diffusion.schedules.RectifiedFlow"},
        "scaling": {"_target_": "cxr_ldm.diffusion.scaling.Velocity"},
        "text_encoder": {"_target_": "cxr_ldm.text.encoders.TextEncoder", **text.arguments},
        "whitening": {"_target_": "cxr_ldm.networks.whitening.Whitening", "mean": [0.0, 0.5], "std": [1.0, 2.0]},
    }
    save_bundle(place, "ldm", specs, parts, {"size": 16})
    return place
