"""The number format that networks run in, and whether a processor has it."""

import copy
from typing import TypeVar

import torch
from torch import nn

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import channels_last
from cxr_ldm.ranges import Precision

TYPES: dict[str, torch.dtype] = {"32": torch.float32, "bf16": torch.bfloat16}
Network = TypeVar("Network", bound=nn.Module)


def has_bf16(device: torch.device | str) -> bool:
    """Whether the processor multiplies bfloat16 itself: a GPU of Ampere or later, a CPU with AVX512-BF16 or AMX."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # a torch without it counts as having none
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def resolved(asked: str | int, device: torch.device | str) -> Precision:
    """What `auto` means on this device: bf16 where it has it, else 32; "32" and "bf16" mean themselves.

    Raises:
        UserError: it is none of the three.
    """
    if str(asked) == "auto":
        return "bf16" if has_bf16(device) else "32"
    if str(asked) not in TYPES:
        raise UserError(f"precision={asked} is not one of auto, {', '.join(TYPES)}.")
    return "bf16" if str(asked) == "bf16" else "32"


def said(device: torch.device | str) -> str:
    """What `auto` comes to, and why, in a sentence."""
    found, name = resolved("auto", device), torch.device(device).type.upper()
    return f"precision=auto: {found}, as this {name} has {'' if found == 'bf16' else 'no '}bfloat16."


def dtype_of(network: nn.Module) -> torch.dtype:
    """Of its weights."""
    return next(network.parameters()).dtype


def cast(x: torch.Tensor, precision: Precision) -> torch.Tensor:
    """A tensor in another format than 32, which leaves it as it is."""
    return x if precision == "32" else x.to(TYPES[precision])


def in_precision(network: Network, precision: Precision) -> Network:
    """A copy of a network in another format; itself where it has that already."""
    dtype = TYPES[precision]
    if all(value.dtype == dtype for value in network.parameters()):
        return network
    return channels_last(copy.deepcopy(network).to(dtype))
