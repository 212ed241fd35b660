"""What a visitor generated, kept on disk so that it is there after a reload: the pictures with their settings."""

import itertools
import re
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxr_ldm.artifacts import read_json, write_json
from cxr_ldm.errors import UserError

KEPT = 24  # generations of a visitor; the oldest goes
ROOM = 64_000_000  # bytes of a visitor's pictures; the oldest go, the newest generation stays whatever its size
VISITORS = 200  # who generated last; all that the others had kept goes
TOKEN = re.compile(r"[0-9a-f]{16}")
SETTINGS, SMALL = "settings.json", "small.png"
SIDE = 96  # pixels of the small picture
WRITING = threading.Lock()  # the visitors are threads of one server


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
        """Picture `index` as uint8 `[H,W]`; black where it has been deleted meanwhile."""
        return levels(self.pictures[index])

    def small(self) -> np.ndarray:
        """The first picture, small, likewise."""
        return levels(self.pictures[0].with_name(SMALL))


def levels(path: Path) -> np.ndarray:
    """A picture's grey levels, uint8 `[H,W]`; black where it is gone or damaged."""
    try:
        with Image.open(path) as file:
            return np.asarray(file.convert("L"))
    except OSError:
        return np.zeros((SIDE, SIDE), np.uint8)


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
            pictures = sorted(folder.glob("[0-9]*.png"))
            try:
                stated = read_json(folder / SETTINGS)
            except (UserError, OSError):  # damaged, or deleted by another tab meanwhile
                continue
            if pictures and isinstance(stated, dict):
                found.append(Generation(int(folder.name), stated, pictures))
        return found

    def keep(self, stated: Mapping[str, Any], pictures: Sequence[bytes]) -> Generation:
        """Write a generation, and delete what is beyond KEPT, ROOM and VISITORS.

        Args:
            stated: the settings of the page, JSON values.
            pictures: PNG files.
        """
        with WRITING:  # two tabs may be one visitor
            number = max((int(folder.name) for folder in self.folder.glob("[0-9]*")), default=-1) + 1
            partial, folder = self.folder / f".{number:06d}", self.folder / f"{number:06d}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for index, content in enumerate(pictures):
                (partial / f"{index:04d}.png").write_bytes(content)
            Image.fromarray(levels(partial / "0000.png")).resize((SIDE, SIDE)).save(partial / SMALL)
            write_json(partial / SETTINGS, dict(stated))
            partial.rename(folder)
            self.folder.touch()
            self._forget()
        return Generation(number, dict(stated), sorted(folder.glob("[0-9]*.png")))

    def _forget(self) -> None:
        newest = sorted(self.folder.glob("[0-9]*"), reverse=True)
        taken = itertools.accumulate(sum(file.stat().st_size for file in each.iterdir()) for each in newest)
        for place, (old, size) in enumerate(zip(newest, list(taken), strict=True)):
            if place >= KEPT or (place > 0 and size > ROOM):
                shutil.rmtree(old, ignore_errors=True)
        visitors = sorted(self.all.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
        for old in visitors[VISITORS:]:
            shutil.rmtree(old, ignore_errors=True)
