"""Checkpoints that a kill cannot tear, and whose damage is seen."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from cxr_ldm import content


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when all of it is on the disk; reads no damaged one.

    Lightning's own goes through the system's temporary folder, from which a move to another disk is a copy, and a copy
    can be torn.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        with content.naming(target):
            with open(partial, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As Lightning's; raises UserError where the file is damaged."""
        read = super().load_checkpoint
        return reading_whole(Path(path), lambda: read(path, *arguments, **options))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; raises UserError where it is damaged."""
    return reading_whole(path, lambda: torch.load(path, map_location="cpu", weights_only=True))


def reading_whole(path: Path, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `read` makes of a checkpoint all of whose parts have their checksums, which torch does not look at.

    Raises:
        UserError: it is damaged.
    """

    def checked() -> dict[str, Any]:
        with zipfile.ZipFile(path) as file:
            torn = file.testzip()
        if torn is not None:
            raise zipfile.BadZipFile(f"{torn} has another checksum")
        return read()

    return content.reading(path, checked, f"delete {path}, and the same command begins the run anew")
