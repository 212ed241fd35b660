"""The trained finding classifier in an evaluation: which one, and what it makes of real and of generated images."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from cxr_ldm import naming
from cxr_ldm.bundle import Bundle, bundle_sha256, load_bundle
from cxr_ldm.compose import device_of, feature_nodes
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.targets import SHOWN, all_targets
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.faithfulness import Judged, faithfulness
from cxr_ldm.metrics.feature_sets import features_of
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS
from cxr_ldm.training import spread

NONE = (
    "no classifier was trained on these data, so whether images show what their prompts say is not measured by one; "
    "`python train.py stage=classifier` with the same data=… makes one"
)


def with_judges(cfg: DictConfig, kind: str, prepared: Prepared) -> DictConfig:
    """The config with `classifier` set to the bundle that judges, where the evaluation needs one; prints which.

    Also builds the feature extractors once: what one lacks must be said before images are generated.

    Args:
        kind: of the bundle that is evaluated; "compared" where bundles are compared, which no classifier judges.

    Raises:
        UserError: the classifier that was chosen is none, is of another size, or knows these test images; or the
            feature extractors cannot be built.
    """
    if kind == "classifier":
        return cfg
    targets = [str(node._target_) for node in feature_nodes(cfg).values()]
    if kind == "ldm" or any(target.endswith(".ClassifierFeatures") for target in targets):
        folder = cfg.get("classifier") or naming.newest(Path(cfg.paths.outputs), "classifier", prepared.name)
        if folder is None:
            print(NONE)
        else:
            check(cfg, load_bundle(folder, "classifier", cfg.bundle_packages), prepared)
            cfg = cfg.copy()
            OmegaConf.update(cfg, "classifier", str(folder))
    features_of(cfg)
    return cfg


def check(cfg: DictConfig, classifier: Bundle, prepared: Prepared) -> None:
    """Raises UserError where a classifier cannot judge images of this collection."""
    if classifier.info["size"] != prepared.size:
        raise UserError(
            f"classifier={classifier.folder} was trained at {classifier.info['size']} pixels and {prepared.folder} has "
            f"{prepared.size}; train one at this size."
        )
    data = classifier.info["data"]
    if data["fingerprint"] != prepared.fingerprint and not cfg.get("external"):
        raise UserError(
            f"classifier={classifier.folder} was trained on {data['name']}, which has another content or other splits "
            f"than {prepared.folder}, so it may have seen these test images; train one on these data, or say by "
            "external=true that these patients are others."
        )


def stated(cfg: DictConfig) -> dict[str, Any]:
    """Identity of the classifier for the record of an evaluation; nothing where there is none."""
    return {"classifier": bundle_sha256(Path(cfg.classifier))} if cfg.get("classifier") else {}


def judged(
    cfg: DictConfig, classifier: Bundle, prepared: Prepared, rows: np.ndarray, images: Tensor | None = None
) -> Judged:
    """The images of `rows`, or those generated from their texts, `[N,1,H,W]`, as the classifier sees them."""
    classes = classifier.parts["classifier"].classes
    places = np.array_split(np.arange(len(rows)), -(-len(rows) // cfg.metrics.batch_size))
    batches = (prepared.pixels(rows[part]) if images is None else images[torch.from_numpy(part)] for part in places)
    targets = all_targets(prepared.manifest, classes)
    return Judged(
        classes,
        probabilities(cfg, classifier, batches),
        targets.values[rows],
        np.asarray(classifier.info["prevalence"]),
        prepared.texts(rows),
        prepared.patients(rows),
        prepared.manifest["source"].to_numpy(dtype=str)[rows],
    )


def probabilities(cfg: DictConfig, classifier: Bundle, batches: Iterable[Tensor]) -> np.ndarray:
    """Probability of each class in images that come in batches `[B,1,H,W]`, float32 [N,C]."""
    network, device = classifier.parts["classifier"], device_of(cfg)
    network.to(device)
    return np.concatenate([network.probabilities(batch.to(device)).cpu().numpy() for batch in batches])


def of_prompts(cfg: DictConfig, prepared: Prepared, rows: np.ndarray, generated: Tensor) -> dict[str, Metric]:
    """Faithfulness of images generated from the texts of `rows`, and of the real images of these texts.

    Nothing where `with_judges` found no classifier.
    """
    if not cfg.get("classifier"):
        return {}
    classifier = load_bundle(cfg.classifier, "classifier", cfg.bundle_packages)
    settings = {"classifier": classifier.sha256, "truth": "what the text says"}
    prompted = settings | {"images": f"generated from the texts of {WORDS[cfg.split]} images"}
    real = settings | {"images": f"the real {WORDS[cfg.split]} images of these texts"}
    return faithfulness(judged(cfg, classifier, prepared, rows, generated), prompted, seed=cfg.seed) | faithfulness(
        judged(cfg, classifier, prepared, rows), real, "_real", cfg.seed
    )


def measure_classifier(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """AUROC of each class, side accuracy and retrieval on a whole split; grid.png shows some of its images.

    Raises:
        UserError: too few of its patients show a finding, or do not, for any figure.
    """
    rows, word = prepared.rows(cfg.split), WORDS[cfg.split]
    seen = judged(cfg, bundle, prepared, rows)
    save_grid(folder / "grid.png", prepared.pixels(rows[spread(np.arange(len(rows)), 12)]), 4, captions(seen, 12))
    metrics = faithfulness(seen, {"images": f"the whole {word} split"}, "_real", cfg.seed)
    if not any(name.startswith("auroc") for name in metrics):
        raise UserError(
            f"{prepared.folder} has too few {word} patients with and without any finding; take more images."
        )
    return metrics


def captions(seen: Judged, count: int) -> list[str]:
    """For images at equal distances: what the text says, and the two most probable classes."""
    lines = []
    for row in spread(np.arange(len(seen.texts)), count):
        said = [name for name, value in zip(seen.classes, seen.targets[row], strict=True) if value == SHOWN]
        likely = np.argsort(-seen.probabilities[row])[:2]
        found = ", ".join(f"{seen.classes[place]} {seen.probabilities[row, place]:.2f}" for place in likely)
        lines.append(f"{', '.join(said) or 'nothing'} | {found}")
    return lines
