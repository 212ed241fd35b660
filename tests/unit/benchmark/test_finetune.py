"""The page of fine-tuning: what counts as missed."""

import json

import pytest

from cxr_ldm.benchmark import finetune
from cxr_ldm.benchmark.student import KID
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric


def written(folder, name, kid, error=0.01, high=0.005):
    """metrics.json of an evaluation, as short as the suite lets it be."""
    run = {"command": f"evaluate {name}", "git_commit": "abc", "guidance": {"scale": 3.0}, "config_hash": "0"}
    run |= {"bundle_sha256": None, "seed": 0, "hardware": {}, "versions": {}}
    settings = {"standard_error": error}
    ends = kid - 2 * error, kid + 2 * error
    metrics = {
        KID: Metric(kid, 300, False, ends, settings, over="patients"),
        "coverage_efficientnet_lite0": Metric(0.4, 300, True, reason="none here"),
        "copies_excess_pixels": Metric(0.0, 300, False, (-0.01, high), over="samples"),
        "near_copies": Metric(0.0, 300, False, reason="none here"),
    }
    content = {key: metric.entry() for key, metric in metrics.items()} | {"run": run}
    place = folder / "evaluation" / name
    place.mkdir(parents=True)
    (place / "metrics.json").write_text(json.dumps(content))


@pytest.fixture
def outputs(tmp_path):
    for name, kid in (("untouched", 0.20), ("full_1", 0.10), ("full_2", 0.19), ("scratch_1", 0.3), ("scratch_2", 0.3)):
        written(tmp_path, name, kid)
    written(tmp_path, "lora_1", 0.1, high=0.02)
    (tmp_path / "ldm" / "full_1").mkdir(parents=True)
    (tmp_path / "ldm" / "full_1" / "run.json").write_text('{"seconds": 330}')
    return tmp_path


COLLECTIONS = {
    "lab": {
        "untouched": ["untouched"],
        "full": ["full_1", "full_2"],
        "lora": ["lora_1"],
        "scratch": ["scratch_1", "scratch_2"],
    }
}


def test_what_is_not_clearly_below_both_is_in_bold(outputs):
    metrics = finetune.run(outputs, COLLECTIONS)
    assert metrics["kid_full_1"].value == 0.10
    content = {name: metric.entry() for name, metric in metrics.items()} | {"run": {"seed": 0}}
    text = finetune.page(content)
    assert "| every weight tuned | 1 | 3 | 5.5 | 0.100 ± 0.010 | 0.400 | 0.000 (-0.010 to 0.005) | – | 0 |" in text
    assert "| every weight tuned | 2 | 3 | – | **0.190 ± 0.010** |" in text
    assert "| attention tuned (LoRA) | 1 | 3 | – | 0.100 ± 0.010 | 0.400 | **0.000 (-0.010 to 0.020)** |" in text
    assert "| as it was | – |" in text


def test_unknown_roles_and_missing_evaluations_are_refused(outputs):
    with pytest.raises(UserError, match="not one of untouched"):
        finetune.run(outputs, {"lab": {"other": ["full_1"]}})
    with pytest.raises(UserError, match="no finished evaluation"):
        finetune.run(outputs, {"lab": {"full": ["nowhere"]}})
