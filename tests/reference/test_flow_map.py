"""Flow maps against a Gaussian, whose paths are known in closed form."""

import pytest
import torch
from torch import nn

from cxr_ldm.diffusion.denoiser import Denoiser
from cxr_ldm.diffusion.flow_map import FlowMap, FlowMapLoss, Teacher, denoiser_of
from cxr_ldm.diffusion.guidance import guided
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.samplers import euler, flow_map
from cxr_ldm.diffusion.scaling import Epsilon, Velocity
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow, trailing
from cxr_ldm.errors import UserError
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.networks.unet import UNet

MEAN, STD = 1.5, 0.4
SHAPE = {"latent_channels": 2, "context_width": 8, "channels": [8, 16], "blocks": 1, "attention_levels": [1]}
SHAPE |= {"middle_attention": True, "groups": 4, "head_width": 8}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def place(x, t, s):
    """Where the path through x at t is at s: (x_t - (1-t) mean) / std_t does not change along it."""
    t, s = t[:, None, None, None], s[:, None, None, None]
    std_t, std_s = (((1 - time) ** 2 * STD**2 + time**2).sqrt() for time in (t, s))
    return (1 - s) * MEAN + std_s / std_t * (x - (1 - t) * MEAN)


class Exact(nn.Module):
    """The mean velocity of these paths; the velocity itself where the step has no length. Guidance scales it."""

    learnt_scales = (1.0, 4.0)

    def forward(self, x, label, context, mask, end=None, scale=None):
        t = label.double() / 1000
        s = t if end is None else end.double() / 1000
        s = torch.where(t - s < 1e-5, t - 1e-5, s)
        return ((x.double() - place(x.double(), t, s)) / (t - s)[:, None, None, None]).to(x)


class Plain(nn.Module):
    """A teacher that knows the velocity, whatever the text."""

    def forward(self, x, label, context, mask):
        return Exact()(x, label, context, mask)


class TextVelocity(nn.Module):
    """A velocity that is the mean of the text states."""

    def forward(self, x, label, context, mask):
        return torch.ones_like(x) * context.mean(dim=(1, 2))[:, None, None, None]


def conditions(n, value=0.0, length=3):
    return torch.full((n, length, 8), value), torch.ones(n, length, dtype=torch.bool)


def student_of(network):
    return FlowMap(network, RectifiedFlow(), Velocity())


def loss_of(split, longest=0.05, instant=0.25, scales=(1.0, 1.0)):
    return FlowMapLoss(list(scales), longest, instant, split, 0.5)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_flow_map_ends_on_the_path_in_any_number_of_steps(steps):
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    denoise = guided(student_of(Exact()), *conditions(4), *conditions(1), Guidance(1.0))
    wanted = place(x, torch.ones(4), torch.zeros(4))
    torch.testing.assert_close(
        flow_map(denoise, x, trailing(steps).double(), RectifiedFlow()), wanted, atol=1e-3, rtol=0
    )
    ordinary = guided(Denoiser(Plain(), RectifiedFlow(), Velocity()), *conditions(4), *conditions(1), 1.0)
    by_velocity = euler(ordinary, x, trailing(steps).double(), RectifiedFlow())
    assert (by_velocity - wanted).abs().max() > 0.1
    torch.testing.assert_close(flow_map(ordinary, x, trailing(steps).double(), RectifiedFlow()), by_velocity)


def test_the_teacher_s_mean_velocity_is_that_of_its_path():
    x, t, s = torch.randn(3, 2, 3, 3), torch.tensor([1.0, 0.8, 0.5]), torch.tensor([0.75, 0.55, 0.25])
    teacher = Teacher(Denoiser(Plain(), RectifiedFlow(), Velocity()), conditions(3), conditions(3), torch.ones(3))
    exact = Exact()(x, 1000 * t, None, None, 1000 * s)
    errors = [(teacher.mean(x, t, s, longest) - exact).abs().max().item() for longest in (0.05, 0.005)]
    assert errors[1] < 0.02
    assert errors[0] > 5 * errors[1]  # Euler's method, of first order


