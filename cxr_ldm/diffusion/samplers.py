"""Samplers: pure functions of a denoiser, a start and a grid of times. They step in (alpha_t, sigma_t)."""

from collections.abc import Callable

from torch import Tensor

from cxr_ldm.diffusion.denoiser import Schedule
from cxr_ldm.diffusion.guidance import Denoise


def ddim(
    denoise: Denoise,
    x: Tensor,
    times: Tensor,
    schedule: Schedule,
    eta: float = 0.0,
    noise: Callable[[int], Tensor] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12 and 16), written in alpha and sigma so that it holds for flows too.

    For a rectified flow with eta = 0 this is Euler's method on the flow's ODE.

    Args:
        denoise: `D(x_t [N,C,h,w], t scalar) -> x_0 [N,C,h,w]`.
        x: start `[N,C,h,w]`, standard normal; it is not changed.
        times: `[steps+1]`, from noise to data; a last time of 0 ends on the data itself.
        schedule: alpha and sigma of a time.
        eta: 0 is deterministic, 1 is as noisy as ancestral sampling.
        noise: standard normal `[N,C,h,w]` for step i; needed when eta > 0.
        progress: called after each step with the number of steps done.

    Returns:
        The sample `[N,C,h,w]`.
    """
    times = times.to(x)
    for step, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        data = denoise(x, t)
        direction = (x - alpha_t * data) / sigma_t
        fresh = eta * sigma_s * (1.0 - (alpha_t * sigma_s / (alpha_s * sigma_t)).square()).clamp(min=0).sqrt()
        x = alpha_s * data + (sigma_s.square() - fresh.square()).clamp(min=0).sqrt() * direction
        if noise is not None and eta > 0:
            x = x + fresh * noise(step)
        if progress is not None:
            progress(step + 1)
    return x
