"""Single images of an evaluation, each with its prompt, the finding that it asks for and what the judge makes of it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cxr_ldm.data.readers.columns import defused
from cxr_ldm.imaging.provenance import png_bytes

TABLE, FOLDER = "shown.csv", "shown"
COLUMNS = ("image", "prompt", "seed", "finding", "judge", "likeliest", "judge of likeliest")
NUMBERS = ("seed", "judge", "judge of likeliest")


@dataclass(frozen=True)
class Judgement:
    """What a classifier makes of images.

    Attributes:
        classes: that it knows.
        probabilities: of each in each image, `[N,C]`.
    """

    classes: Sequence[str]
    probabilities: np.ndarray

    def of(self, place: int, finding: str) -> list[Any]:
        """Cells of an image: probability of a finding, if it is known, then the likeliest class and its probability."""
        row = self.probabilities[place]
        asked = f"{row[self.classes.index(finding)]:.4f}" if finding in self.classes else ""
        return [asked, self.classes[int(row.argmax())], f"{row.max():.4f}"]


def add_shown(
    folder: Path,
    word: str,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    asked: Sequence[Sequence[str]],
    judgement: Judgement | None,
    facts: Mapping[str, Any],
) -> None:
    """Write `folder`/shown/WORD-NN.png and add to shown.csv a line for each finding that an image was asked for.

    Args:
        images: `[N,1,H,W]` in [-1, 1].
        asked: findings of each; an image of none has a line without one.
        facts: of all of them, for the pictures.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    new = not (folder / TABLE).exists()
    with open(folder / TABLE, "a", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(COLUMNS)
        for place, (image, prompt, seed) in enumerate(zip(images, prompts, seeds, strict=True)):
            name = f"{FOLDER}/{word}-{place:02}.png"
            own = {"synthetic": True, "prompt": prompt, "seed": seed, **facts}
            (folder / name).write_bytes(png_bytes(image, own))
            for finding in asked[place] or [""]:
                judged = judgement.of(place, finding) if judgement is not None else ["", "", ""]
                table.writerow([name, defused(prompt), seed, finding, *judged])
