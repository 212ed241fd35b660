"""Train on synthetic, test on real (Esteban et al. 2017, section 4.2): what generated images teach a classifier.

Two classifiers of one recipe, one fitted to generated images and one to the real images of the same texts, are tested
on the same real images. Where generated images show what their texts say, and in as many ways, the two are alike.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr_ldm.data.findings.targets import is_sided
from cxr_ldm.data.findings.words import NO_FINDING
from cxr_ldm.metrics.faithfulness.auroc import BOOTSTRAP, auroc, patient_weights
from cxr_ldm.metrics.faithfulness.judged import FEWEST, comparable, entry
from cxr_ldm.metrics.results import Metric

WAYS = ("synthetic", "real")


def trained_on(
    classes: Sequence[str],
    probabilities: dict[str, np.ndarray],
    targets: np.ndarray,
    patients: Sequence[str],
    sources: np.ndarray,
    facts: dict[str, Any],
    seed: int = 0,
) -> dict[str, Metric]:
    """AUROC of both classifiers on the same real images, by finding and as a mean, and the ratio of the means.

    The ratio's interval is a bootstrap over patients in pairs: a draw counts the same images for both. A ratio of 1 is
    as good as real images; one that learned nothing has about 0.5 over the AUROC of real ones, not 0.

    Args:
        classes: C names; sides and "no finding" do not count.
        probabilities: by "synthetic" and "real", [N,C].
        targets: float [N,C]: 1 shown, 0 not shown, NaN unknown.
        patients: of each image.
        sources: name of the source of each image, [N]; pairs are of one source, as in `faithfulness`.

    Returns:
        `auroc_trained_on_synthetic`, `auroc_trained_on_real` (means), each with `_FINDING`, `auroc_trained_ratio` and
        `auroc_trained_ratio_FINDING`; nothing where too few patients show any finding, or do not.
    """
    weights, values, draws = patient_weights(patients, seed), {}, {}
    people, counts = np.asarray(patients), {}
    for place, name in enumerate(classes):
        rows = comparable(targets[:, place], sources)
        truth = targets[rows, place] == 1
        fewest = min(len(set(people[rows][truth == value])) for value in (True, False))
        if is_sided(name) or name == NO_FINDING or fewest < FEWEST:
            continue
        for way in WAYS:
            scores = probabilities[way][rows, place]
            values[way, name] = float(auroc(scores, truth, sources[rows]))
            draws[way, name] = auroc(scores, truth, sources[rows], weights[:, rows])
        counts[name] = {"shown": int(truth.sum()), "not_shown": int((~truth).sum())}
    if not counts:
        return {}
    facts = facts | {"interval": f"bootstrap over patients, {BOOTSTRAP} draws, seed {seed}"}
    for way in WAYS:
        values[way, ""] = float(np.mean([values[way, name] for name in counts]))
        draws[way, ""] = np.mean([draws[way, name] for name in counts], axis=0)
    metrics = {}
    for name in ("", *counts):
        end = f"_{name.replace(' ', '_')}" if name else ""
        n = sum(counts[name].values()) if name else len(patients)
        stated = facts | (counts[name] if name else {"findings": list(counts)})
        for way in WAYS:
            metrics[f"auroc_trained_on_{way}{end}"] = entry(values[way, name], n, draws[way, name], stated)
        paired = draws["synthetic", name] / draws["real", name]
        ratio = values["synthetic", name] / values["real", name]
        metrics[f"auroc_trained_ratio{end}"] = entry(ratio, n, paired, stated | {"draws": "in pairs"})
    return metrics
