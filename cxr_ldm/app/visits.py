"""What a visitor generated, kept on disk so that it is there after a reload: the pictures with their settings."""

import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxr_ldm.artifacts import read_json, write_json

KEPT = 24  # generations of a visitor; the oldest goes
VISITORS = 200  # who generated last; all that the others had kept goes
TOKEN = re.compile(r"[0-9a-f]{16}")
SETTINGS = "settings.json"


@dataclass(frozen=True)
class Generation:
    """One that was kept.

    Attributes:
        number: it counts up.
        settings: of the page, as they were.
        pictures: PNG files in order.
    """

    number: int
    settings: dict[str, Any]
    pictures: list[Path]

    def picture(self, index: int) -> np.ndarray:
        """Picture `index` as uint8 `[H,W]`."""
        with Image.open(self.pictures[index]) as file:
            return np.asarray(file.convert("L"))


class Visit:
    """The generations of one visitor.

    Args:
        folder: of all visitors.
        token: who it is; anything but 16 hexadecimal digits is a new one.
    """

    def __init__(self, folder: Path, token: str | None) -> None:
        self.token = token if token and TOKEN.fullmatch(token) else secrets.token_hex(8)
        self.all, self.folder = folder, folder / self.token

    def generations(self) -> list[Generation]:
        """The newest first; one that cannot be read is passed over."""
        found = []
        for folder in sorted(self.folder.glob("[0-9]*"), reverse=True):
            pictures = sorted(folder.glob("*.png"))
            if pictures and (folder / SETTINGS).is_file():
                found.append(Generation(int(folder.name), read_json(folder / SETTINGS), pictures))
        return found

    def keep(self, stated: Mapping[str, Any], pictures: Sequence[bytes]) -> Generation:
        """Write a generation, and delete what is beyond KEPT and VISITORS.

        Args:
            stated: the settings of the page, JSON values.
            pictures: PNG files.
        """
        number = max((int(folder.name) for folder in self.folder.glob("[0-9]*")), default=-1) + 1
        partial, folder = self.folder / f".{number:06d}", self.folder / f"{number:06d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for index, content in enumerate(pictures):
            (partial / f"{index:04d}.png").write_bytes(content)
        write_json(partial / SETTINGS, dict(stated))
        partial.rename(folder)
        self.folder.touch()
        for old in sorted(self.folder.glob("[0-9]*"), reverse=True)[KEPT:]:
            shutil.rmtree(old)
        visitors = sorted(self.all.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in visitors[VISITORS:]:
            shutil.rmtree(old)
        return Generation(number, dict(stated), sorted(folder.glob("*.png")))
