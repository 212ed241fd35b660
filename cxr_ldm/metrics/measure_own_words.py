"""Prompts in our own words in an evaluation: images, the trained classifier's judgement, and real images beside."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.bundle import load_bundle
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.data.targets import SHOWN as SHOWN_IN
from cxr_ldm.data.targets import is_sided
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics import judge
from cxr_ldm.metrics.auroc import patient_weights
from cxr_ldm.metrics.diversity import diversity_within
from cxr_ldm.metrics.faithfulness import Judged, side_metrics
from cxr_ldm.metrics.generated import generated
from cxr_ldm.metrics.own_prompts import Asked, own_auroc, own_prompts, own_real, own_side
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS
from cxr_ldm.pipeline import TextToCXR

REAL_LIKE = 600  # real images at most that show what the prompts ask for
SHOWN = 4  # images of each kind of prompt in the picture


def own_words(cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """AUROC by finding and the side on own-worded prompts, and on the real images of the measured split; own.png.

    Nothing where no classifier was trained on these data.
    """
    if not cfg.get("classifier"):
        return {}
    classifier = load_bundle(cfg.classifier, "classifier", cfg.bundle_packages)
    classes = classifier.parts["classifier"].classes
    asked = own_prompts(classes, cfg.metrics.own_prompts_n, cfg.seed)
    images = generated(cfg, pipeline)([each.prompt for each in asked], [each.seed for each in asked])
    seen = judge.probabilities(cfg, classifier, images.split(cfg.metrics.batch_size))
    stated = {"classifier": classifier.sha256, "truth": "what the prompt asks for", "prompts": "in our own words"}
    rows, word = prepared.rows(cfg.split), WORDS[cfg.split]
    real = judge.judged(cfg, classifier, prepared, rows)
    settings = {"classifier": classifier.sha256, "images": f"all {word} images", "truth": "what the text says"}
    sides = side_metrics(real, patient_weights(real.patients, cfg.seed), settings)
    metrics = own_auroc(asked, seen, classes, stated, cfg.seed)
    metrics |= own_real(real, settings, cfg.seed)
    metrics |= own_side(asked, seen, classes, sides.get("side_accuracy"), stated, cfg.seed)
    if "side_accuracy" in sides and "side_own" in metrics:
        metrics["side_own_real"] = sides["side_accuracy"]
    metrics |= within_own(cfg, prepared, asked, images, real, rows)
    kinds = dict.fromkeys((each.name, each.side) for each in asked)
    shown = [[i for i, each in enumerate(asked) if (each.name, each.side) == kind][:SHOWN] for kind in kinds]
    places = [place for places in shown if len(places) == SHOWN for place in places]
    if places:
        captions = [asked[place].prompt for place in places]
        facts = {"synthetic": True, "prompts": captions, "bundle_sha256": pipeline.sha256}
        save_grid(folder / "own.png", images[torch.tensor(places)], SHOWN, captions, facts)
    return metrics


def within_own(
    cfg: DictConfig, prepared: Prepared, asked: Sequence[Asked], images: Tensor, real: Judged, rows: np.ndarray
) -> dict[str, Metric]:
    """`pairwise_…_within_own`: two images of one finding, and as the floor two real images that show it alone.

    Reports seldom repeat each other word for word, so that real images of one text are few.
    """
    places = [place for place, each in enumerate(asked) if each.side is None]
    said = shown_alone(real.classes, real.targets)
    known = [place for place, name in enumerate(said) if name is not None][:REAL_LIKE]
    found = diversity_within(
        images[torch.tensor(places)],
        [asked[place].name for place in places],
        prepared.pixels(rows[known]),
        [said[place] for place in known],
        cfg.seed,
    )
    return {name.replace("_within_prompt", "_within_own"): metric for name, metric in found.items()}


def shown_alone(classes: Sequence[str], targets: np.ndarray) -> list[str | None]:
    """The one class that each image shows, sides aside; None where it shows none or several.

    >>> shown_alone(["edema", "nodule", "nodule left"], np.array([[0, 1, 1], [1, 1, 0], [0, 0, 0]]))
    ['nodule', None, None]
    """
    plain = [place for place, name in enumerate(classes) if not is_sided(name)]
    rows = [[classes[place] for place in plain if row[place] == SHOWN_IN] for row in targets]
    return [names[0] if len(names) == 1 else None for names in rows]
