"""Targets of the finding classifier: for each image and class, shown, not shown, or unknown.

Two things are read. `findings` come from the text, with side and certainty. `labels` are the source's own classes; they
say what the text cannot (the cause of a pneumonia, emphysema) and name the same finding under other words. Then:

- A finding is shown where it is present; not shown where it is absent, or where text and labels do not mention it (the
  convention of CheXpert, Irvin et al. 2019, section 2); and unknown where the text is not sure.
- Where nobody has stated the labels of an image, classes that its source has by labels alone are unknown in it.
- A class is unknown in all images of a source that shows it in none. Children of a set that only tells pneumonia from
  normal would else all count as chests without an effusion, and a classifier would learn to tell the sets apart.
- Where the text knows sides there are two more classes, such as "pleural effusion right". A finding of no stated side
  is unknown on both.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ldm.data.findings.words import DEVICE, NO_FINDING
from cxr_ldm.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SHOWN, NOT_SHOWN, UNKNOWN = 1.0, 0.0, float("nan")
SIDES = ("right", "left")
# What a source calls by another name than `read_findings` does: NIH, the phantom, and the file names of Kermany.
LABEL_NAMES = {
    "effusion": "pleural effusion",
    "infiltration": "lung opacity",
    "normal": NO_FINDING,
    "pacemaker": DEVICE,
    "bacteria": "bacterial pneumonia",
    "virus": "viral pneumonia",
}
# Labels that say that nobody has stated any: of the covid table, and of the index of the Indiana collection.
NOT_STATED = ("todo", "No Indexing")
# Their labels are the headings of an index, with parts of the body and words for the picture among them ("Lung",
# "Markings", "Technical Quality of Image Unsatisfactory"): these alone name a finding, and which one.
INDEXED = ("openi", "indiana")
HEADINGS = {
    "normal": NO_FINDING,
    "cardiomegaly": "cardiomegaly",
    "opacity": "lung opacity",
    "infiltrate": "lung opacity",
    "airspace disease": "lung opacity",
    "pulmonary atelectasis": "atelectasis",
    "atelectasis": "atelectasis",
    "pleural effusion": "pleural effusion",
    "nodule": "nodule",
    "mass": "mass",
    "emphysema": "emphysema",
    "pulmonary emphysema": "emphysema",
    "pulmonary edema": "edema",
    "consolidation": "consolidation",
    "pneumonia": "pneumonia",
    "pneumothorax": "pneumothorax",
    "fractures, bone": "fracture",
    "hernia, hiatal": "hernia",
    "pulmonary fibrosis": "fibrosis",
    "calcified granuloma": "calcified granuloma",
    "atherosclerosis": "atherosclerosis",
    "scoliosis": "scoliosis",
    "catheters, indwelling": DEVICE,
    "implanted medical device": DEVICE,
    "medical device": DEVICE,
    "tube, inserted": DEVICE,
}


@dataclass(frozen=True)
class Targets:
    """What the images of a prepared folder show.

    Attributes:
        classes: names; a sided class is the finding's name and the side.
        values: float32 [N, C]: 1 shown, 0 not shown, NaN unknown.
        sources: int64 [N], the number of each image's source.
        left_out: classes with too few training images, and how few show them.
    """

    classes: list[str]
    values: np.ndarray
    sources: np.ndarray
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def known(self) -> np.ndarray:
        """bool [N]: whether anything is known of an image."""
        return ~np.isnan(self.values).all(axis=1)

    @property
    def digest(self) -> str:
        """Of all values, for caches: a later reader of the same texts gives others."""
        return hashlib.sha256(np.ascontiguousarray(self.values, dtype=np.float32).tobytes()).hexdigest()[:16]

    def prevalence(self, rows: np.ndarray) -> list[float]:
        """Share of the images of `rows` that show each class, among those of which it is known."""
        return [float(share) for share in np.nanmean(self.values[rows].astype(np.float64), axis=0)]


def sided(name: str) -> tuple[str, str]:
    """The two sided classes of a finding, right first.

    >>> sided("nodule")
    ('nodule right', 'nodule left')
    """
    return f"{name} {SIDES[0]}", f"{name} {SIDES[1]}"


def pairs(classes: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Findings with a class for each side, and where the two stand.

    >>> pairs(["edema", "nodule", "nodule right", "nodule left"])
    {'nodule': (2, 3)}
    """
    places = {name: place for place, name in enumerate(classes)}
    return {
        name: (places[right], places[left])
        for name, (right, left) in ((name, sided(name)) for name in classes)
        if right in places and left in places
    }


def is_sided(name: str) -> bool:
    """Whether a class is one side of a finding."""
    return name.endswith(tuple(f" {side}" for side in SIDES))


def label_names(labels: Sequence[str], source: str = "") -> list[str]:
    """Classes that a source's labels mean; a label with slashes is a path of ever narrower classes.

    >>> label_names(["Pleural_Thickening", "Effusion"]), label_names(["Pneumonia/Viral"])
    (['pleural thickening', 'pleural effusion'], ['pneumonia', 'viral'])
    >>> label_names(["Opacity/lung/base/left", "Spine"], "indiana")
    ['lung opacity']
    """
    names = [part.strip().replace("_", " ").lower() for label in labels for part in label.split("/")]
    if source in INDEXED:
        return [HEADINGS[name] for name in names if name in HEADINGS]
    return [LABEL_NAMES.get(name, name) for name in names]


