"""Does a picture show what its prompt says? Measured on the picture with the phantom's geometry, by no learned model.

Free pleural fluid climbs the chest wall (the meniscus), while a diaphragm dome falls away towards it. So the floor of
the aerated lung is traced at the chest wall and further in; fluid is there where the floor does not fall towards the
wall. Only heights are compared, so exposure and contrast cancel, and the places are found in each picture from its own
lung edges. One threshold is calibrated on real phantom images.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric

Side = Literal["right", "left"]
Finding = Mapping[str, Any]
SIDES: tuple[Side, Side] = ("right", "left")
SIDE_SIGN = {"right": -1.0, "left": 1.0}  # standard display: the patient's right is at the left of the image
EFFUSION = "pleural effusion"
UPPER_LUNG = (-0.45, -0.10)  # heights, in [-1, 1] downwards, where the lung edges are looked for
WALL, INNER = 1.0, 0.7  # columns of the lung floor, as shares of half the lung width measured higher up
LEVEL = 0.65  # grey level of the floor between the column's lung and what lies below
DOME_DIFFERENCE = 0.07  # how much lower the left dome is in a typical phantom
ASYMMETRY_WEIGHT, ASYMMETRY_LIMIT = 0.2, 0.3
CHUNK = 256  # images in float64 at once


class PhantomAdherence:
    """Rates at which phantom samples show the pleural effusion, and the side, that their prompts ask for.

    Args:
        threshold: score above which an effusion is present; None until `calibrate` has found it.
    """

    prompts: Mapping[str, str] = {
        "right pleural effusion": "Right pleural effusion.",
        "left pleural effusion": "Left pleural effusion.",
        "normal": "Normal chest X-ray, clear lungs.",
    }

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = threshold

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
        """Set the threshold with the best balanced accuracy for effusion against none.

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
        self.threshold = _best_threshold(effusion_scores(pixels[alone]).amax(1), truth)
        return self.threshold

    def measure(self, pixels: Tensor) -> tuple[Tensor, list[Side | None]]:
        """Whether each image shows an effusion, bool [N], and on which side; None where there is none.

        Args:
            pixels: float32 [N, 1, H, W] in [-1, 1], standard display.

        Raises:
            UserError: the threshold has not been calibrated.
        """
        if self.threshold is None:
            raise UserError("adherence: the threshold is not set; call calibrate() with real training images first.")
        highest, index = effusion_scores(pixels).max(1)
        present = highest > self.threshold
        return present, [SIDES[i] if shown else None for i, shown in zip(index.tolist(), present.tolist(), strict=True)]

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
        return self._rates(torch.cat(list(samples.values())), expected, "adherence", settings)

    def of_texts(self, pixels: Tensor, findings: Sequence[Sequence[Finding]], split: str = "test") -> dict[str, Metric]:
        """The same rates on images generated from the texts of a collection, any finding and any wording among them.

        Args:
            pixels: generated images, float32 [N, 1, H, W] in [-1, 1].
            findings: what the text of each says; `ceiling` gives the rates of the real images of these texts.
            split: word for where the texts are from.
        """
        _same_length(pixels, findings)
        expected = [self.asked(entries) for entries in findings]
        settings = {"images": f"generated from the texts of {split} images, any finding"}
        return self._rates(pixels, expected, "adherence", settings, "_texts")

    def ceiling(self, pixels: Tensor, findings: Sequence[Sequence[Finding]]) -> dict[str, Metric]:
        """The same rates on real images, where the truth is known: what a perfect generator would score.

        `…_real` is over images with an effusion alone or no finding, `…_real_all` over all images given.
        """
        _same_length(pixels, findings)
        expected = [self.asked(entries) for entries in findings]
        alone = [i for i, entries in enumerate(findings) if all(entry["name"] == EFFUSION for entry in entries)]
        metrics = self._rates(pixels, expected, "adherence", {"images": "real, any finding"}, "_real_all")
        subset = {"images": "real, effusion alone or no finding"}
        return metrics | self._rates(pixels[alone], [expected[i] for i in alone], "adherence", subset, "_real")

    def _rates(
        self, pixels: Tensor, expected: Sequence[Side | None], name: str, settings: dict[str, Any], end: str = ""
    ) -> dict[str, Metric]:
        _, sides = self.measure(pixels)
        pairs = list(zip(expected, sides, strict=True))
        finding = [(wanted is None) == (seen is None) for wanted, seen in pairs]
        side = [wanted == seen for wanted, seen in pairs if wanted is not None]
        settings = {"finding": EFFUSION, "threshold": self.threshold, "interval": "Wilson 95 %", **settings}
        outcomes = {"finding": finding, "side": side}
        return {f"{name}_{key}{end}": rate(hits, settings) for key, hits in outcomes.items() if hits}


