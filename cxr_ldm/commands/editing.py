"""What sample.py does with an image that is given, or with a finding that is added or taken away."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm import naming
from cxr_ldm.bundle import Bundle, load_bundle
from cxr_ldm.commands.settings import device_of, plain
from cxr_ldm.data.pixels.images import read_grey
from cxr_ldm.editing import Original, hole_of, read_original, square_of
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.text.changing import with_finding, without_finding

STRENGTH = 0.6  # of a whole image
OF_IMAGES = ("strength", "box", "mask", "region", "paste", "source")  # keys that need image=
NO_JUDGE = "no classifier of these data was found, so none says what changed; classifier=NAME names one"


@dataclass(frozen=True)
class Given:
    """An image that images are drawn from.

    Attributes:
        original: for the pipeline, one for all prompts.
        paste: whether the pixels outside the hole are put back.
    """

    original: Original
    paste: bool

    def digest(self) -> str:
        """Of what the model is given, for the record of the folder: not of the file, which could lead to a person."""
        hole = self.original.hole
        parts = (self.original.pixels, *(() if hole is None else (hole,)))
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()

    def facts(self, pipeline: TextToCXR) -> dict[str, Any]:
        """For provenance."""
        return self.original.facts("learnt" if pipeline.fills else "held", self.paste)

    def said(self, pipeline: TextToCXR) -> str:
        """What is about to be done, in a sentence."""
        if self.original.hole is None:
            return f"draws the image anew from strength {self.original.strength:g}"
        share = self.original.hole.float().mean().item()
        how = (
            "by a model that learnt to fill holes"
            if pipeline.fills
            else "by a model that never learnt it and is held to the rest at each step"
        )
        return f"draws {share:.0%} of the image anew, {how}"


def given_image(cfg: DictConfig, size: int, count: int) -> Given | None:
    """What `image=` names, on the square of a model; None without it.

    Args:
        count: of prompts that are drawn.

    Raises:
        UserError: the image, the mask or the part cannot be used, or a key needs an image that is not there.
    """
    if cfg.image is None:
        lone = next((key for key in OF_IMAGES if cfg[key] not in (None, False)), None)
        if lone:
            raise UserError(f"{lone}= is for an image that is given; name it by image=FILE.")
        return None
    if cfg.add is not None or cfg.remove is not None:
        raise UserError("add= and remove= change a prompt; with image= the prompt says what is drawn.")
    image = read_original(Path(cfg.image))
    mask = None if cfg.mask is None else read_grey(Path(cfg.mask))
    box = None if cfg.box is None else plain(cfg.box)
    height, width = image.shape
    hole = hole_of((height, width), size, cfg.fit, box, mask, cfg.region)
    if cfg.paste and hole is None:
        raise UserError("paste=true keeps what lies outside a part; say which by box=, mask= or region=.")
    whole = 1.0 if hole is not None or cfg.source is not None else STRENGTH
    strength = whole if cfg.strength is None else cfg.strength
    source = None if cfg.source is None else [str(cfg.source)] * count
    return Given(Original(square_of(image, size, cfg.fit), strength, hole, source), cfg.paste)


def changed(cfg: DictConfig, texts: Sequence[str]) -> list[str] | None:
    """The prompts with `add` or without `remove`; None where neither is given."""
    if cfg.add is not None and cfg.remove is not None:
        raise UserError("add= and remove= are two comparisons; give one.")
    if cfg.add is not None:
        return [with_finding(text, str(cfg.add)) for text in texts]
    if cfg.remove is not None:
        return [without_finding(text, str(cfg.remove)) for text in texts]
    return None


def judge_for(cfg: DictConfig, bundle: Bundle) -> Judge | None:
    """The classifier that is named, or the newest of the data that a model was trained on; None without one.

    Raises:
        UserError: the one that is named is of another size.
    """
    outputs, data = Path(cfg.paths.outputs), bundle.info.get("data", {}).get("name")
    if cfg.classifier is not None:
        chosen = naming.bundle_named(cfg.classifier, outputs, "classifier", key="classifier")
        named = load_bundle(chosen.said(), "classifier", cfg.bundle_packages)
        if named.info["size"] != bundle.info["size"]:
            raise UserError(
                f"classifier={named.folder} judges images of {named.info['size']} pixels, and the model draws "
                f"{bundle.info['size']}."
            )
        return Judge(named, device_of(cfg))
    found = None if data is None else naming.newest(outputs, "classifier", data)
    judge = None if found is None else load_bundle(found.folder, "classifier", cfg.bundle_packages)
    if found is None or judge is None or judge.info["size"] != bundle.info["size"]:
        print(NO_JUDGE)
        return None
    found.said()
    return Judge(judge, device_of(cfg))


def judgements(judge: Judge | None, before: Tensor, after: Tensor) -> list[dict[str, Any]]:
    """For each image the probability of every class before and after; nothing without a judge."""
    if judge is None:
        return [{} for _ in after]
    pairs = zip(*(judge.probabilities(images.split(64)) for images in (before, after)), strict=True)
    return [
        {
            "judged": {
                name: {"before": round(float(first), 4), "after": round(float(second), 4)}
                for name, first, second in zip(judge.classes, *pair, strict=True)
            },
            "classifier_sha256": judge.sha256,
        }
        for pair in pairs
    ]


def table(judged: Sequence[dict[str, Any]]) -> list[str]:
    """Lines that say, class by class, what a judge makes of the images before and after, on average."""
    if not judged or "judged" not in judged[0]:
        return []
    lines = [f"{'the classifier says, on average':34} before   after"]
    for name in judged[0]["judged"]:
        means = [sum(each["judged"][name][when] for each in judged) / len(judged) for when in ("before", "after")]
        lines.append(f"  {name:32} {means[0]:6.3f}  {means[1]:6.3f}")
    return lines
