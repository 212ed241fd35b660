"""The trained finding classifier in an evaluation: what it makes of real and of generated images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.bundle import Bundle
from cxr_ldm.data.findings.targets import SHOWN, all_targets
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import evenly
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.faithfulness.judged import Judged, faithfulness
from cxr_ldm.metrics.results import Metric

NONE = (
    "no classifier was trained on these data, so whether images show what their prompts say is not measured by one; "
    "`python train.py stage=classifier` with the same data=… makes one"
)


class Judge:
    """A trained classifier that says what images show; loaded once for all that an evaluation asks it.

    Attributes:
        classes: names of what it knows.
        sha256: identity of its weights.
    """

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        self.device, self.sha256 = device, bundle.sha256
        self.network = bundle.parts["classifier"].to(device)
        self.classes, self.prevalence = self.network.classes, np.asarray(bundle.info["prevalence"])

    def probabilities(self, batches: Iterable[Tensor]) -> np.ndarray:
        """Probability of each class in images that come in batches `[B,1,H,W]`, float32 [N,C]."""
        return np.concatenate([self.network.probabilities(batch.to(self.device)).cpu().numpy() for batch in batches])

    def judged(self, data: Collection, rows: np.ndarray, images: Tensor | None = None) -> Judged:
        """The images of `rows`, or those generated from their texts, `[N,1,H,W]`, as the classifier sees them."""
        prepared = data.prepared
        batches = data.batches(rows) if images is None else images.split(data.batch_size)
        return Judged(
            self.classes,
            self.probabilities(batches),
            all_targets(prepared.manifest, self.classes).values[rows],
            self.prevalence,
            prepared.texts(rows),
            prepared.patients(rows),
            prepared.column("source").astype(str)[rows],
        )

    def of_prompts(self, data: Collection, rows: np.ndarray, generated: Tensor) -> dict[str, Metric]:
        """Faithfulness of images generated from the texts of `rows`, and of the real images of these texts."""
        settings = {"classifier": self.sha256, "truth": "what the text says"}
        prompted = settings | {"images": f"generated from the texts of {data.word} images"}
        real = settings | {"images": f"the real {data.word} images of these texts"}
        return faithfulness(self.judged(data, rows, generated), prompted, seed=data.seed) | faithfulness(
            self.judged(data, rows), real, "_real", data.seed
        )


def check(classifier: Bundle, prepared: Prepared, external: bool) -> None:
    """Raises UserError where a classifier cannot judge images of this collection.

    Args:
        external: whether these are said to be other patients than those it was trained on.
    """
    if classifier.info["size"] != prepared.size:
        raise UserError(
            f"classifier={classifier.folder} was trained at {classifier.info['size']} pixels and {prepared.folder} has "
            f"{prepared.size}; train one at this size."
        )
    data = classifier.info["data"]
    if data["fingerprint"] != prepared.fingerprint and not external:
        raise UserError(
            f"classifier={classifier.folder} was trained on {data['name']}, which has another content or other splits "
            f"than {prepared.folder}, so it may have seen these test images; train one on these data, or say by "
            "external=true that these patients are others."
        )


def measure_classifier(judge: Judge, data: Collection, folder: Path) -> dict[str, Metric]:
    """AUROC of each class, side accuracy and retrieval on a whole split; grid.png shows some of its images.

    Raises:
        UserError: too few of its patients show a finding, or do not, for any figure.
    """
    rows, prepared = data.rows, data.prepared
    seen = judge.judged(data, rows)
    save_grid(folder / "grid.png", prepared.pixels(rows[evenly(np.arange(len(rows)), 12)]), 4, captions(seen, 12))
    metrics = faithfulness(seen, {"images": f"the whole {data.word} split"}, "_real", data.seed)
    if not any(name.startswith("auroc") for name in metrics):
        raise UserError(
            f"{prepared.folder} has too few {data.word} patients with and without any finding; take more images."
        )
    return metrics


def captions(seen: Judged, count: int) -> list[str]:
    """For images at equal distances: what the text says, and the two most probable classes."""
    lines = []
    for row in evenly(np.arange(len(seen.texts)), count):
        said = [name for name, value in zip(seen.classes, seen.targets[row], strict=True) if value == SHOWN]
        likely = np.argsort(-seen.probabilities[row])[:2]
        found = ", ".join(f"{seen.classes[place]} {seen.probabilities[row, place]:.2f}" for place in likely)
        lines.append(f"{', '.join(said) or 'nothing'} | {found}")
    return lines