@pytest.mark.parametrize(("start", "end", "steps"), [(0.8, 0.5, 3), (1.0, 0.796, 3), (0.5, 0.45, 1)])
def test_no_step_of_the_teacher_is_longer_than_was_asked_for(start, end, steps):
    labels = []
    network = Plain()
    network.register_forward_pre_hook(lambda _, given: labels.append(given[1][0].item()))
    teacher = Teacher(Denoiser(network, RectifiedFlow(), Velocity()), conditions(1), conditions(1), torch.ones(1))
    teacher.mean(torch.randn(1, 2, 3, 3), torch.tensor([start]), torch.tensor([end]), 0.1)
    wanted = [1000 * (start + (end - start) * step / steps) for step in range(steps)]
    assert labels == pytest.approx(wanted, abs=0.01)


def test_the_teacher_is_guided_as_sampling_is():
    denoiser = Denoiser(TextVelocity(), RectifiedFlow(), Velocity())
    x, t, scale = torch.randn(3, 2, 3, 3), torch.full((3,), 0.6), torch.tensor([1.0, 2.0, 3.5])
    text, null = conditions(3, 0.7), conditions(3, -0.2)
    velocity = Teacher(denoiser, text, null, scale)(x, t, torch.arange(3))
    for row in range(3):
        sampled = guided(denoiser, *conditions(1, 0.7), *conditions(1, -0.2), scale[row].item())
        estimate = sampled(x[row : row + 1], t[0])
        torch.testing.assert_close(x[row : row + 1] - 0.6 * velocity[row : row + 1], estimate)


@pytest.mark.parametrize("split", ["end", "half"])
def test_the_exact_map_is_where_learning_rests(split):
    """The target of a student that is right is what it says, but for the error of the teacher's short steps."""
    x, t = torch.randn(5, 2, 3, 3), torch.tensor([1.0, 0.9, 0.6, 0.3, 0.5])
    s = torch.tensor([0.0, 0.5, 0.59, 0.3, 0.1])
    teacher = Teacher(Denoiser(Plain(), RectifiedFlow(), Velocity()), conditions(5), conditions(5), torch.ones(5))
    target = loss_of(split, longest=0.01).target(student_of(Exact()), teacher, x, t, s)
    torch.testing.assert_close(target, Exact()(x, 1000 * t, None, None, 1000 * s), atol=0.02, rtol=0)


def test_a_long_step_ends_with_the_student_and_a_short_one_is_the_teacher_s():
    """By hand: the student says 5, the teacher 2."""

    class Constant(nn.Module):
        def __init__(self, value, scales=None):
            super().__init__()
            self.value = value
            if scales:
                self.learnt_scales = scales

        def forward(self, x, *rest):
            return torch.full_like(x, self.value)

    teacher = Teacher(Denoiser(Constant(2.0), RectifiedFlow(), Velocity()), conditions(2), conditions(2), torch.ones(2))
    x, t, s = torch.zeros(2, 1, 1, 1), torch.tensor([0.9, 0.9]), torch.tensor([0.85, 0.4])
    student = student_of(Constant(5.0, (1.0, 1.0)))
    means = {
        split: loss_of(split, longest=0.1).target(student, teacher, x, t, s).flatten() for split in ("end", "half")
    }
    torch.testing.assert_close(means["end"], torch.tensor([2.0, (0.1 * 2 + 0.4 * 5) / 0.5]))
    torch.testing.assert_close(means["half"], torch.tensor([2.0, 5.0]))
    small = loss_of("end", longest=0.02).target(student, teacher, x, t, s).flatten()
    torch.testing.assert_close(small[0], torch.tensor((0.02 * 2 + 0.03 * 5) / 0.05))


