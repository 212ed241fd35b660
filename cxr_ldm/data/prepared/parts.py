"""A collection prepared in parts, by as many processes or machines as there are, and what puts them together."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cxr_ldm import artifacts, content
from cxr_ldm.data.prepared.folder import IMAGES
from cxr_ldm.data.prepared.journal import JOURNAL, Drawn
from cxr_ldm.data.prepared.manifest import Rejected
from cxr_ldm.errors import UserError

HASHES = "hashes.json"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """One of `count` shares of a collection; `number` begins with 1.

    >>> str(Part.named("2/3")), Part(2, 3).of(list("abcdef"))
    ('2/3', ['c', 'd'])
    """

    number: int
    count: int

    @classmethod
    def named(cls, text: str) -> "Part":
        """From 3/16; raises UserError where that is none."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        part = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= part.number <= part.count <= 10_000:
            raise UserError(f"prepare.part={text} names no part; prepare.part=3/16 is the third of sixteen.")
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Its share of a list: what lies together stays together."""
        ends = [len(items) * number // self.count for number in (self.number - 1, self.number)]
        return items[ends[0] : ends[1]]

    def folder(self, whole: Path) -> Path:
        """Beside the prepared folder that the parts become."""
        return whole.with_name(f".{whole.name}.part-{self.number}-of-{self.count}")


class Parts:
    """What the parts of a collection hold, in the order of its records.

    Args:
        whole: the prepared folder that they become.
        made_by: the settings of every part, but for its name.
        count: how many parts there are.

    Raises:
        UserError: a part is missing, unfinished or damaged, or was made by other settings.
    """

    def __init__(self, whole: Path, made_by: Mapping[str, Any], count: int) -> None:
        parts = [Part(number, count) for number in range(1, count + 1)]
        self.folders = [part.folder(whole) for part in parts]
        states = [artifacts.state(each.folder(whole), {**made_by, "part": str(each)}) for each in parts]
        missing = [str(part) for part, found in zip(parts, states, strict=True) if found != "complete"]
        if missing:
            listed = ", ".join(missing[:8]) + (" …" if len(missing) > 8 else "")
            raise UserError(f"prepare.join={count}: not complete yet: prepare.part={listed}; prepare these first.")
        self.outcomes: list[dict[str, Any]] = []
        self.images: list[np.ndarray] = []
        self.first_image, self.hashes = [], []  # type: tuple[list[int], list[list[str]]]
        for folder in self.folders:
            advice = f"delete {folder}, and prepare that part again"
            content.check(folder, artifacts.read_record(folder).get("files", {}), advice)
            journal = (folder / JOURNAL).read_text(encoding="utf-8")
            self.images.append(content.read_array(folder / IMAGES, advice, mapped=True))
            self.first_image.append(len(self.outcomes))
            self.outcomes += [json.loads(line) for line in journal.splitlines()]
            self.hashes += json.loads((folder / HASHES).read_text(encoding="utf-8"))

    def raw_files(self) -> dict[str, Any]:
        """What is known of the raw files, each of which one of the parts has hashed."""
        return {"count": len(self.hashes), "content": artifacts.fingerprint(sorted(self.hashes))}

    def drawn(self, start: int, end: int) -> Iterator[Drawn]:
        """What each record came to, from the record `start` to before `end`."""
        part = max(number for number, first in enumerate(self.first_image) if first <= start)
        kept = sum("reason" not in outcome for outcome in self.outcomes[self.first_image[part] : start])
        for number in range(start, end):
            while part + 1 < len(self.first_image) and number >= self.first_image[part + 1]:
                part, kept = part + 1, 0
            outcome = self.outcomes[number]
            if "reason" in outcome:
                yield Rejected(outcome["image_id"], outcome["reason"], outcome.get("detail", ""))
            else:
                yield self.images[part][kept], (outcome["height"], outcome["width"])
                kept += 1

    def remove(self) -> None:
        """Delete the parts."""
        for folder in self.folders:
            shutil.rmtree(folder)
