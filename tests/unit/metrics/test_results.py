"""metrics.json: the contract is kept when writing and demanded when reading."""

import json
import math
import re

import pytest

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, read_metrics, run_entry, validate, write_metrics


@pytest.fixture
def run():
    return run_entry(composed={"seed": 0}, bundle_sha256="ab" * 32, seed=0, stage="ldm")


def test_written_file_is_the_contract(tmp_path, run):
    path = tmp_path / "metrics.json"
    metrics = {
        "ssim": Metric(0.93, 144, True, ci95=(0.92, 0.94), settings={"data_range": 2.0}, over="patients"),
        "fid_efficientnet_lite0": Metric(32.6, 500, False, reason="biased bootstrap"),
    }
    write_metrics(path, metrics, run)
    content = read_metrics(path)
    assert content["ssim"] == {
        "value": 0.93,
        "ci95": [0.92, 0.94],
        "ci95_over": "patients",
        "n": 144,
        "higher_is_better": True,
        "settings": {"data_range": 2.0},
    }
    assert content["fid_efficientnet_lite0"]["ci95"] is None
    assert content["fid_efficientnet_lite0"]["ci95_reason"] == "biased bootstrap"


def test_run_entry_says_what_ran(run):
    assert run["git_commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", run["git_commit"])
    assert re.fullmatch(r"[0-9a-f]{16}", run["config_hash"])
    assert run["bundle_sha256"] == "ab" * 32
    assert run["hardware"]["cores"] >= 1
    assert run["hardware"]["torch_threads"] >= 1
    assert run["hardware"]["cpu"]
    assert {"python", "torch", "torchmetrics", "numpy"} <= run["versions"].keys()
    assert run["stage"] == "ldm"
    assert run["config_hash"] != run_entry(composed={"seed": 1}, bundle_sha256=None, seed=1)["config_hash"]
    json.dumps(run, allow_nan=False)


@pytest.mark.parametrize(
    ("metric", "word"),
    [
        (Metric(math.nan, 3, True, reason="x"), "finite"),
        (Metric(math.inf, 3, True, reason="x"), "finite"),
        (Metric(0.5, 0, True, reason="x"), "n = 0"),
        (Metric(0.5, 3, True), "no reason"),
        (Metric(0.5, 3, True, ci95=(0.4, 0.6)), "ssim: an interval must say what it is over"),
        (Metric(0.5, 3, True, ci95=(0.6, 0.4)), "interval"),
        (Metric(0.5, 3, True, ci95=(math.nan, 0.4)), "interval"),
        (Metric(0.5, 3, None, reason="x"), "higher_is_better"),
        (Metric(0.5, 3, True, reason="x", settings={"deviation": math.nan}), "JSON compliant"),
    ],
)
def test_a_metric_that_breaks_the_contract_is_not_written(tmp_path, run, metric, word):
    with pytest.raises(ValueError, match=word):
        write_metrics(tmp_path / "metrics.json", {"ssim": metric}, run)
    assert not list(tmp_path.iterdir())


def test_run_is_demanded_and_no_metric_takes_its_name(tmp_path, run):
    with pytest.raises(ValueError, match="'run' is missing"):
        validate({})
    with pytest.raises(ValueError, match="lacks git_commit"):
        validate({"run": {key: value for key, value in run.items() if key != "git_commit"}})
    with pytest.raises(ValueError, match="called 'run'"):
        write_metrics(tmp_path / "metrics.json", {"run": Metric(1.0, 1, True, reason="x")}, run)


def test_a_foreign_file_is_refused_with_its_path(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"ssim": 0.82}')
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_metrics(path)
