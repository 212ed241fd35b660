"""The adversarial term: who learns from it, how strongly, and from when on."""

import pytest
import torch
from torch.nn.functional import l1_loss

from cxr_ldm.errors import UserError
from cxr_ldm.networks.discriminator import PatchDiscriminator, fine_detail
from cxr_ldm.stages.adversary import Adversary, discriminator_loss, generator_loss, gradient_ratio


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(3, 1, 16, 16, generator=generator) * 2 - 1
    reconstruction = (pixels + 0.3 * torch.randn(pixels.shape, generator=generator)).requires_grad_()
    return pixels, reconstruction


@pytest.fixture
def adversary():
    torch.manual_seed(0)
    return Adversary(PatchDiscriminator([8, 8, 16], groups=4), weight=0.5, start=0.0)


def test_hinge_losses_at_known_scores():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    assert discriminator_loss(real, fake).item() == pytest.approx((0 + 0.5) / 2 + (0 + 1) / 2)
    assert generator_loss(fake).item() == pytest.approx(1.5)


def test_the_autoencoders_term_trains_the_reconstruction_alone(images, adversary):
    terms = adversary(*images, l1_loss(*reversed(images)))
    terms["adversary"].backward(retain_graph=True)
    assert images[1].grad.abs().sum() > 0
    assert all(weight.grad is None for weight in adversary.parameters())


def test_the_discriminators_term_trains_the_discriminator_alone(images, adversary):
    terms = adversary(*images, l1_loss(*reversed(images)))
    terms["discriminator"].backward()
    assert images[1].grad is None
    last = adversary.network.conv_out.bias  # it moves both scores alike: no gradient where all are within the hinge
    learning = [weight for weight in adversary.parameters() if weight is not last]
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in learning)


def test_its_pull_is_the_stated_share_of_the_reconstruction_losss(images, adversary):
    loss = l1_loss(*reversed(images))
    terms = adversary(*images, loss)
    (pull,) = torch.autograd.grad(terms["adversary"], images[1], retain_graph=True)
    (reference,) = torch.autograd.grad(loss, images[1])
    assert pull.norm().item() == pytest.approx(0.5 * reference.norm().item(), rel=1e-4)


def test_the_balance_is_bounded_where_a_term_has_no_pull():
    x = torch.ones(2, requires_grad=True)
    assert torch.isfinite(gradient_ratio(x.sum(), (0 * x).sum(), x))


def test_a_discriminator_learns_to_tell_sharp_from_blurred(adversary):
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(adversary.parameters(), lr=1e-3)
    for _ in range(60):
        sharp = torch.rand(8, 1, 16, 16, generator=generator) * 2 - 1
        blurred = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1).requires_grad_()
        terms = adversary(sharp, blurred, l1_loss(blurred, sharp))
        optimizer.zero_grad()
        terms["discriminator"].backward()
        optimizer.step()
    assert terms["discriminator"] < 0.2  # 2 where it knows nothing


def test_a_score_looks_at_its_patch_and_the_shape_is_as_stated():
    """Each score sees 26 pixels; GroupNorm's statistics, the one path from afar, are switched off."""
    network = PatchDiscriminator([8, 8, 16], groups=4)
    network.norms = torch.nn.ModuleList(torch.nn.Identity() for _ in network.norms)
    pixels = torch.zeros(1, 1, 64, 64, requires_grad=True)
    scores = network(pixels)
    assert scores.shape == (1, 1, 16, 16)
    scores[0, 0, 8, 8].backward()
    seen = pixels.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert seen.max() - seen.min() + 1 == 26


def test_its_units_let_a_fifth_of_what_is_negative_pass():
    """As in pix2pix (Isola et al. 2017, section 6.1)."""
    network = PatchDiscriminator([1], groups=1)
    with torch.no_grad():
        for conv in (network.convs[0], network.conv_out):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = 1.0
            conv.bias.zero_()
    scores = [network(torch.full((1, 1, 4, 4), value))[0, 0, 1, 1].item() for value in (1.0, -1.0)]
    assert scores == pytest.approx([1.0, -0.2])


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(UserError, match="must divide every entry of channels"):
        PatchDiscriminator([8, 10], groups=4)


def test_it_runs_in_bfloat16_where_the_training_does_and_never_in_float16(images, adversary):
    def widest(dtype):
        seen = []
        hook = adversary.network.conv_out.register_forward_hook(lambda *parts: seen.append(parts[-1].dtype))
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            terms = adversary(*images, l1_loss(*reversed(images)))
        hook.remove()
        assert all(term.dtype == torch.float32 for term in terms.values())
        return set(seen)

    assert widest(torch.bfloat16) == {torch.bfloat16}
    assert widest(torch.float16) == widest(None) == {torch.float32}


def test_a_discriminator_of_detail_sees_grain_and_no_brightness(images):
    torch.manual_seed(0)
    network, pixels = PatchDiscriminator([8, 8, 16], 4, detail=5), images[0]
    slope = torch.linspace(-0.5, 0.5, 16).expand_as(pixels)
    inner = (..., slice(1, -1), slice(1, -1))  # a slope has a mean of its own at the border, where it is mirrored
    assert torch.allclose(network(pixels + 0.3), network(pixels), atol=1e-4)
    assert torch.allclose(fine_detail(slope, 5)[..., 2:-2], torch.zeros(()), atol=1e-5)
    assert (network(pixels + 0.02 * torch.randn(pixels.shape)) - network(pixels))[inner].abs().max() > 0.01
    with pytest.raises(UserError, match="detail=4 must be odd"):
        PatchDiscriminator([8], 4, detail=4)
