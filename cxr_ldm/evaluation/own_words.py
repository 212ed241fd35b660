"""Prompts in our own words in an evaluation: images, the trained classifier's judgement, and real images beside."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxr_ldm.data.findings.targets import SHOWN as SHOWN_IN
from cxr_ldm.data.findings.targets import is_sided
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.evaluation.model import Model
from cxr_ldm.evaluation.shown import Judgement, add_shown
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics.faithfulness.auroc import patient_weights
from cxr_ldm.metrics.faithfulness.judged import Judged, side_metrics
from cxr_ldm.metrics.faithfulness.own_prompts import Asked, own_auroc, own_prompts, own_real, own_side
from cxr_ldm.metrics.images.diversity import diversity_within
from cxr_ldm.metrics.results import Metric

REAL_LIKE = 600  # real images at most that show what the prompts ask for
SHOWN = 4  # images of each kind of prompt in the picture


def own_words(model: Model, data: Collection, judge: Judge, count: int, folder: Path) -> dict[str, Metric]:
    """AUROC by finding and the side on own-worded prompts, and on the real images of the measured split; own.png.

    Args:
        count: prompts for normal, for each finding, and for each side.
    """
    classes, rows = judge.classes, data.rows
    asked = own_prompts(classes, count, data.seed)
    images = model.draw([each.prompt for each in asked], [each.seed for each in asked])
    seen = judge.probabilities(images.split(data.batch_size))
    stated = {"classifier": judge.sha256, "truth": "what the prompt asks for", "prompts": "in our own words"}
    real = judge.judged(data, rows)
    settings = {"classifier": judge.sha256, "images": f"all {data.word} images", "truth": "what the text says"}
    sides = side_metrics(real, patient_weights(real.patients, data.seed), settings)
    beside = own_real(real, settings, data.seed)
    metrics = own_auroc(asked, seen, classes, stated, data.seed, beside) | beside
    metrics |= own_side(asked, seen, classes, sides.get("side_accuracy"), stated, data.seed)
    if "side_accuracy" in sides and "side_own" in metrics:
        metrics["side_own_real"] = sides["side_accuracy"]
    metrics |= within_own(data, asked, images, real)
    kinds = dict.fromkeys((each.name, each.side) for each in asked)
    shown = [[i for i, each in enumerate(asked) if (each.name, each.side) == kind][:SHOWN] for kind in kinds]
    places = [place for places in shown if len(places) == SHOWN for place in places]
    if places:
        captions = [asked[place].prompt for place in places]
        pictures = images[torch.tensor(places)]
        facts = {"synthetic": True, "prompts": captions, "bundle_sha256": model.bundle.sha256}
        save_grid(folder / "own.png", pictures, SHOWN, captions, facts)
        named = [[f"{asked[place].name} {asked[place].side or ''}".rstrip()] for place in places]
        judgement = Judgement(classes, seen[places])
        add_shown(
            folder, "own", pictures, captions, [asked[each].seed for each in places], named, judgement, model.stated()
        )
    return metrics


def within_own(data: Collection, asked: Sequence[Asked], images: Tensor, real: Judged) -> dict[str, Metric]:
    """`pairwise_…_within_own`: two images of one finding, and as the floor two real images that show it alone.

    Reports seldom repeat each other word for word, so that real images of one text are few.
    """
    places = [place for place, each in enumerate(asked) if each.side is None]
    said = shown_alone(real.classes, real.targets)
    known = [place for place, name in enumerate(said) if name is not None][:REAL_LIKE]
    found = diversity_within(
        images[torch.tensor(places)],
        [asked[place].name for place in places],
        data.prepared.pixels(data.rows[known]),
        [said[place] for place in known],
        data.seed,
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
