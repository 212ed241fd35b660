"""Checkpoints that a kill cannot tear, and whose damage is seen."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

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
        try:
            with content.naming(target), open(partial, "wb") as file:
                saved(checkpoint, file)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        os.replace(partial, target)

    def load_checkpoint(self, path: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As Lightning's; raises UserError where the file is damaged."""
        read = super().load_checkpoint
        return reading_whole(Path(path), lambda: read(path, *arguments, **options))


def saved(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    """Write a checkpoint to the disk; raises OSError where there is no space for it."""
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:  # torch fails to close its archive after the system's refusal, which stands behind it
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    file.flush()
    os.fsync(file.fileno())


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
