"""D(x_t, t): the one place that knows what the network predicts and how it is scaled."""

from typing import Protocol

import torch
from torch import Tensor, nn

from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.schedules import Schedule
from cxr_ldm.dtypes import wide
from cxr_ldm.errors import UserError


class Scaling(Protocol):
    def target(self, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...

    def to_data(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...

    def gain(self, alpha: Tensor, sigma: Tensor) -> Tensor: ...


class Denoiser(nn.Module):
    """Estimates x_0 from a noisy latent, its time and the text.

    Args:
        network: any module `f(x [N,C,h,w], label [N], context [N,L,D], mask [N,L]) -> [N,C,h,w]`.
        schedule: alpha and sigma of a time.
        scaling: what the network's output means.

    Raises:
        UserError: x_0 cannot be read from this output at t = 1, where sampling starts.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, scaling: Scaling) -> None:
        super().__init__()
        self.network, self.schedule, self.scaling = network, schedule, scaling
        if not torch.isfinite(scaling.gain(*schedule(torch.ones(1)))).all():
            raise UserError(
                f"diffusion.scaling {type(scaling).__name__} cannot be read where the schedule ends in pure noise "
                "(alpha = 0): x_0 = (x_t - sigma F) / alpha divides by 0; take diffusion=v_zsnr or diffusion=flow."
            )

    def forward(self, x_t: Tensor, t: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """x_t `[N,C,h,w]`, t `[N]` in (0, 1], text states and mask -> estimate of x_0 `[N,C,h,w]`."""
        alpha, sigma = (scale[:, None, None, None] for scale in self.schedule(t))
        output = self.run(x_t, self.schedule.label(t), context, mask)
        return self.scaling.to_data(output, x_t, alpha, sigma)

    def check(self, rule: Guidance) -> None:
        """Any guidance will do; a student raises UserError for what it did not learn."""

    def run(self, x: Tensor, label: Tensor, context: Tensor, mask: Tensor, *more: Tensor | None) -> Tensor:
        """The network on `x`, which it sees in its own number format; the output is in that of `x` again."""
        weight = next(self.network.parameters(), x)
        return self.network(x.to(weight.dtype), label, context, mask, *more).to(x.dtype)  # type: ignore[no-any-return]

    def error(self, x0: Tensor, noise: Tensor, t: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Output minus target, in the network's own unit, at x_t made of `x0` and `noise`, `[N,C,h,w]`."""
        alpha, sigma = (scale[:, None, None, None] for scale in self.schedule(t))
        output = self.run(alpha * x0 + sigma * noise, self.schedule.label(t), context, mask)
        return wide(output) - self.scaling.target(x0, noise, alpha, sigma)