def of_findings(findings: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a text says of the findings that it names, and of each side of them.

    >>> of_findings([{"name": "nodule", "side": "left", "certainty": "present"}])
    {'nodule': 1.0, 'nodule right': 0.0, 'nodule left': 1.0}
    >>> of_findings([{"name": "nodule", "side": None, "certainty": "uncertain"}])
    {'nodule': nan, 'nodule right': nan, 'nodule left': nan}
    """
    said: dict[str, float] = {}
    for name in dict.fromkeys(entry["name"] for entry in findings):
        entries = [entry for entry in findings if entry["name"] == name]
        said[name] = surest(entry["certainty"] for entry in entries)
        for side, of_side in zip(SIDES, sided(name), strict=True):
            here = surest(entry["certainty"] for entry in entries if entry["side"] in (side, "bilateral"))
            nowhere = surest(entry["certainty"] for entry in entries if entry["side"] is None)
            # a finding of no stated side may be on this one
            said[of_side] = here if here == SHOWN or nowhere == NOT_SHOWN else UNKNOWN
    return said


def surest(certainties: Any) -> float:
    """The strongest of some statements: present before uncertain before absent, which nothing said counts as.

    >>> surest(["absent", "present"]), surest([])
    (1.0, 0.0)
    """
    stated = set(certainties)
    return SHOWN if "present" in stated else UNKNOWN if "uncertain" in stated else NOT_SHOWN


def stated_labels(row: Mapping[str, Any]) -> Sequence[str] | None:
    """The labels of a row that count as classes; None where nobody has stated them.

    >>> stated_labels({"labels": ["No Indexing"], "source": "indiana"})
    """
    labels: Sequence[str] | None = row["labels"]
    return None if labels is None or set(NOT_STATED).intersection(labels) else labels


def said_of(row: Mapping[str, Any]) -> dict[str, float] | None:
    """What a row of the manifest says of the classes that it names; None where nobody has looked."""
    findings, labels = row["findings"], stated_labels(row)
    if findings is None and labels is None:
        return None
    said = of_findings(findings or [])
    names = label_names(labels or [], row["source"])
    if labels == [] and not any(value != NOT_SHOWN for value in said.values()):
        names = [NO_FINDING]  # an empty list is "none of them"
    for name in names:
        if said.get(name) != SHOWN:  # by its label alone, so the side is not known
            said |= dict.fromkeys(sided(name), UNKNOWN) | {name: SHOWN}
    return said


def all_targets(manifest: "pd.DataFrame", classes: Sequence[str] | None = None) -> Targets:
    """Targets of every row.

    Args:
        classes: those of a classifier; None takes every class that some image shows, the two sides of a finding only
            where both are shown.
    """
    rows = manifest[["findings", "labels", "source"]].to_dict("records")
    said = [said_of(row) for row in rows]
    shown: dict[str, set[str]] = {}  # class -> sources that show it
    read: dict[str, set[str]] = {}  # source -> findings that its texts name
    for row, stated in zip(rows, said, strict=True):
        for name in {finding["name"] for finding in row["findings"] or []}:
            read.setdefault(row["source"], set()).update((name, *sided(name)))
        for name, value in (stated or {}).items():
            if value == SHOWN:
                shown.setdefault(name, set()).add(row["source"])
    if classes is None:
        plain = sorted(name for name in shown if not is_sided(name))
        classes = plain + [side for name in plain for side in sided(name) if set(sided(name)) <= shown.keys()]
    values = np.full((len(rows), len(classes)), UNKNOWN, dtype=np.float32)
    for place, (row, stated) in enumerate(zip(rows, said, strict=True)):
        if stated is None:
            continue
        source, labelled = row["source"], stated_labels(row) is not None
        for column, name in enumerate(classes):
            if source in shown.get(name, ()) and (labelled or name in read.get(source, ())):
                values[place, column] = stated.get(name, NOT_SHOWN)
    _, sources = np.unique(np.asarray([row["source"] for row in rows]), return_inverse=True)
    return Targets(list(classes), values, sources.astype(np.int64))


def learnable(targets: Targets, train: np.ndarray, least: int, key: str = "classifier_network.min_images") -> Targets:
    """The classes that at least `least` training images show, and as many do not; the two sides only together.

    Args:
        key: of the setting of `least`.

    Raises:
        UserError: there is none.
    """
    values = targets.values[train]
    counts = {name: (values[:, place] == SHOWN).sum() for place, name in enumerate(targets.classes)}
    others = {name: (values[:, place] == NOT_SHOWN).sum() for place, name in enumerate(targets.classes)}
    enough = {name for name in targets.classes if min(counts[name], others[name]) >= least}
    broken = {side for name in targets.classes for side in sided(name) if not {name, *sided(name)} <= enough}
    kept = [name for name in targets.classes if name in enough - broken]
    if not kept:
        raise UserError(
            f"no finding has {key}={least} training images that show it and as many that do "
            "not; lower it, or take more images."
        )
    columns = [targets.classes.index(name) for name in kept]
    left_out = {name: int(min(counts[name], others[name])) for name in targets.classes if name not in kept}
    return Targets(kept, targets.values[:, columns], targets.sources, left_out)
