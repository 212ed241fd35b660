"""What a network consists of, read off the built object while data run through it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cxr_ldm.networks.blocks import SpatialTransformer, parameter_count


@dataclass(frozen=True)
class Layer:
    """One building block of a part, in the order in which data reach it.

    Attributes:
        part: of the model, e.g. "network".
        name: its place in the part, e.g. "down_blocks.0".
        kind: name of its class.
        shape: of what it gives, without the batch; None where that is no tensor.
        parameters: how many it has.
        attends: whether it looks at the text.
    """

    part: str
    name: str
    kind: str
    shape: tuple[int, ...] | None
    parameters: int
    attends: bool


@torch.inference_mode()
def layers(parts: Mapping[str, nn.Module], run: Callable[[], Any]) -> list[Layer]:
    """Blocks of `parts` that take part in `run()`, each once, in the order of their first use.

    A list of modules is opened; anything else is one block.

    >>> net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> [(layer.name, layer.shape, layer.parameters) for layer in layers({"net": net}, lambda: net(torch.zeros(1, 3)))]
    [('0', (2,), 8), ('1', (2,), 0)]
    """
    found: dict[tuple[str, str], Layer] = {}

    def seen(part: str, name: str) -> Callable[..., None]:
        def record(module: nn.Module, arguments: Any, output: Any) -> None:
            output = output[-1] if isinstance(output, list) else output
            shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else None
            attends = any(isinstance(inner, SpatialTransformer) for inner in module.modules())
            kind, count = type(module).__name__, parameter_count(module)
            found.setdefault((part, name), Layer(part, name, kind, shape, count, attends))

        return record

    hooks = [
        module.register_forward_hook(seen(part, name)) for part, root in parts.items() for name, module in blocks(root)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def blocks(root: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Children of a module, those of its lists in place of the lists."""
    found = []
    for name, child in root.named_children():
        opened = isinstance(child, nn.ModuleList)
        found += blocks(child, f"{prefix}{name}.") if opened else [(f"{prefix}{name}", child)]
    return found
