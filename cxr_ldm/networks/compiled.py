"""Networks run by OpenVINO, for sampling on a processor alone.

One image at a time takes about two thirds of PyTorch's time in bfloat16; the more at once, the smaller the gain.
"""

import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Precision

NAME = "openvino"  # as compile= says it
HELD = 8  # graphs of one network, each of other shapes; the one that was used longest ago goes
LENGTHS = 16  # texts are padded to a multiple of so many tokens, so that few lengths are met
FORMATS = {"32": "f32", "bf16": "bf16"}
Graph = Callable[..., Tensor]


def has_openvino() -> bool:
    """Whether it is installed."""
    return find_spec(NAME) is not None


def check_backend(backend: str, device: torch.device | None = None) -> None:
    """Raises UserError where networks on `device` cannot be compiled by it: unknown, missing, or for others."""
    # asking PyTorch for its own takes half a second
    if backend != NAME and backend not in (known := torch.compiler.list_backends(exclude_tags=None)):
        raise UserError(f"compile={backend} is not one of {', '.join(sorted([NAME, *known]))}.")
    if backend == NAME and not has_openvino():
        raise UserError(f"compile={NAME} needs openvino: run `pip install cxr-ldm[{NAME}]`.")
    if backend == NAME and device is not None and device.type != "cpu":
        raise UserError(f"compile={NAME} is for the processor, and the model is on {device}; leave it out.")


class Compiled(nn.Module):
    """A network as OpenVINO graphs of fixed shapes, called as it is, on the processor.

    A graph is made when inputs of new shapes come, which takes some seconds. Inputs and output are float32, whatever
    the graph computes in.

    Args:
        network: any module of tensors to one tensor, whose way through its layers depends on their shapes alone.
        precision: what the graphs compute in.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        super().__init__()
        self.made = partial(graph_of, network.eval(), precision=precision)  # not a module of this one, nor to be moved
        self.graphs: OrderedDict[tuple[Any, ...], Graph] = OrderedDict()
        self.like = nn.Parameter(torch.zeros(()), requires_grad=False)  # says which number format callers hand over
        if hasattr(network, "learnt_scales"):
            self.learnt_scales = network.learnt_scales

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """As the network's; what is None is left out, and must be the last."""
        given = [x.float() if x.is_floating_point() else x for x in inputs if x is not None]
        shapes = tuple((tuple(x.shape), x.dtype) for x in given)
        if shapes not in self.graphs:
            self.graphs[shapes] = self.made(given)
            if len(self.graphs) > HELD:
                self.graphs.popitem(last=False)
        self.graphs.move_to_end(shapes)
        return self.graphs[shapes](*given)


class CompiledDenoiser(Compiled):
    """The network of a denoiser."""

    def forward(self, x: Tensor, label: Tensor, context: Tensor, mask: Tensor, *more: Tensor | None) -> Tensor:  # type: ignore[override]
        """As `Denoiser` calls it."""
        further = -context.shape[1] % LENGTHS  # padding is masked
        context, mask = functional.pad(context, (0, 0, 0, further)), functional.pad(mask, (0, further))
        return super().forward(x, label, context, mask, *more)


class CompiledDecoder(Compiled):
    """The decoder of an autoencoder."""

    def __init__(self, autoencoder: Any, precision: Precision) -> None:
        super().__init__(Decoder(autoencoder), precision)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents `[N,C,h,w]` to pixels `[N,1,H,W]`."""
        return self(latents)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latents to pixels, as a module that can be traced."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)  # type: ignore[no-any-return]


def graph_of(network: nn.Module, inputs: list[Tensor], precision: Precision) -> Graph:
    """A network for inputs of these shapes, on as many threads as PyTorch has."""
    silent()
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a way through the layers hangs on shapes, which are fixed
        traced = torch.jit.trace(network, [x.clone() for x in inputs], check_trace=False)
        read = TorchScriptPythonDecoder(traced)  # held by name: the frontend does not keep it
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(read))
    types = {torch.bool: openvino.Type.boolean, torch.float32: openvino.Type.f32, torch.int64: openvino.Type.i64}
    for port, x in zip(model.inputs, inputs, strict=True):
        port.get_node().set_element_type(types[x.dtype])
        port.get_node().set_partial_shape(openvino.PartialShape(list(x.shape)))
    model.validate_nodes_and_infer_types()
    stated = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    run = core().compile_model(model, "CPU", stated | {"INFERENCE_PRECISION_HINT": FORMATS[precision]})

    def graph(*values: Tensor) -> Tensor:
        # copied, since the next call writes into the same memory
        return torch.from_numpy(run([x.contiguous().numpy() for x in values])[0].copy())

    return graph


@cache
def core() -> Any:
    """OpenVINO itself, once for the process and to its end.

    Each one sets the stack that signals are handled on and, when it goes, sets back the one that it found, even if that
    has gone before: the next signal would end the process.
    """
    import openvino

    return openvino.Core()


def silent() -> None:
    """Keep OpenVINO from telling its makers over the network of each import and conversion."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as where it is not installed
