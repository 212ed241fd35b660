"""The UNet that sees a hole: it begins as the UNet it was made of, and learns what lies around."""

import pytest
import torch

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.scaling import Velocity
from cxr_ldm.diffusion.schedules import RectifiedFlow
from cxr_ldm.errors import UserError
from cxr_ldm.networks.inpainting import Filling, InpaintUNet
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.networks.unet import UNet
from cxr_ldm.stages.holes import WHOLE, filling, holes, learning

ARGUMENTS = {
    "latent_channels": 2,
    "context_width": 8,
    "channels": [8, 16],
    "blocks": 1,
    "attention_levels": [1],
    "middle_attention": True,
    "groups": 4,
    "head_width": 8,
}


@pytest.fixture
def network():
    torch.manual_seed(0)
    found = UNet(**ARGUMENTS)
    for weights in found.parameters():  # the last layer begins at zero, and would hide everything
        torch.nn.init.normal_(weights, std=0.2)
    return found


def inputs(count=2):
    random = torch.Generator().manual_seed(1)
    x, context = (torch.randn(shape, generator=random) for shape in ((count, 2, 8, 8), (count, 3, 8)))
    return x, torch.full((count,), 500.0), context, torch.ones(count, 3, dtype=torch.bool)


def test_it_begins_as_the_unet_it_was_made_of(network):
    made = learning(network, ARGUMENTS)
    given, known = inputs(), torch.randn(2, 2, 8, 8)
    expected = network(*given)
    torch.testing.assert_close(made(*given), expected)
    torch.testing.assert_close(made(*given, known, torch.zeros(2, 1, 8, 8)), expected)
    assert learning(made, ARGUMENTS) is made


def test_what_lies_in_the_hole_is_not_looked_at_and_what_lies_outside_is(network):
    made = learning(network, ARGUMENTS)
    torch.nn.init.normal_(made.conv_known.weight)
    given, known = inputs(), torch.randn(2, 2, 8, 8)
    hole = torch.zeros(2, 1, 8, 8)
    hole[..., :4] = 1
    inside, outside = known.clone(), known.clone()
    inside[..., :4] += 1
    outside[..., 4:] += 1
    expected = made(*given, known, hole)
    torch.testing.assert_close(made(*given, inside, hole), expected)
    assert not torch.allclose(made(*given, outside, hole), expected)
    torch.testing.assert_close(made(*given), made(*given, known, torch.ones(2, 1, 8, 8)))


def test_guidance_shows_both_halves_of_its_batch_the_same_surroundings(network):
    made = learning(network, ARGUMENTS)
    torch.nn.init.normal_(made.conv_known.weight)
    x, _, context, mask = inputs()
    known, hole = torch.randn(2, 2, 8, 8), torch.zeros(2, 1, 8, 8)
    denoiser = Denoiser(Filling(made, known, hole), RectifiedFlow(), Velocity())
    null = torch.zeros(1, 3, 8), mask[:1]
    t = torch.tensor(0.5)
    text = guided(denoiser, context, mask, *null, 1.0)(x, t)
    empty = guided(denoiser, context, mask, *null, 0.0)(x, t)
    torch.testing.assert_close(guided(denoiser, context, mask, *null, 3.0)(x, t), empty + 3 * (text - empty))


def test_training_teaches_the_part_that_sees_the_hole(network):
    made = learning(network, ARGUMENTS)
    denoiser = Denoiser(made, RectifiedFlow(), Velocity())
    x, _, context, mask = inputs()
    shown = filling(denoiser, x, torch.Generator().manual_seed(0))
    shown.error(x, torch.randn_like(x), torch.tensor([0.3, 0.7]), context, mask).square().mean().backward()
    assert made.conv_known.weight.grad.abs().max() > 0
    plain = Denoiser(network, RectifiedFlow(), Velocity())
    assert filling(plain, x, None) is plain


def test_holes_are_whole_in_a_quarter_and_never_empty():
    found = holes(4000, 16, torch.Generator().manual_seed(0))
    assert found.shape == (4000, 1, 16, 16)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    shares = found.mean(dim=(1, 2, 3))
    assert shares.min() > 0
    assert (shares == 1).float().mean().item() == pytest.approx(WHOLE, abs=0.03)
    assert torch.equal(found, holes(4000, 16, torch.Generator().manual_seed(0)))
    partial = found[shares < 1].mean(0)[0]
    assert partial.min() > 0.01, "every place is in a hole now and then"
    small = holes(4000, 8, torch.Generator().manual_seed(0)).sum(dim=(1, 2, 3))
    assert 1 in small, "0.15 of 8 cells is one cell"


def test_another_network_learns_no_holes():
    with pytest.raises(UserError, match="changes a UNet"):
        learning(StudentUNet(scales=[1.0, 4.0], **ARGUMENTS), ARGUMENTS)
    assert isinstance(InpaintUNet(**ARGUMENTS), UNet)
