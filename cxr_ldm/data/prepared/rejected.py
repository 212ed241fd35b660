"""What a collection leaves out, counted by reason and listed by image."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cxr_ldm.artifacts import write_text
from cxr_ldm.data.prepared.manifest import Rejected
from cxr_ldm.data.readers.columns import defused


def counted(rejected: Iterable[Rejected]) -> dict[str, Any]:
    """Keys "rejected", reason → how many images, the most frequent first, and "examples", reason → a first detail."""
    rejected = list(rejected)
    examples: dict[str, str] = {}
    for item in rejected:
        if item.detail:
            examples.setdefault(item.reason, item.detail)
    return {"rejected": dict(Counter(item.reason for item in rejected).most_common()), "examples": examples}


def said(rejected: Mapping[str, int], examples: Mapping[str, str]) -> list[str]:
    """A line for each reason why images are rejected: how many, and an example.

    >>> said({"image file is missing": 2, "no text": 1}, {"image file is missing": "scans/7.png"})
    ['2 × image file is missing, such as scans/7.png', '1 × no text']
    """
    such = {reason: f", such as {example}" for reason, example in examples.items()}
    return [f"{count} × {reason}{such.get(reason, '')}" for reason, count in rejected.items()]


def write_rejected(path: Path, rejected: Iterable[Rejected]) -> None:
    """A CSV with a line for each image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "reason"])
    # one line for each image, whatever a damaged file or table put into its name
    rows = ((item.image_id, f"{item.reason} ({item.detail})" if item.detail else item.reason) for item in rejected)
    writer.writerows([defused(re.sub(r"[\x00-\x1f\x7f]+", " ", cell)) for cell in row] for row in rows)
    write_text(path, text.getvalue())
