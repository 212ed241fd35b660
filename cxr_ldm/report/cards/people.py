"""Who is in a training collection, counted: what a card says of a manifest, and people.json keeps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cxr_ldm.data.prepared.people import AGE_BANDS

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "not known"
MOST = 20  # findings


def people_of(manifest: "pd.DataFrame") -> dict[str, Any]:
    """Counts as JSON values.

    Returns:
        `splits`: each with its images and patients; `groups`: view, sex and age with each value and its training
        images; `findings`: the most frequent that a training text says are present, and of how many images.
    """
    training = manifest[manifest["split"] == "train"]
    groups = [["view", *each] for each in counted(list(training["view"]))]
    for name in ("sex", "age"):
        values = list(training.get(name, []))
        groups += [[name, *each] for each in counted(banded(values) if name == "age" else values)]
    shown = [
        {entry["name"] for entry in found or [] if entry["certainty"] == "present"} for found in training["findings"]
    ]
    return {
        "splits": [
            [str(split), len(rows), int(rows["patient_id"].nunique())] for split, rows in manifest.groupby("split")
        ],
        "groups": groups,
        "findings": [list(each) for each in counted([name for names in shown for name in names])[:MOST]],
    }


def banded(ages: Sequence[float | None]) -> list[str | None]:
    """Ages in years as the names of AGE_BANDS.

    >>> banded([3, 18, 70.5, None])
    ['under 18', '18 to 64', '65 and older', None]
    """
    found = [
        None if age is None else next((name for name, (low, high) in AGE_BANDS.items() if low <= age < high), None)
        for age in ages
    ]
    return found


def counted(values: Sequence[Any]) -> list[tuple[str, int]]:
    """Each value and its images, the most frequent first, those without one last.

    >>> counted(["PA", "AP", "PA", None])
    [('PA', 2), ('AP', 1), ('not known', 1)]
    """
    known = [value for value in values if value is not None]
    names = sorted(set(known), key=lambda name: (-known.count(name), str(name)))
    missing = len(values) - len(known)
    return [*((str(name), known.count(name)) for name in names), *([(UNKNOWN, missing)] if missing else [])]
