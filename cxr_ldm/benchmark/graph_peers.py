"""Our networks as ONNX graphs in the runtimes that people run trained networks with: onnxruntime and OpenVINO."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxr_ldm.portable import save

Run = Callable[[dict[str, np.ndarray]], np.ndarray]
RUNTIMES = ("onnxruntime", "openvino")


def installed() -> list[str]:
    """Which of the runtimes are there; OpenVINO is no part of any install of ours."""
    return [name for name in RUNTIMES if find_spec(name) is not None]


class Exported(nn.Module):
    """A network as a graph of fixed shapes, called as it is.

    OpenVINO computes in bfloat16 by itself where the processor has it, which is left to it: that is what its users get.

    Args:
        network: any module.
        inputs: by the names of its arguments; decide the shapes.
        runtime: one of RUNTIMES.
    """

    def __init__(self, network: nn.Module, inputs: dict[str, Tensor], runtime: str) -> None:
        super().__init__()
        self.names = list(inputs)
        self.like = nn.Parameter(torch.zeros(()), requires_grad=False)  # says which number format callers hand over
        with TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            save(network, inputs, {name: {} for name in inputs}, path)
            self.run = (onnxruntime_of if runtime == "onnxruntime" else openvino_of)(path, torch.get_num_threads())

    def forward(self, *values: Tensor) -> Tensor:
        """As the network's."""
        return torch.from_numpy(self.run({name: x.numpy() for name, x in zip(self.names, values, strict=True)}))

    def decode(self, latents: Tensor) -> Tensor:
        """As an autoencoder's, where it is a `Decoder`'s graph."""
        return self(latents)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latents to pixels, as a module that can be exported."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents)  # type: ignore[no-any-return]


def onnxruntime_of(path: Path, threads: int) -> Run:
    """The graph in onnxruntime, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def openvino_of(path: Path, threads: int) -> Run:
    """The graph in OpenVINO, on the processor, for the shortest time of one call."""
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    model = openvino.compile_model(str(path), "CPU", options)
    # copied, since the next call writes into the same memory
    return lambda inputs: model(inputs)[0].copy()
