"""Samplers: pure functions of a denoiser, a start and a grid of times. They step in (alpha_t, sigma_t).

All are called alike, `sampler(denoise, x, times, schedule, noise=…, report=…)`, with

    denoise   `D(x_t [N,C,h,w], t scalar) -> x_0 [N,C,h,w]`; never asked at t = times[-1]; `flow_map` alone tells it s;
    x         start `[N,C,h,w]`, standard normal; it is not changed;
    times     `[steps+1]`, from noise to data; a last time of 0 (sigma 0) ends on the data itself;
    schedule  alpha and sigma of a time; alpha may be 0 at the start (zero terminal SNR, a flow);
    noise     standard normal `[N,C,h,w]` for step i; the deterministic samplers do not ask for it;
    report    called after each step with the number of steps done, x_t there, t, and the estimate of x_0 that it took;

and return the sample `[N,C,h,w]`. From t to s, nearer the data, they differ in
the estimates of x_0 and of the noise that they step with; `cxr_ldm.diffusion.steps` holds those equations.
"""

from typing import Literal

from torch import Tensor

from cxr_ldm.diffusion.denoiser import Schedule
from cxr_ldm.diffusion.guidance import Denoise, DenoiseTo
from cxr_ldm.diffusion.guidance_rule import is_number
from cxr_ldm.diffusion.steps import (
    Noise,
    Point,
    Report,
    corrected,
    drawn,
    extrapolated,
    noise_hat,
    posterior_variance,
    told,
    toward,
    transition_variance,
    walk,
)
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Share


def ddim(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    eta: Share = 0.0,
    noise: Noise | None = None,
    report: Report | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12 and 16), written in alpha and sigma so that it holds for flows too.

    One network evaluation a step, first order. At eta = 0 it is `euler`.

    Args:
        eta: 0 is deterministic, 1 is ancestral sampling, `ddpm`.

    Raises:
        UserError: eta is outside [0, 1], or above 0 and `noise` is None.
    """
    if not is_number(eta) or not 0 <= eta <= 1:
        raise UserError(f"sampler.step.eta={eta} must be a number from 0 to 1.")
    for step, t, s, at_t, at_s in walk(x, times, schedule):
        x0 = denoise(x, t)
        fresh = eta * posterior_variance(at_t, at_s).sqrt()
        kept = (at_s.sigma.square() - fresh.square()).clamp(min=0).sqrt()
        x = at_s.alpha * x0 + kept * noise_hat(x, x0, at_t)
        if fresh > 0:
            x = x + fresh * drawn(noise, step)
        told(report, step, x, s, x0)
    return x


def ddpm(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    variance: Literal["small", "large"] = "small",
    noise: Noise | None = None,
    report: Report | None = None,
) -> Tensor:
    """Ancestral sampling from q(x_s | x_t, x_0 = D) (Ho et al. 2020, eq. 6 and 7; Kingma et al. 2021, appendix A).

    One network evaluation a step. No noise is added by a step to sigma_s = 0.

    Args:
        variance: "small", the posterior's own, β̃, right for data of one point; or "large", that of q(x_t | x_s), β,
            right for data N(0, 1) (Ho et al. 2020, section 3.2).

    Raises:
        UserError: `noise` is None, or the variance has another name.
    """
    if variance not in ("small", "large"):
        raise UserError(f"sampler.step.variance={variance} is not one of small, large.")
    for step, t, s, at_t, at_s in walk(x, times, schedule):
        x0 = denoise(x, t)
        small = posterior_variance(at_t, at_s)
        # the mean is that of DDIM at eta = 1, alpha_s D + sqrt(sigma_s² - β̃) noise_hat
        x = at_s.alpha * x0 + (at_s.sigma.square() - small).clamp(min=0).sqrt() * noise_hat(x, x0, at_t)
        if at_s.sigma > 0:
            fresh = small if variance == "small" else transition_variance(at_t, at_s)
            x = x + fresh.sqrt() * drawn(noise, step)
        told(report, step, x, s, x0)
    return x


def euler(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    report: Report | None = None,
) -> Tensor:
    """Euler's method on dx = D dalpha + noise_hat dsigma, the probability-flow ODE; equal to `ddim` at eta = 0.

    One network evaluation a step, first order. For a flow it is Euler on the velocity, for alpha = 1 it is the first
    half of Karras et al. 2022, algorithm 1.
    """
    for step, t, s, at_t, at_s in walk(x, times, schedule):
        x0 = denoise(x, t)
        x = toward(x, x0, at_t, at_s)
        told(report, step, x, s, x0)
    return x


def flow_map(
    denoise: DenoiseTo,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    report: Report | None = None,
) -> Tensor:
    """Steps of a student, which are told where they end and go there by the mean velocity that it learnt.

    One network evaluation a step, see `cxr_ldm.diffusion.flow_map`. By any other model it is `euler`.
    """
    for step, t, s, at_t, at_s in walk(x, times, schedule):
        x0 = denoise(x, t, s)
        x = toward(x, x0, at_t, at_s)
        told(report, step, x, s, x0)
    return x


def heun(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    report: Report | None = None,
) -> Tensor:
    """Heun's method: the trapezoid of D dalpha + noise_hat dsigma over both ends of the step, second order.

    Two network evaluations a step, one in a step to sigma_s = 0, where noise_hat has no value and Euler's step stays.
    For a flow it is Heun on the velocity; for alpha = 1 it is Karras et al. 2022, algorithm 1.
    """
    for step, t, s, at_t, at_s in walk(x, times, schedule):
        x0 = x0_s = denoise(x, t)
        end = toward(x, x0, at_t, at_s)
        if at_s.sigma > 0:
            x0_s = denoise(end, s)
            slope = (noise_hat(x, x0, at_t) + noise_hat(end, x0_s, at_s)) / 2
            end = x + (at_s.alpha - at_t.alpha) * (x0 + x0_s) / 2 + (at_s.sigma - at_t.sigma) * slope
        x = end
        told(report, step, x, s, x0_s)
    return x


def dpmpp_2m(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    report: Report | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): D is extrapolated in log(alpha/sigma) from the last two steps.

    One network evaluation a step, second order; the first step, the second where it started from alpha = 0, and one to
    sigma_s = 0 are of first order.
    """
    past: list[Point] = []
    for step, t, s, at_t, at_s in walk(x, times, schedule):
        past = [Point(x, denoise(x, t), at_t), *past[:1]]
        x = extrapolated(past, at_s)
        told(report, step, x, s, past[0].x0)
    return x


def unipc(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    *,
    noise: Noise | None = None,
    report: Report | None = None,
) -> Tensor:
    """UniPC-2 with B_2(h), in data prediction (Zhao et al. 2023, algorithms 1 and 2, section 3).

    The predictor UniP-2 is the step of `dpmpp_2m`, of first order where that is; the corrector UniC-2 takes it again
    with the D found at its end, which then serves the next step: one network evaluation a step, third order between the
    ends. No corrector follows the last step.
    """
    past: list[Point] = []
    for step, t, s, at_t, at_s in walk(x, times, schedule):
        x0 = denoise(x, t)
        if past:
            x = corrected(past, x0, at_t)
        past = [Point(x, x0, at_t), *past[:1]]
        x = extrapolated(past, at_s)
        told(report, step, x, s, x0)
    return x
