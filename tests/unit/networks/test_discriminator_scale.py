"""A discriminator tells texture from texture, however strong it is."""

import torch

from cxr_ldm.networks.discriminator import PatchDiscriminator


def test_scores_do_not_depend_on_the_strength_of_a_texture():
    """GroupNorm takes it away; a large epsilon in it would let weak ones fade."""
    torch.manual_seed(0)
    network = PatchDiscriminator([8, 8, 8], 4).eval()
    with torch.no_grad():
        for conv in network.convs:
            conv.bias.zero_()
        pixels = torch.randn(2, 1, 32, 32)
        strong, weak = network(pixels), network(0.3 * pixels)
    assert strong.std() > 0.05
    torch.testing.assert_close(weak, strong, rtol=0.0, atol=0.01 * strong.std().item())
