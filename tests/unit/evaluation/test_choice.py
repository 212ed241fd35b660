"""The guidance scale is chosen from a curve by one rule, on validation images of this very bundle, or not at all."""

import pytest

from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.choice import Point, choose, chosen_by, curve_of
from cxr_ldm.metrics.results import Metric, run_entry, write_metrics

KID = "kid_efficientnet_lite0"
SCALES = (1.0, 1.5, 2.0)


def written(folder, kids, groups=None, *, split="val", sha256="ab" * 32):
    """A metrics.json with a curve: KID ± 0.002 and, by name, shares with intervals of ± 0.01."""
    metrics = {}
    for place, scale in enumerate(SCALES):
        error = {"standard_error": 0.002, "guidance": scale}
        metrics[f"{KID}_at_guidance_{scale:g}"] = Metric(kids[place], 90, False, settings=error, reason="a test")
        for name, values in (groups or {}).items():
            ends = (values[place] - 0.01, values[place] + 0.01)
            metrics[f"{name}_at_guidance_{scale:g}"] = Metric(values[place], 90, True, ends, over="images")
    facts = {"guidance": {"scale": 1.0, "interval": [0.0, 0.8], "rescale": 0.7}, "sampling": {"steps": 20}}
    run = run_entry(composed={}, bundle_sha256=sha256, seed=0, data={"name": "phantom"}, split=split, **facts)
    write_metrics(folder / "metrics.json", metrics, run)
    return folder


@pytest.mark.parametrize(
    ("kids", "groups", "expected"),
    [
        ((0.050, 0.051, 0.051), {"adherence_finding_texts": (0.90, 0.95, 0.99)}, 2.0),  # as near, and follows better
        ((0.050, 0.051, 0.060), {"adherence_finding_texts": (0.90, 0.95, 0.99)}, 1.5),  # not if the images are worse
        ((0.060, 0.050, 0.051), {"adherence_finding_texts": (0.99, 0.95, 0.95)}, 1.5),  # of a tie the smallest
        ((0.051, 0.050, 0.051), {"auroc_mean": (0.850, 0.851, 0.852)}, 1.0),  # no measured gain for twice the cost
        (
            (0.051, 0.050, 0.051),
            {"auroc_mean": (0.7, 0.8, 0.9), "side_accuracy": (0.9, 0.5, 0.3)},
            2.0,
        ),  # no side
        ((0.051, 0.050, 0.051), {"adherence_side_texts": (0.9, 0.8, 0.8), "auroc_mean": (0.1, 0.9, 0.9)}, 1.0),
        ((0.060, 0.050, 0.051), None, 1.5),  # KID alone
    ],
)
def test_the_rule(kids, groups, expected, tmp_path):
    entry = chosen_by(written(tmp_path, kids, groups), "ab" * 32)
    assert entry["scale"] == expected


def test_one_goes_before_a_smaller_scale():
    assert choose([Point(0.5, 0.05, 0.01), Point(1.0, 0.05, 0.01), Point(2.0, 0.05, 0.01)]).scale == 1.0


def test_how_it_was_chosen_goes_with_it(tmp_path):
    folder = written(tmp_path / "curve", (0.050, 0.051, 0.07), {"adherence_side_texts": (0.5, 0.9, 1.0)})
    entry = chosen_by(folder, "ab" * 32)
    assert (entry["scale"], entry["interval"], entry["rescale"]) == (1.5, [0.0, 0.8], 0.7)
    chosen = entry["chosen"]
    assert (chosen["split"], chosen["n"], chosen["evaluation"], chosen["sampling"]) == (
        "val",
        90,
        "curve",
        {"steps": 20},
    )
    assert [point["scale"] for point in chosen["curve"]] == [1.0, 1.5, 2.0]
    assert chosen["curve"][1]["following"] == pytest.approx((0.9, 0.02 / 3.92))
    assert "within one standard error" in chosen["rule"]
    assert chosen["run"]["bundle_sha256"] == "ab" * 32


def test_nothing_is_chosen_on_test_images_by_another_bundle_or_without_a_curve(tmp_path):
    kids = (0.050, 0.051, 0.07)
    with pytest.raises(UserError, match="was measured on the test split, where nothing is chosen"):
        chosen_by(written(tmp_path / "test", kids, split="test"), "ab" * 32)
    with pytest.raises(UserError, match="measured the bundle abababab, and this one is cdcdcdcd"):
        chosen_by(written(tmp_path / "other", kids), "cd" * 32)
    write_metrics(tmp_path / "metrics.json", {}, run_entry(composed={}, bundle_sha256=None, seed=0))
    assert curve_of({"run": {}}) == []
    with pytest.raises(UserError, match="holds no curve over guidance scales; `python evaluate.py stage=ldm"):
        chosen_by(tmp_path, "ab" * 32)
