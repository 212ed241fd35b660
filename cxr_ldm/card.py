"""The card of a bundle: what the model is, which collections made it and on which terms, in words for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Collection:
    """A collection of radiographs.

    Attributes:
        title: as its publisher calls it.
        terms: as its publisher states them.
        cite: what to name where its images, or a model of them, are used.
    """

    title: str
    terms: str
    cite: str = ""


INDIANA = Collection(
    "Indiana University chest X-rays (Open-i)",
    "CC BY-NC-ND 4.0",
    "Demner-Fushman et al., J Am Med Inform Assoc 2016; 23:304-310",
)
# by the source that stands beside each image in a manifest
COLLECTIONS = {
    "openi": INDIANA,
    "indiana": INDIANA,
    "nih": Collection(
        "NIH ChestX-ray14",
        "free use with attribution to the NIH Clinical Center",
        "NIH Clinical Center; Wang et al., CVPR 2017: ChestX-ray8",
    ),
    "kermany": Collection(
        "Kermany paediatric chest X-rays", "CC BY 4.0", "Kermany et al., Cell 2018; 172:1122-1131, Mendeley Data"
    ),
    "covid": Collection(
        "COVID-19 case radiographs", "of each image, in the table's column `license`", "Cohen et al., arXiv 2006.11988"
    ),
    "hannover": Collection(
        "Hannover COVID-19 radiographs", "CC BY 3.0", "Winther et al. 2020, Hannover Medical School"
    ),
    "chexpert": Collection("CheXpert", "Stanford University Dataset Research Use Agreement", "Irvin et al., AAAI 2019"),
    "mimic": Collection(
        "MIMIC-CXR-JPG", "PhysioNet Credentialed Health Data License", "Johnson et al., arXiv 1901.07042"
    ),
    "phantom": Collection("generated phantoms", "none: they show nobody"),
}
KINDS = {
    "vae": "An autoencoder",
    "ldm": "A text-conditioned latent diffusion model",
    "classifier": "A classifier",
    "upscaler": "An upscaler",
}
WARNING = (
    "What it draws is synthetic. It is for research, shows no person, and is no basis for a diagnosis or for treatment."
)
DETAIL = (
    "The detail that it draws is synthetic. Averaged down, a picture is the one that it was made from; what is smaller "
    "than a pixel of that is invented, and is no basis for a diagnosis or for treatment."
)


def card(facts: Mapping[str, Any]) -> str:
    """Markdown for the folder of a bundle.

    Args:
        facts: content of its config.json; `info.data.sources` counts the training images of each source where it
            is known, and `info.vae_data` is the same of the VAE within, where that was trained on other images.
    """
    info = facts["info"]
    size = f", {info['size']} pixels" if info.get("size") else ""
    lines = [f"# {info.get('run', facts['kind'])}", ""]
    lines.append(f"{KINDS.get(facts['kind'], 'A model')} of {subject(info)}{size}, by {facts['software']}.")
    if facts["kind"] == "ldm":
        lines += ["", WARNING]
        guidance = info.get("guidance", {})
        if "scale" in guidance:
            chosen = guidance.get("chosen", "stated")
            how = f"chosen on {chosen['split']}" if isinstance(chosen, Mapping) else chosen
            lines += ["", f"Guidance scale {guidance['scale']:g} ({how})."]
        if "teacher" in info:
            own = info["sampling"]
            lines += ["", f"A student: sampled in {own['steps']} steps of {own['sampler']} like its teacher in many."]
    if facts["kind"] == "upscaler":
        lines += ["", DETAIL]
    own, other = info.get("data", {}), info.get("vae_data")
    lines += ["", "Trained on:", "", *sources(own)]
    for before in info.get("init_data", []):
        lines += ["", "It, or its VAE, started from a model that was trained on:", "", *sources(before)]
    if other is not None and other.get("fingerprint") != own.get("fingerprint"):
        lines += ["", "Its VAE was trained on:", "", *sources(other)]
    return "\n".join(lines) + "\n"


def subject(info: Mapping[str, Any]) -> str:
    """What the images of a bundle show.

    >>> subject({"data": {"kind": "nih"}}), subject({"data": {"kind": "published", "name": "photographs of X"}})
    ('chest radiographs', 'photographs')
    """
    data = info.get("data", {})
    if data.get("kind") != "published":
        return "chest radiographs"
    return "photographs" if "photographs" in data["name"] else "images"


def sources(data: Mapping[str, Any]) -> list[str]:
    """A table of the collections behind a prepared folder, and their terms.

    >>> sources({"name": "a", "sources": {"hannover": 3}})[-1]
    '| Hannover COVID-19 radiographs | 3 | CC BY 3.0 | Winther et al. 2020, Hannover Medical School |'
    """
    if data.get("sources") is None:
        return [uncounted(data)]
    rows = [f"| {known.title} | {count} | {known.terms} | {known.cite} |" for known, count in collections(data)]
    return ["| collection | images | terms | to name |", "| --- | ---: | --- | --- |", *rows]


def collections(data: Mapping[str, Any]) -> list[tuple[Collection, int]]:
    """The collections behind a prepared folder with the training images of each; none where they were not counted."""
    counts = data.get("sources") or {}
    return [(COLLECTIONS.get(source, Collection(source, "its owner's")), count) for source, count in counts.items()]


def uncounted(data: Mapping[str, Any]) -> str:
    """What is said where no sources were counted."""
    name = data.get("name", "images that nobody stated")
    return f"{name}." if data.get("kind") == "published" else f"{name}; no sources were counted when this was written."
