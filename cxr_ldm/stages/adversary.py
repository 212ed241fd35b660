"""The adversarial term of the VAE's loss (Esser et al. 2021, section 3.1): detail that a mean error cannot ask for."""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from cxr_ldm import ranks
from cxr_ldm.dtypes import wide
from cxr_ldm.ranges import NotNegative, Share

LARGEST_BALANCE = 1e4


class Adversary(nn.Module):
    """A discriminator that learns beside the autoencoder, and what the autoencoder learns from it.

    Both learn in one backward pass and by one optimiser: the autoencoder's term holds the discriminator's weights
    fixed, and the discriminator's term holds the reconstruction fixed. It runs in bfloat16 where the training does, and
    else in float32: float16 is too narrow for its gradients.

    Args:
        network: pixels `[N,1,H,W]` in [-1, 1] -> scores, above 0 for what looks real.
        weight: size of the adversarial gradient on the reconstruction, as a share of the reconstruction loss's.
        start: share of the training after which the term sets in; both networks ignore it before.
    """

    def __init__(self, network: nn.Module, weight: NotNegative, start: Share) -> None:
        super().__init__()
        self.network, self.weight, self.start = network, weight, start

    def forward(self, pixels: Tensor, reconstruction: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The two terms that are added to the VAE's loss, and the balance for the log.

        Args:
            pixels: `[N,1,H,W]` in [-1, 1].
            reconstruction: of these pixels, with its graph.
            loss: the reconstruction loss, with its graph.
        """
        device = pixels.device.type
        narrow = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
        with torch.autocast(device, torch.bfloat16, enabled=narrow):
            fixed = {name: value.detach() for name, value in self.network.named_parameters()}
            convince = generator_loss(wide(functional_call(self.network, fixed, (reconstruction,))))
            scores = wide(self.network(torch.cat([pixels, reconstruction.detach()])))
            judge = discriminator_loss(*scores.chunk(2))
        balance = self.weight * gradient_ratio(loss, convince, reconstruction)
        return {"adversary": balance * convince, "discriminator": judge, "balance": balance}


def generator_loss(scores: Tensor) -> Tensor:
    """-E[D(x̂)] (Zhang et al. 2019, SAGAN, eq. 4)."""
    return -scores.mean()


def discriminator_loss(real: Tensor, reconstructed: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(x̂))], the hinge loss (Zhang et al. 2019, eq. 4); 2 where D knows nothing.

    >>> discriminator_loss(torch.zeros(1), torch.zeros(1)).item()
    2.0
    """
    return functional.relu(1.0 - real).mean() + functional.relu(1.0 + reconstructed).mean()


def gradient_ratio(reference: Tensor, term: Tensor, variable: Tensor) -> Tensor:
    """|∂reference/∂variable| / |∂term/∂variable|: the factor that gives `term` the pull of `reference`.

    Esser et al. 2021, eq. 7, taken at the reconstruction itself in place of the decoder's last layer.

    >>> x = torch.ones(4, requires_grad=True)
    >>> round(gradient_ratio((6 * x).sum(), (2 * x).sum(), x).item(), 3)
    3.0
    """
    (first,) = torch.autograd.grad(reference, variable, retain_graph=True)
    (second,) = torch.autograd.grad(term, variable, retain_graph=True)
    squares = ranks.summed(torch.stack([first.square().sum(), second.square().sum()]))  # each process has a part
    norms = squares.sqrt()
    return (norms[0] / norms[1].clamp_min(1e-12)).clamp(max=LARGEST_BALANCE)
