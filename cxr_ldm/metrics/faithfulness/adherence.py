"""Does a picture show what its prompt says? Measured on the picture with the phantom's geometry, by no learned model.

Free pleural fluid climbs the chest wall (the meniscus), while a diaphragm dome falls away towards it. So the floor of
the aerated lung is traced at the chest wall and further in; fluid is there where the floor does not fall towards the
wall. Only heights are compared, so exposure and contrast cancel, and the places are found in each picture from its own
lung edges. One threshold is calibrated on real phantom images. A picture that is no chest is never right: lung edges
would be found in noise as well.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.faithfulness.lung_floor import SIDES, Side, effusion_scores, flat, is_chest
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import wilson_interval

Seen = Side | Literal["no chest"] | None
Finding = Mapping[str, Any]
EFFUSION = "pleural effusion"
NO_CHEST: Literal["no chest"] = "no chest"


class PhantomAdherence:
    """Rates at which phantom samples show the pleural effusion, and the side, that their prompts ask for.

    Attributes:
        threshold: score above which an effusion is present; None until `calibrate` has found it.
        typical: the mean real picture, as of `flat`; None until then.
    """

    prompts: Mapping[str, str] = {
        "right pleural effusion": "Right pleural effusion.",
        "left pleural effusion": "Left pleural effusion.",
        "normal": "Normal chest X-ray, clear lungs.",
    }

    def __init__(self) -> None:
        self.threshold: float | None = None
        self.typical: Tensor | None = None

    @staticmethod
    def shown(name: str) -> tuple[tuple[str, str], ...]:
        """Name and side of what a prompt asks for, by its key in `prompts`.

        >>> PhantomAdherence.shown("left pleural effusion"), PhantomAdherence.shown("normal")
        ((('pleural effusion', 'left'),), ())
        """
        return tuple((EFFUSION, side) for side in SIDES if side in name)

    @staticmethod
    def asked(findings: Sequence[Finding]) -> Side | None:
        """The side of the effusion that a text names, None where it names none.

        >>> PhantomAdherence.asked([{"name": "pleural effusion", "side": "left"}])
        'left'
        """
        return next((entry["side"] for entry in findings if entry["name"] == EFFUSION), None)

    def calibrate(self, pixels: Tensor, findings: Sequence[Sequence[Finding]]) -> float:
        """Set the threshold with the best balanced accuracy for effusion against none, and the typical picture.

        Images with any other finding are left out, so that none of them can shift the threshold.

        Args:
            pixels: real training images, float32 [N, 1, H, W] in [-1, 1].
            findings: of each image, entries with `name` and `side`.

        Raises:
            UserError: there is no image with an effusion alone, or none without a finding.
        """
        _same_length(pixels, findings)
        alone = [i for i, entries in enumerate(findings) if all(entry["name"] == EFFUSION for entry in entries)]
        truth = torch.tensor([len(findings[i]) > 0 for i in alone])
        if len(alone) == 0 or truth.all() or not truth.any():
            raise UserError(
                f"adherence: {len(alone)} images with an effusion alone or no finding do not hold both kinds; "
                "raise data.reader.n."
            )
        self.typical = flat(pixels).mean(0)
        self.threshold = _best_threshold(effusion_scores(pixels[alone]).amax(1), truth)
        return self.threshold

    def measure(self, pixels: Tensor) -> list[Seen]:
        """The side of the effusion in each image, N; None where there is none, NO_CHEST where there are no lungs.

        Args:
            pixels: float32 [N, 1, H, W] in [-1, 1], standard display.

        Raises:
            UserError: the threshold has not been calibrated.
        """
        if self.threshold is None or self.typical is None:
            raise UserError("adherence: the threshold is not set; call calibrate() with real training images first.")
        highest, index = effusion_scores(pixels).max(1)
        present, chest = (highest > self.threshold).tolist(), is_chest(pixels, self.typical).tolist()
        sides = [SIDES[i] if shown else None for i, shown in zip(index.tolist(), present, strict=True)]
        return [side if lungs else NO_CHEST for side, lungs in zip(sides, chest, strict=True)]

    def rates(self, samples: Mapping[str, Tensor]) -> dict[str, Metric]:
        """`finding` and `side` rates of generated images, with Wilson 95 % intervals.

        Args:
            samples: images for each key of `prompts`, float32 [N, 1, H, W] in [-1, 1].

        Returns:
            `adherence_finding`: effusion shown where prompted and not shown for "normal", over all samples;
            `adherence_side`: shown, and on the prompted side, over all samples of the two effusion prompts.
        """
        unknown = sorted(set(samples) - set(self.prompts))
        if unknown or not samples:
            raise UserError(
                f"adherence: samples are for {unknown or 'no prompt'}; the prompts are {list(self.prompts)}."
            )
        truth = {name: next((side for side in SIDES if side in name), None) for name in samples}
        expected = [truth[name] for name, pixels in samples.items() for _ in range(len(pixels))]
        settings = {"prompts": {name: self.prompts[name] for name in samples}}
        return self._rates(torch.cat(list(samples.values())), expected, "seeds of fixed prompts", settings)

    def of_texts(self, pixels: Tensor, findings: Sequence[Sequence[Finding]], split: str = "test") -> dict[str, Metric]:
        """The same rates on images generated from the texts of a collection, any finding and any wording among them.

        Args:
            pixels: generated images, float32 [N, 1, H, W] in [-1, 1].
            findings: what the text of each says; `of_real` gives the rates of real images.
            split: word for where the texts are from.
        """
        _same_length(pixels, findings)
        expected = [self.asked(entries) for entries in findings]
        settings = {"images": f"generated from the texts of {split} images, any finding"}
        return self._rates(pixels, expected, "images, one for each text", settings, "_texts")

    def of_real(self, pixels: Tensor, findings: Sequence[Sequence[Finding]]) -> dict[str, Metric]:
        """The same rates on real images, where the truth is known.

        `…_real` is over images with an effusion alone or no finding, `…_real_all` over all images given.
        """
        _same_length(pixels, findings)
        expected = [self.asked(entries) for entries in findings]
        alone = [i for i, entries in enumerate(findings) if all(entry["name"] == EFFUSION for entry in entries)]
        metrics = self._rates(pixels, expected, "images", {"images": "real, any finding"}, "_real_all")
        subset = {"images": "real, effusion alone or no finding"}
        return metrics | self._rates(pixels[alone], [expected[i] for i in alone], "images", subset, "_real")

    def _rates(
        self, pixels: Tensor, expected: Sequence[Side | None], over: str, facts: dict[str, Any], end: str = ""
    ) -> dict[str, Metric]:
        seen = self.measure(pixels)
        facts = {"finding": EFFUSION, "threshold": self.threshold, "interval": "Wilson 95 %", **facts}
        facts["without_lungs"] = seen.count(NO_CHEST)
        named = [place for place, wanted in enumerate(expected) if wanted is not None]
        metrics = {}
        for key, right, places in (("finding", finding_shown, range(len(seen))), ("side", side_shown, named)):
            if len(places):
                hits = [right(expected[place], seen[place]) for place in places]
                stated = facts | {"chance": chance(right, [expected[place] for place in places], seen)}
                metrics[f"adherence_{key}{end}"] = rate(hits, over, stated)
        return metrics


def finding_shown(wanted: Side | None, seen: Seen) -> bool:
    """Whether an image shows an effusion where its text names one, and none where it names none."""
    return seen != NO_CHEST and (wanted is None) == (seen is None)


def side_shown(wanted: Side | None, seen: Seen) -> bool:
    """Whether an image shows the effusion on the side that its text names."""
    return wanted == seen


def chance(right: Callable[[Side | None, Seen], bool], expected: Sequence[Side | None], seen: Sequence[Seen]) -> float:
    """Share of hits in expectation were the same pictures dealt to these texts at random.

    A set that always shows the same gets exactly this, and so does one that does not listen, on average.

    >>> chance(side_shown, ["right", "left"], ["left", "left"])
    0.5
    """
    pairs = product(Counter(expected).items(), Counter(seen).items())
    hits = sum(many * times * right(wanted, side) for (wanted, many), (side, times) in pairs)
    return hits / (len(expected) * len(seen))


def rate(hits: Sequence[bool], over: str, stated: Mapping[str, Any] | None = None) -> Metric:
    """Share of hits with its Wilson 95 % interval (Wilson 1927), in which each of `over` is an independent trial.

    >>> metric = rate([True] * 9 + [False], "seeds")
    >>> metric.value, [round(end, 3) for end in metric.ci95]
    (0.9, [0.596, 0.982])
    """
    ends = wilson_interval(sum(hits), len(hits))
    return Metric(sum(hits) / len(hits), len(hits), True, ci95=ends, settings=dict(stated or {}), over=over)


def _best_threshold(scores: Tensor, truth: Tensor) -> float:
    """Middle of the widest gap between scores that gives the best balanced accuracy."""
    ordered = scores.unique()
    candidates = (ordered[1:] + ordered[:-1]) / 2
    shown = scores[None, :] > candidates[:, None]
    accuracy = (shown[:, truth].double().mean(1) + (~shown[:, ~truth]).double().mean(1)) / 2
    best = accuracy >= accuracy.max() - 1e-12
    return float(candidates[(best * ordered.diff()).argmax()])


def _same_length(pixels: Tensor, findings: Sequence[Any]) -> None:
    if len(pixels) != len(findings):
        raise UserError(f"adherence: {len(pixels)} images and {len(findings)} lists of findings do not match.")
