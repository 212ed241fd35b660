"""Samplers against diffusers, against the closed form of Gaussian data, and at the ends of schedules."""

import math

import pytest
import torch
from torch import Tensor

from cxr_ldm.diffusion.samplers import ddim, ddpm, dpmpp_2m, euler, heun, unipc
from cxr_ldm.diffusion.schedules import LinearBeta, RectifiedFlow, leading, trailing
from cxr_ldm.diffusion.steps import unic_weights
from cxr_ldm.errors import UserError

DETERMINISTIC = {"ddim": ddim, "euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m, "unipc": unipc}
ALL = DETERMINISTIC | {"ddpm": ddpm}
MEAN, STD = 0.7, 0.4


class Cosine:
    """alpha = cos(pi t/2), sigma = sin(pi t/2): variance preserving without steps, and zero terminal SNR."""

    levels = None

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t * (math.pi / 2)
        alpha = torch.where(t == 1, 0.0, angle.cos())
        return alpha, angle.sin()


class Grid:
    """Levels given one by one: time i stands for (alphas[i], sigmas[i])."""

    levels = None

    def __init__(self, alphas: Tensor, sigmas: Tensor) -> None:
        self.alphas, self.sigmas = alphas.double(), sigmas.double()

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.alphas[t.long()], self.sigmas[t.long()]

    @property
    def times(self) -> Tensor:
        return torch.arange(len(self.sigmas))


class Network:
    """A nonlinear noise prediction in float64; it sees x alone, so that both sides ask the same question."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.tanh(x) + 0.3 * torch.sin(3 * x)

    def denoise(self, schedule):
        """D from the noise: (x - sigma eps) / alpha."""

        def estimate(x, t):
            alpha, sigma = schedule(t)
            return (x - sigma * self(x)) / alpha

        return estimate

    def denoise_flow(self, schedule):
        """D of the velocity that diffusers' flow schedulers take: x - sigma v."""
        return lambda x, t: x - schedule(t)[1] * self(x)


def start(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian_denoiser(schedule, mean=MEAN, std=STD):
    """The exact E[x_0 | x_t] for data N(mean, std²)."""

    def denoise(x, t):
        alpha, sigma = schedule(t)
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        return mean + gain * (x - alpha * mean)

    return denoise


def counted(denoise):
    """The same denoiser, and the list of times it was asked at."""
    asked = []

    def count(x, t):
        asked.append(t.item())
        return denoise(x, t)

    return count, asked


# Against diffusers.


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    """To 2e-6 of the largest value: tables of sigmas, and most steps, are float32 there, all is float64 here."""
    assert (ours - theirs).abs().max() <= 2e-6 * theirs.abs().max()


def linear(name, **options):
    """A scheduler of diffusers on the linear-beta schedule."""
    diffusers = pytest.importorskip("diffusers")
    return getattr(diffusers, name)(beta_schedule="linear", **options)


def run(theirs, x, **options):
    """Sample with a scheduler of diffusers and `Network`."""
    for t in theirs.timesteps:
        x = theirs.step(Network()(theirs.scale_model_input(x, t)), t, x, **options).prev_sample
    return x


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_equals_diffusers(eta):
    """Leading spacing."""
    theirs = linear("DDIMScheduler", clip_sample=False, set_alpha_to_one=True)
    theirs.set_timesteps(20)
    x, fresh, schedule = start(3, 2, 4, 4), start(20, 3, 2, 4, 4, seed=1), LinearBeta()
    expected = x
    for step, t in enumerate(theirs.timesteps):
        more = {"eta": eta, "variance_noise": fresh[step]} if eta else {}
        expected = theirs.step(Network()(expected), t, expected, **more).prev_sample
    ours = ddim(Network().denoise(schedule), x, leading(20).double(), schedule, eta=eta, noise=lambda step: fresh[step])
    assert_equal(ours, expected)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_equals_diffusers(variance):
    """The same draws of the same generator."""
    theirs = linear("DDPMScheduler", clip_sample=False, variance_type=f"fixed_{variance}")
    theirs.set_timesteps(20)
    x, schedule = start(3, 2, 4, 4), LinearBeta()
    expected = run(theirs, x, generator=torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    ours = ddpm(
        Network().denoise(schedule),
        x,
        leading(20).double(),
        schedule,
        variance=variance,
        noise=lambda step: torch.randn(x.shape, dtype=x.dtype, generator=generator),
    )
    assert_equal(ours, expected)


@pytest.mark.parametrize(("sampler", "name"), [(euler, "EulerDiscreteScheduler"), (heun, "HeunDiscreteScheduler")])
def test_euler_and_heun_equal_diffusers(sampler, name):
    """Diffusers' coordinates are x / alpha, that is alpha = 1 and sigma / alpha: Karras et al.'s."""
    theirs = linear(name, timestep_spacing="linspace")
    theirs.set_timesteps(20)
    sigmas = theirs.sigmas if sampler is euler else torch.cat([theirs.sigmas[:1], theirs.sigmas[1::2]])
    schedule = Grid(torch.ones_like(sigmas), sigmas)
    x = start(3, 2, 4, 4) * theirs.init_noise_sigma

    def denoise(x, t):
        sigma = schedule(t)[1]
        return x - sigma * Network()(x / (sigma**2 + 1) ** 0.5)

    ours = sampler(denoise, x, schedule.times, schedule)
    assert_equal(ours, run(theirs, x))


@pytest.mark.parametrize(
    ("sampler", "name"), [(euler, "FlowMatchEulerDiscreteScheduler"), (heun, "FlowMatchHeunDiscreteScheduler")]
)
def test_euler_and_heun_equal_diffusers_on_a_flow(sampler, name):
    """From pure noise, alpha = 0."""
    theirs = getattr(pytest.importorskip("diffusers"), name)()
    theirs.set_timesteps(12)
    sigmas = theirs.sigmas if sampler is euler else torch.cat([theirs.sigmas[:1], theirs.sigmas[1::2]])
    schedule, x = Grid(1 - sigmas, sigmas), start(3, 2, 4, 4)
    expected = x
    for t in theirs.timesteps:
        expected = theirs.step(Network()(expected), t, expected).prev_sample
    ours = sampler(Network().denoise_flow(schedule), x, schedule.times, schedule)
    assert_equal(ours, expected)


MULTISTEP = [
    (dpmpp_2m, "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_type": "midpoint"}),
    (unipc, "UniPCMultistepScheduler", {"solver_type": "bh2"}),
]


@pytest.mark.parametrize(("sampler", "name", "options"), MULTISTEP)
@pytest.mark.parametrize("steps", [1, 2, 10, 25])
def test_multistep_samplers_equal_diffusers(sampler, name, options, steps):
    """Second order, linear betas, from their own table of sigmas."""
    theirs = linear(name, solver_order=2, timestep_spacing="trailing", final_sigmas_type="zero", **options)
    theirs.set_timesteps(steps)
    alphas = 1 / (theirs.sigmas.double() ** 2 + 1).sqrt()
    schedule, x = Grid(alphas, theirs.sigmas * alphas), start(3, 2, 4, 4)
    ours = sampler(Network().denoise(schedule), x, schedule.times, schedule)
    assert_equal(ours, run(theirs, x))


@pytest.mark.parametrize(("sampler", "name", "options"), MULTISTEP)
def test_multistep_samplers_equal_diffusers_on_a_flow(sampler, name, options):
    """Their start is put a little below pure noise, at which theirs is infinite."""
    theirs = linear(
        name, solver_order=2, use_flow_sigmas=True, flow_shift=1.0, prediction_type="flow_prediction", **options
    )
    theirs.set_timesteps(16)
    schedule, x = Grid(1 - theirs.sigmas.double(), theirs.sigmas), start(3, 2, 4, 4)
    ours = sampler(Network().denoise_flow(schedule), x, schedule.times, schedule)
    assert_equal(ours, run(theirs, x))


def test_unic_integrates_a_quadratic_exactly():
    """Mean of q and q² over q in [0, 1] weighted by e^(h q), by 20,000 midpoints; tolerance 1e-8."""
    h, ratio = torch.tensor(0.8).double(), torch.tensor(-0.6).double()
    q = (torch.arange(20_000).double() + 0.5) / 20_000
    weights = (h * q).exp() / (h * q).exp().sum()
    before, end = unic_weights(h, ratio)
    for power in (1, 2):
        torch.testing.assert_close(before * ratio**power + end, (weights * q**power).sum(), rtol=1e-8, atol=0)


# Against the closed form of Gaussian data.


CONTINUOUS = pytest.mark.parametrize("schedule", [RectifiedFlow(), Cosine()], ids=["flow", "cosine"])


def on_the_path(schedule, noise, t):
    """Where the probability flow of N(mean, std²) is at t when it started at `noise` at t = 1, alpha = 0."""
    alpha, sigma = schedule(torch.tensor(t).double())
    return alpha * MEAN + (alpha**2 * STD**2 + sigma**2).sqrt() * noise


def errors(sampler, schedule, counts, first=1.0, last=0.0):
    """Largest error at the last time, for each number of steps."""
    noise = start(64, 1, 2, 2)
    x, expected = (on_the_path(schedule, noise, t) for t in (first, last))
    grids = [torch.linspace(first, last, steps + 1, dtype=torch.float64) for steps in counts]
    ends = [sampler(gaussian_denoiser(schedule), x, grid, schedule) for grid in grids]
    return [(end - expected).abs().max().item() for end in ends]


@CONTINUOUS
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("ddim", 1.9, 2.1), ("euler", 1.9, 2.1), ("heun", 3.8, 4.2), ("dpmpp_2m", 3.8, 4.2), ("unipc", 7.0, 8.5)],
)
def test_order_of_convergence(name, low, high, schedule):
    """From t = 0.9 to 0.1: as the steps double, Euler's error halves, Heun's and 2M's quarters, UniPC's is an eighth.

    UniC raises the order of a predictor of order 2 to 3 (Zhao et al. 2023, theorem 3.1).
    """
    coarse, fine = errors(DETERMINISTIC[name], schedule, (128, 256), first=0.9, last=0.1)
    assert low < coarse / fine < high


