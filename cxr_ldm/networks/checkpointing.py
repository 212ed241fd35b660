"""Memory for time: what a block computed is not kept for the backward pass, but computed again (Chen et al. 2016)."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cxr_ldm.networks.blocks import PixelAttention, ResidualBlock, SpatialTransformer

BLOCKS = (ResidualBlock, SpatialTransformer, PixelAttention)


def checkpointed(network: nn.Module) -> None:
    """Let the blocks of a network keep nothing but their inputs while it trains, in place; results are the same."""
    for block in network.modules():
        if isinstance(block, BLOCKS):
            block.forward = partial(_again, block, block.forward)  # type: ignore[method-assign]


def _again(block: nn.Module, forward: Any, *inputs: Tensor) -> Tensor:
    if not block.training or not torch.is_grad_enabled():
        return forward(*inputs)  # type: ignore[no-any-return]
    # no block draws random numbers
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]


def kept_bytes(step: Any, network: nn.Module) -> int:
    """Bytes that a forward pass keeps for its backward pass, each once; not the weights, which are there anyway.

    Args:
        step: calls the network, also one of fake tensors, of which nothing is computed.
    """
    weights = {value.untyped_storage()._cdata for value in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that its address is not given to another
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        step()
    return sum(storage.nbytes() for storage in kept.values())
