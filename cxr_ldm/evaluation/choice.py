"""The guidance scale that a model should be used with, from a curve that was measured on validation images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.curves import points
from cxr_ldm.metrics.results import read_metrics

RULE = (
    "among the scales whose KID is within one standard error of the lowest, the one that follows the text best; what "
    "is within one standard error of the best there is a tie, and of a tie 1 is taken, which halves the cost, or else "
    "the smallest"
)
# What says how well images follow the text: the first of these groups that a curve holds; its mean decides. The side by
# a classifier is none of them: on the few sided images of a validation split its judgement is often chance.
FOLLOWING = (("adherence_finding_texts", "adherence_side_texts"), ("auroc_mean",))
WIDTH = 2 * 1.96  # of a 95 % interval, in standard errors
COMMAND = "python evaluate.py stage=ldm metrics=guidance bundle=FOLDER"


@dataclass(frozen=True)
class Point:
    """One scale of a curve.

    Attributes:
        scale: of the guidance.
        kid, kid_error: kernel distance and its standard error.
        following: how well images follow the text, in [0, 1], and its standard error; None where nothing says it.
    """

    scale: float
    kid: float
    kid_error: float
    following: tuple[float, float] | None = None


def choose(curve: Sequence[Point]) -> Point:
    """The point that RULE chooses, after the one-standard-error rule of Breiman et al. (1984, section 3.4.3).

    >>> curve = [Point(1.0, 0.050, 0.002, (0.90, 0.01)), Point(1.5, 0.051, 0.002, (0.97, 0.01))]
    >>> choose(curve).scale  # as near to real images as any, and it follows the text better
    1.5
    >>> choose([*curve, Point(3.0, 0.09, 0.002, (1.0, 0.0))]).scale  # nothing makes up for a worse KID
    1.5
    >>> choose([curve[0], Point(1.5, 0.051, 0.002, (0.905, 0.01))]).scale  # no measured gain for twice the cost
    1.0
    """
    nearest = min(curve, key=lambda point: point.kid)
    near = [point for point in curve if point.kid <= nearest.kid + nearest.kid_error]
    known = [point for point in near if point.following is not None]
    if known:
        share, error = max(point.following for point in known if point.following is not None)
        near = [point for point in known if point.following is not None and point.following[0] >= share - error]
    return min(near, key=lambda point: (point.scale != 1.0, point.scale))


def beyond(scale: float, measured: Sequence[float]) -> str:
    """What is to be said of a choice at an end of what was measured; nothing of another, nor of 1: no guidance.

    >>> beyond(4, [4, 6, 8]), beyond(6, [4, 6, 8]), beyond(1, [1, 2])
    (', the smallest that was measured: measure smaller ones, too', '', '')
    """
    if scale == 1.0 or min(measured) < scale < max(measured):
        return ""
    end, other = ("smallest", "smaller") if scale == min(measured) else ("largest", "larger")
    return f", the {end} that was measured: measure {other} ones, too"


def curve_of(content: Mapping[str, Any]) -> list[Point]:
    """The curve over guidance scales of a metrics.json, by scale; empty where it holds none."""
    found = points(content, "guidance")
    name = next((name for name in found if name.startswith("kid_")), None)
    if name is None:
        return []
    by_scale = {measure: dict(each) for measure, each in found.items()}
    groups = [[measure for measure in group if measure in found] for group in FOLLOWING]
    group: Sequence[str] = next((group for group in groups if group), ())
    curve = []
    for scale, entry in found[name]:
        here = [by_scale[measure].get(scale) for measure in group]
        shares = [each for each in here if each is not None]
        following = (mean([each["value"] for each in shares]), mean([error_of(each) for each in shares]))
        error = entry["settings"].get("standard_error", 0.0)
        curve.append(Point(scale, entry["value"], error, following if len(shares) == len(group) > 0 else None))
    return curve


def error_of(entry: Mapping[str, Any]) -> float:
    """Standard error of a share, from its 95 % interval; 0 where it has none."""
    return (entry["ci95"][1] - entry["ci95"][0]) / WIDTH if entry["ci95"] else 0.0


def mean(values: Sequence[float]) -> float:
    """Mean of numbers; 0 of none."""
    return sum(values) / max(len(values), 1)


def chosen_by(folder: Path, sha256: str) -> dict[str, Any]:
    """`info.guidance` of a bundle, by the curve in the metrics.json of an evaluation's `folder`.

    Args:
        sha256: of the bundle, whose curve it must be.

    Raises:
        UserError: there is no curve, it is of another bundle, or it was not measured on validation images.
    """
    content = read_metrics(folder / "metrics.json")
    run, curve = content["run"], curve_of(content)
    if not curve:
        raise UserError(f"guidance={folder} holds no curve over guidance scales; `{COMMAND}` measures one.")
    if run["bundle_sha256"] != sha256:
        raise UserError(
            f"guidance={folder} measured the bundle {str(run['bundle_sha256'])[:8]}, and this one is {sha256[:8]}; "
            f"`{COMMAND}` measures it."
        )
    if run.get("split") != "val":
        raise UserError(
            f"guidance={folder} was measured on the test split, where nothing is chosen; `{COMMAND}` takes validation."
        )
    first = next(entry for name, entry in content.items() if name.startswith("kid_") and "_at_guidance_" in name)
    chosen = {
        "split": run["split"],
        "n": first["n"],
        "rule": RULE,
        "curve": [vars(point) for point in curve],
        "sampling": run["sampling"],
        "evaluation": folder.name,
        "run": {key: run[key] for key in ("command", "git_commit", "config_hash", "bundle_sha256", "seed", "data")},
    }
    return run["guidance"] | {"scale": choose(curve).scale, "chosen": chosen}