@CONTINUOUS
@pytest.mark.parametrize(
    ("name", "least"), [("ddim", 1.9), ("euler", 1.9), ("heun", 3.9), ("dpmpp_2m", 3.0), ("unipc", 3.6)]
)
def test_order_of_convergence_from_pure_noise_to_the_data(name, least, schedule):
    """The whole way, alpha = 0 to sigma = 0, where lambda is infinite at both ends and the multistep samplers begin
    and end with first order: the error of 2M falls by log(n)/n², 3.5 for n = 256 and towards 4; UniPC's by about 4."""
    coarse, fine = errors(DETERMINISTIC[name], schedule, (128, 256))
    assert coarse / fine > least


@CONTINUOUS
def test_second_order_pays_at_equal_network_evaluations(schedule):
    """20 evaluations each: the second-order samplers are nearer the closed form than Euler."""
    (first,) = errors(euler, schedule, (20,))
    for sampler, steps in ((heun, 10), (dpmpp_2m, 20), (unipc, 20)):
        assert errors(sampler, schedule, (steps,))[0] < first


@pytest.mark.parametrize("schedule", [LinearBeta(), RectifiedFlow(), Cosine()], ids=["linear", "flow", "cosine"])
@pytest.mark.parametrize("stochastic", ["ddpm", "ddim"])
def test_stochastic_sampling_keeps_the_distribution(stochastic, schedule):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 1, 1, 1, dtype=torch.float64, generator=generator)

    def noise(step):
        return torch.randn(x.shape, dtype=torch.float64, generator=generator)

    options = {"eta": 1.0} if stochastic == "ddim" else {}
    end = ALL[stochastic](gaussian_denoiser(schedule, 0.5, 0.3), x, trailing(200), schedule, noise=noise, **options)
    assert end.mean().item() == pytest.approx(0.5, abs=0.02)
    assert end.std().item() == pytest.approx(0.3, abs=0.02)