def test_scales_are_drawn_between_the_two_and_teacher_and_student_have_the_same():
    class Guided(nn.Module):
        """Knows the velocity of `TextVelocity` under guidance."""

        learnt_scales = (1.0, 4.0)

        def forward(self, x, label, context, mask, end, scale):
            self.scale = scale
            return torch.ones_like(x) * (0.2 + scale * (context.mean(dim=(1, 2)) - 0.2))[:, None, None, None]

    network, teacher = Guided(), Denoiser(TextVelocity(), RectifiedFlow(), Velocity())
    loss = loss_of("end", scales=(1.0, 4.0))(
        student_of(network),
        teacher,
        torch.zeros(300, 2, 3, 3),
        conditions(300, 0.7),
        conditions(300, 0.2),
        torch.Generator().manual_seed(0),
    )
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert 1.0 <= network.scale.min() < 1.1 < 3.9 < network.scale.max() <= 4.0


def test_outliers_count_by_their_logarithm():
    class Far(nn.Module):
        learnt_scales = (1.0, 1.0)

        def forward(self, x, *rest):
            return torch.full_like(x, 2.0)

    class Still(nn.Module):
        def forward(self, x, *rest):
            return torch.zeros_like(x)

    loss = loss_of("end", instant=1.0)  # every step of no length: the target is the teacher's 0
    random = torch.Generator().manual_seed(0)
    value = loss(
        student_of(Far()), Denoiser(Still(), RectifiedFlow(), Velocity()), torch.zeros(4, 2, 3, 3), conditions(4),
        conditions(4), random,
    )  # fmt: skip
    torch.testing.assert_close(value, torch.tensor(1.0 + 2.0**2 / 0.5**2).log())


def student_and_unet():
    torch.manual_seed(0)
    unet = UNet(**SHAPE)
    for weights in unet.parameters():  # a fresh one has layers at zero, behind which nothing shows
        nn.init.normal_(weights, std=0.3)
    student = StudentUNet(**SHAPE, scales=[1.0, 4.0])
    student.load_state_dict(student.state_dict() | unet.state_dict())
    return student, unet


def test_a_new_student_is_its_teacher_for_a_step_of_no_length():
    student, unet = student_and_unet()
    x, label, text = torch.randn(2, 2, 8, 8), torch.tensor([900.0, 100.0]), conditions(2, 0.3)
    plain = unet(x, label, *text)
    torch.testing.assert_close(student(x, label, *text), plain)
    torch.testing.assert_close(student(x, label, *text, label, torch.tensor([1.0, 3.0])), plain)
    assert not torch.allclose(student(x, label, *text, label / 2), plain)
    nn.init.normal_(student.scale_embedding.linear_2.weight)
    first, second = (student(x, label, *text, None, torch.full((2,), scale)) for scale in (1.0, 3.0))
    assert not torch.allclose(first, second)


def test_the_way_down_sees_where_a_step_begins_and_the_way_up_where_it_ends():
    student, _ = student_and_unet()
    x, text, seen = torch.randn(1, 2, 8, 8), conditions(1), {}
    down, up = student.down_blocks[0].resnets[0], student.up_blocks[0].resnets[0]
    for name, block in (("down", down), ("up", up)):
        block.register_forward_pre_hook(lambda _, given, name=name: seen.setdefault(name, []).append(given[1]))
    for end in (900.0, 200.0):
        student(x, torch.tensor([900.0]), *text, torch.tensor([end]))
    torch.testing.assert_close(*seen["down"])
    assert not torch.allclose(*seen["up"])


def test_what_a_student_cannot_do_is_one_sentence():
    student = student_of(Exact())
    assert isinstance(denoiser_of(Exact(), RectifiedFlow(), Velocity()), FlowMap)
    assert type(denoiser_of(Plain(), RectifiedFlow(), Velocity())) is Denoiser
    with pytest.raises(UserError, match=r"guidance.scale=7.5: this student learnt the scales from 1 to 4"):
        guided(student, *conditions(1), *conditions(1), 7.5)
    with pytest.raises(UserError, match="guidance.negative are not for a student"):
        guided(student, *conditions(1), *conditions(1), Guidance(2.0, (0.2, 0.8)))
    with pytest.raises(UserError, match="which LinearBeta with Epsilon has not; take a teacher of diffusion=flow"):
        FlowMap(Exact(), LinearBeta(), Epsilon())
    with pytest.raises(UserError, match=r"scales=\[4.0, 1.0\] must be two guidance scales"):
        StudentUNet(**SHAPE, scales=[4.0, 1.0])
