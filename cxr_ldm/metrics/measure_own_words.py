"""Prompts in our own words in an evaluation: images, the trained classifier's judgement, and real images beside."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from cxr_ldm.bundle import load_bundle
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics import judge
from cxr_ldm.metrics.auroc import patient_weights
from cxr_ldm.metrics.faithfulness import side_metrics
from cxr_ldm.metrics.generated import generated
from cxr_ldm.metrics.own_prompts import own_auroc, own_prompts, own_real, own_side
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.splits import WORDS
from cxr_ldm.pipeline import TextToCXR

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
    kinds = dict.fromkeys((each.name, each.side) for each in asked)
    shown = [[i for i, each in enumerate(asked) if (each.name, each.side) == kind][:SHOWN] for kind in kinds]
    places = [place for places in shown if len(places) == SHOWN for place in places]
    if places:
        captions = [asked[place].prompt for place in places]
        facts = {"synthetic": True, "prompts": captions, "bundle_sha256": pipeline.sha256}
        save_grid(folder / "own.png", images[torch.tensor(places)], SHOWN, captions, facts)
    return metrics