def test_identities():
    """euler is ddim at eta 0, and ddpm with the small variance is ddim at eta 1; to 1e-12."""
    x, fresh, schedule = start(2, 1, 3, 3), start(9, 2, 1, 3, 3, seed=1), Cosine()
    call = (gaussian_denoiser(schedule), x, trailing(9), schedule)
    torch.testing.assert_close(euler(*call), ddim(*call), rtol=0, atol=1e-12)
    ancestral = ddim(*call, eta=1.0, noise=lambda step: fresh[step])
    torch.testing.assert_close(ddpm(*call, noise=lambda step: fresh[step]), ancestral, rtol=0, atol=1e-12)


# What every sampler promises.


@pytest.mark.parametrize("schedule", [RectifiedFlow(), Cosine(), LinearBeta()], ids=["flow", "cosine", "linear"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("name", ALL)
def test_samplers_are_finite_pure_and_report_their_steps(name, steps, schedule):
    """Zero terminal SNR, one step, float32; the start is unchanged, and each step says where it has come to."""
    x, reports, estimates = start(2, 1, 2, 2).float(), [], []
    before, denoise, times = x.clone(), gaussian_denoiser(schedule), trailing(steps)

    def watched(x, t):
        estimates.append(denoise(x, t))
        return estimates[-1]

    def report(step, x, t, x0):
        assert x0 is estimates[-1]  # the last one of the step
        reports.append((step, x, t))

    end = ALL[name](watched, x, times, schedule, noise=lambda step: start(2, 1, 2, 2, seed=step).float(), report=report)
    assert end.isfinite().all()
    assert end.dtype == torch.float32
    assert torch.equal(x, before)
    assert [step for step, *_ in reports] == list(range(1, steps + 1))
    assert [t.item() for *_, t in reports] == times[1:].tolist()
    assert torch.equal(reports[-1][1], end)
    if steps == 1 and not isinstance(schedule, LinearBeta):
        # one step from pure noise to the data: D(x_1, 1), the mean of all data
        torch.testing.assert_close(end, torch.full_like(end, MEAN))


@pytest.mark.parametrize(
    ("name", "evaluations"), [("ddim", 8), ("ddpm", 8), ("euler", 8), ("heun", 15), ("dpmpp_2m", 8), ("unipc", 8)]
)
def test_network_evaluations_are_as_documented(name, evaluations):
    denoise, asked = counted(gaussian_denoiser(RectifiedFlow()))
    x = start(1, 1, 2, 2)
    ALL[name](denoise, x, trailing(8), RectifiedFlow(), noise=lambda step: x)
    assert len(asked) == evaluations
    assert min(asked) > 0


@pytest.mark.parametrize("name", ALL)
def test_a_grid_may_end_above_the_data(name):
    """A last time of 0.25 ends near the marginal there, on its path: the deterministic ones to 0.02 in 40 steps."""
    schedule, x = Cosine(), start(64, 1, 2, 2)
    times = torch.linspace(1.0, 0.25, 41)
    end = ALL[name](gaussian_denoiser(schedule), x, times, schedule, noise=lambda step: start(64, 1, 2, 2, seed=step))
    assert end.isfinite().all()
    if name in DETERMINISTIC:
        torch.testing.assert_close(end, on_the_path(schedule, x, 0.25), rtol=0, atol=0.02)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_samplers_ask_for_no_noise(name):
    def refuse(step):
        raise AssertionError("asked for noise")

    call = (gaussian_denoiser(RectifiedFlow()), start(2, 1, 2, 2), trailing(5), RectifiedFlow())
    assert torch.equal(DETERMINISTIC[name](*call, noise=refuse), DETERMINISTIC[name](*call))


def test_missing_noise_and_unknown_variances_are_refused():
    call = (gaussian_denoiser(RectifiedFlow()), start(2, 1, 2, 2), trailing(5), RectifiedFlow())
    with pytest.raises(UserError, match="draws fresh noise"):
        ddpm(*call)
    with pytest.raises(UserError, match="draws fresh noise"):
        ddim(*call, eta=0.5)
    with pytest.raises(UserError, match="variance=medium is not one of small, large"):
        ddpm(*call, variance="medium", noise=lambda step: 0.0)


@pytest.mark.parametrize("eta", [-1, 1.5, "foo", True, math.nan])
def test_an_eta_outside_its_range_is_refused(eta):
    with pytest.raises(UserError, match=r"sampler\.step\.eta=.* must be a number from 0 to 1"):
        ddim(lambda x, t: x, torch.zeros(1, 1, 1, 1), trailing(2), RectifiedFlow(), eta=eta)
