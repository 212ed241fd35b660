"""The denoiser's passes as CUDA graphs, so that the processor need not launch each of their kernels."""

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

NARROW = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Graphs(Callback):
    """Captures the forward and the backward pass of a stage's network at its first training batch.

    A network of small images waits for the processor: of its thousand kernels each takes longer to launch than to run.
    The shapes must not change: batches are whole, and texts as long as the encoder's window (`TextTable.whole`).
    Validation and drawing, in evaluation mode, run as before. Gradients are those of the network up to rounding.
    """

    def __init__(self) -> None:
        self.captured = False

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.captured:
            return
        dtype = NARROW.get(str(trainer.precision))
        with torch.no_grad(), torch.autocast("cuda", dtype, enabled=dtype is not None):
            latents = pl_module.whitening.whiten(batch["moments"].float().chunk(2, dim=1)[0])
            states, mask = pl_module.conditioner.of_batch(batch, batch["text"], batch["attributes"])
        label = torch.rand(len(latents), device=latents.device)
        capture(pl_module.denoiser.network, (latents, label, states.requires_grad_(), mask), dtype)
        self.captured = True


def capture(network: nn.Module, inputs: tuple[Tensor, ...], dtype: torch.dtype | None) -> None:
    """Let a network that trains run as CUDA graphs from now on, in place, for inputs like these.

    Args:
        inputs: with `requires_grad` where a gradient is wanted.
        dtype: of autocast; None is float32 throughout.
    """
    # within a graph, a weight's cast may not be kept from one pass to the next
    with torch.autocast("cuda", dtype, enabled=dtype is not None, cache_enabled=False):
        torch.cuda.make_graphed_callables(network, inputs)  # type: ignore[arg-type]
