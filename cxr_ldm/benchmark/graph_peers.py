"""Our networks as ONNX graphs in the runtime that people run trained networks with."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from cxr_ldm.portable import save

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


def installed() -> bool:
    """Whether onnxruntime is there."""
    return find_spec("onnxruntime") is not None


class Exported(nn.Module):
    """A network as a graph of fixed shapes, called as it is.

    Args:
        network: any module.
        inputs: by the names of its arguments; decide the shapes.
    """

    def __init__(self, network: nn.Module, inputs: dict[str, Tensor]) -> None:
        super().__init__()
        self.names = list(inputs)
        self.like = nn.Parameter(torch.zeros(()), requires_grad=False)  # says which number format callers hand over
        with TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            save(network, inputs, {name: {} for name in inputs}, path)
            self.run = onnxruntime_of(path, torch.get_num_threads())

    def forward(self, *values: Tensor) -> Tensor:
        """As the network's."""
        return torch.from_numpy(self.run({name: x.numpy() for name, x in zip(self.names, values, strict=True)}))

    def decode(self, latents: Tensor) -> Tensor:
        """As an autoencoder's, where it is a `Decoder`'s graph."""
        return self(latents)  # type: ignore[no-any-return]


def onnxruntime_of(path: Path, threads: int) -> Run:
    """The graph in onnxruntime, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]
