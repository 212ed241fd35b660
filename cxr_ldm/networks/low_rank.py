"""Low-rank changes to the attention of a network that else stays as it is (LoRA, Hu et al. 2022, section 4.1)."""

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.networks.blocks import Attention

Network = TypeVar("Network", bound=nn.Module)


class LowRank(nn.Module):
    """W x -> W x + B A x, with B `[out,rank]` at zero to begin with and A `[rank,in]` random."""

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(torch.empty(rank, linear.in_features).to(linear.weight))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank).to(linear.weight))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + functional.linear(functional.linear(x, self.down), self.up)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """W + B A as a matrix of its own."""
        linear = copy.deepcopy(self.linear)
        linear.weight += self.up @ self.down
        return linear


def add_low_rank(network: nn.Module, rank: int) -> int:
    """Freeze a network but for a change of this rank to each matrix of its attention; returns how many there are.

    It computes what it did until the changes are trained.
    """
    network.requires_grad_(False)
    places = [(module, name) for module, name in children(network) if isinstance(getattr(module, name), nn.Linear)]
    for module, name in places:
        setattr(module, name, LowRank(getattr(module, name), rank))
    return len(places)


def merged(network: Network) -> Network:
    """A copy with all changes added to the weights that they change; itself where there are none."""
    if not any(isinstance(module, LowRank) for module in network.modules()):
        return network
    network = copy.deepcopy(network)
    for module, name in children(network):
        change = getattr(module, name)
        if isinstance(change, LowRank):
            setattr(module, name, change.merged())
    return network


def children(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """Where the matrices of a network's attention stand: a module and the name of one of its own."""
    layers = [module for module in network.modules() if isinstance(module, Attention)]
    return [(layer, name) for layer in layers for name in ("to_q", "to_k", "to_v")] + [
        (layer.to_out, "0") for layer in layers
    ]
