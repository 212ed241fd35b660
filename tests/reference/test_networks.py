"""The networks against diffusers: same parameter names, same outputs from the same weights."""

import pytest
import torch

from cxr_ldm.networks.autoencoder import Autoencoder
from cxr_ldm.networks.unet import UNet

diffusers = pytest.importorskip("diffusers")


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Every parameter off its initial value: a layer that starts at zero could hide a wrong one behind it."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.double().eval()


@pytest.mark.parametrize(("attention", "patch"), [(True, 1), (False, 1), (True, 2)])
def test_autoencoder_equals_diffusers(attention, patch):
    """With a patch, the same on the planes that its pixels make: plane number patch * row + column within a square."""
    channels, groups = (8, 16, 24), 4
    ours = randomised(Autoencoder(4, channels, blocks=1, groups=groups, attention=attention, patch=patch))
    theirs = diffusers.AutoencoderKL(
        in_channels=patch**2,
        out_channels=patch**2,
        latent_channels=4,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=groups,
        mid_block_add_attention=attention,
    )
    theirs.double().eval().load_state_dict(ours.state_dict(), strict=True)
    pixels = torch.randn(2, 1, 16 * patch, 24 * patch, dtype=torch.float64)
    planes = torch.cat([pixels[..., row::patch, column::patch] for row in range(patch) for column in range(patch)], 1)
    with torch.no_grad():
        expected = theirs.encode(planes).latent_dist
        moments = ours.encode(pixels)
        torch.testing.assert_close(moments, torch.cat([expected.mean, expected.logvar], 1), rtol=1e-9, atol=1e-9)
        latents = torch.randn(2, 4, 4, 6, dtype=torch.float64)
        decoded = ours.decode(latents)
        planes = torch.cat([decoded[..., row::patch, col::patch] for row in range(patch) for col in range(patch)], 1)
        torch.testing.assert_close(planes, theirs.decode(latents).sample, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("levels", "middle"), [([0, 1], True), ([1], True), ([0, 2], False)])
def test_unet_equals_diffusers(levels, middle):
    channels = (8, 16, 24)
    ours = randomised(
        UNet(3, 20, channels, blocks=2, attention_levels=levels, middle_attention=middle, heads=4, groups=4)
    )
    down = tuple("CrossAttnDownBlock2D" if i in levels else "DownBlock2D" for i in range(3))
    up = tuple("CrossAttnUpBlock2D" if i in levels else "UpBlock2D" for i in reversed(range(3)))
    theirs = diffusers.UNet2DConditionModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=channels,
        down_block_types=down,
        up_block_types=up,
        mid_block_type="UNetMidBlock2DCrossAttn" if middle else "UNetMidBlock2D",
        layers_per_block=2,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=20,
    )
    theirs.double().eval().load_state_dict(ours.state_dict(), strict=True)
    x, context = torch.randn(2, 3, 8, 12, dtype=torch.float64), torch.randn(2, 5, 20, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    label = torch.tensor([3.0, 700.0])
    with torch.no_grad():
        expected = theirs(x, label, context, encoder_attention_mask=mask).sample
        # diffusers adds -10000 to masked scores where ours removes them; float32 sinusoids in both
        torch.testing.assert_close(ours(x, label, context, mask), expected, rtol=1e-6, atol=1e-6)