def rate(hits: Sequence[bool], settings: Mapping[str, Any] | None = None) -> Metric:
    """Share of hits with its Wilson 95 % interval (Wilson 1927).

    >>> metric = rate([True] * 9 + [False])
    >>> metric.value, [round(end, 3) for end in metric.ci95]
    (0.9, [0.596, 0.982])
    """
    interval = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    ends = (float(interval.low), float(interval.high))
    return Metric(sum(hits) / len(hits), len(hits), True, ci95=ends, settings=dict(settings or {}))


def effusion_scores(pixels: Tensor) -> Tensor:
    """How far the lung floor climbs towards the chest wall, in half image heights, float64 [N, 2] for right and left.

    A small part of the height difference between the two sides is added: one-sided fluid lifts its own floor.
    Effusions of both sides at once, which the phantom does not draw, would lose that part.
    """
    if pixels.ndim != 4 or pixels.shape[1] != 1:
        raise UserError(f"adherence: pixels of shape {tuple(pixels.shape)} are not [N, 1, H, W].")
    return torch.cat([_scores(part.double()) for part in pixels.split(CHUNK)])


def _scores(pixels: Tensor) -> Tensor:
    edges = {side: _lung_edge(pixels, SIDE_SIGN[side]) for side in SIDES}
    centre, half = (edges["left"] - edges["right"]) / 2, (edges["left"] + edges["right"]) / 2
    wall, inner = (
        {side: _floor(pixels, centre + SIDE_SIGN[side] * share * half) for side in SIDES} for share in (WALL, INNER)
    )
    lift = (wall["left"] - wall["right"] - DOME_DIFFERENCE).clamp(-ASYMMETRY_LIMIT, ASYMMETRY_LIMIT)
    return torch.stack([inner[side] - wall[side] - SIDE_SIGN[side] * ASYMMETRY_WEIGHT * lift for side in SIDES], dim=1)


def _lung_edge(pixels: Tensor, sign: float) -> Tensor:
    """Distance of the lateral lung edge from the image's middle: the steepest rise of grey going outwards, [N]."""
    outwards = torch.linspace(0.50, 1.0, 51, dtype=torch.float64)
    heights = torch.linspace(*UPPER_LUNG, 12, dtype=torch.float64)
    # Averaging over heights removes the ribs, which cross the columns obliquely.
    profile = _smooth(_sample(pixels, sign * outwards.expand(len(pixels), 1, -1), heights).mean(1), 3)
    return outwards[1:][profile.diff(dim=1).argmax(1)]


def _floor(pixels: Tensor, column: Tensor) -> Tensor:
    """Height of the lowest lung in a narrow strip about `column` [N], y in [-1, 1] downwards, [N]."""
    heights = torch.linspace(-0.60, 0.95, 125, dtype=torch.float64)
    strip = column[:, None, None] + torch.tensor([-0.06, 0.0, 0.06], dtype=torch.float64)
    profile = _smooth(_sample(pixels, strip, heights).mean(2), 2)
    lung = profile[:, heights < 0.3].quantile(0.15, dim=1)
    below = profile[:, heights > 0.8].mean(1)
    level = lung + LEVEL * (below - lung)
    aerated = profile < level[:, None]
    last = aerated.shape[1] - 1 - aerated.flip(1).int().argmax(1)
    return torch.where(aerated.any(1), heights[last], heights[0])


def _sample(pixels: Tensor, x: Tensor, heights: Tensor) -> Tensor:
    """Grey at columns x [N, 1, K] and heights [R], bilinear, [N, R, K]."""
    rows = heights.view(1, -1, 1).expand(len(pixels), -1, x.shape[2])
    grid = torch.stack([x.expand(-1, len(heights), -1), rows], dim=3)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)[:, 0]


def _smooth(profile: Tensor, sigma: int) -> Tensor:
    """Gaussian smoothing of profiles [N, K] with their ends repeated."""
    offsets = torch.arange(-3 * sigma, 3 * sigma + 1, dtype=torch.float64)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    padded = F.pad(profile[:, None], (3 * sigma, 3 * sigma), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1))[:, 0]


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
