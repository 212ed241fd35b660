"""Which headings of Open-i's coders stand for which of our findings; settled before the rules were measured."""

from dataclasses import dataclass
from typing import Literal

from cxr_ldm.data.findings.words import DEVICE, NO_FINDING

Half = Literal["measurement", "development"]
HALVES: tuple[Half, Half] = ("measurement", "development")


@dataclass(frozen=True)
class Target:
    """One class to be measured: the coder's headings (their beginnings) and our names that stand for it."""

    headings: tuple[str, ...]
    names: tuple[str, ...]


AIMED = {
    "cardiomegaly": Target(("Cardiomegaly", "Cardiac Shadow/enlarged", "Heart/enlarged"), ("cardiomegaly",)),
    "effusion": Target(("Pleural Effusion",), ("pleural effusion",)),
    "atelectasis": Target(("Pulmonary Atelectasis",), ("atelectasis",)),
    "opacity": Target(
        ("Opacity", "Airspace Disease", "Infiltrate", "Consolidation", "Pneumonia", "Density/lung"),
        ("lung opacity", "consolidation", "pneumonia"),
    ),
    "nodule": Target(("Nodule",), ("nodule",)),
    "normal": Target(("normal",), (NO_FINDING,)),
}
DEVICES = (
    "Catheters, Indwelling",
    "Implanted Medical Device",
    "Medical Device",
    "Tube, Inserted",
    "Stents",
    "Surgical Instruments",
    "Sutures",
)
FURTHER = {
    "consolidation": Target(("Consolidation",), ("consolidation",)),
    "pneumonia": Target(("Pneumonia",), ("pneumonia",)),
    "edema": Target(("Pulmonary Edema", "Pulmonary Congestion", "Heart Failure"), ("edema",)),
    "pneumothorax": Target(("Pneumothorax", "Hydropneumothorax"), ("pneumothorax",)),
    "mass": Target(("Mass/lung", "Mass/thorax"), ("mass",)),
    "pleural_thickening": Target(("Thickening/pleura", "Pleura/thickened"), ("pleural thickening",)),
    "cardiomediastinum": Target(("Mediastinum/prominent", "Mediastinum/enlarged"), ("enlarged cardiomediastinum",)),
    "fracture": Target(("Fractures, Bone",), ("fracture",)),
    "device": Target(DEVICES, (DEVICE,)),
}
TARGETS = AIMED | FURTHER
