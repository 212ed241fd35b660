"""The page of claims shows what evaluations measured, and says so where none did."""

import json
import os

import pytest

from cxr_ldm.benchmark.claims import page, run
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, run_entry, write_metrics

CLAIMS = [
    {"figure": "SSIM", "stated": "0.82", "origin": "a constant", "stage": "vae", "metric": "ssim"},
    {"figure": "FID", "stated": "32.6", "origin": "no code", "stage": "ldm", "metric": "fid_net"},
    {"figure": "readers", "stated": "later", "origin": "–", "stage": "ldm", "metric": None},
]


def make(outputs, name, stage, metrics, when, data="real-96", **facts):
    entry = run_entry(composed={}, bundle_sha256=None, seed=0, stage=stage, data={"name": data}, **facts)
    path = outputs / "evaluation" / name / "metrics.json"
    write_metrics(path, metrics, entry)
    os.utime(path, (when, when))


def test_newest_evaluation_of_each_stage_counts(tmp_path):
    for when, (name, ssim, facts) in enumerate(
        [("a", 0.5, {}), ("b", 0.9123, {}), ("c", 0.1, {"compared": ["x", "y"]})]
    ):
        make(tmp_path, name, "vae", {"ssim": Metric(ssim, 44, True, ci95=(0.05, 0.95), over="patients")}, when, **facts)
    make(tmp_path, "on_val", "vae", {"ssim": Metric(0.99, 44, True, reason="x")}, 8, split="val")
    make(tmp_path, "d", "vae", {"ssim": Metric(0.2, 44, True, reason="x")}, 9, data="phantom-64")
    found = run(str(tmp_path), "real", CLAIMS)
    assert (found["claims"].value, found["claims"].n) == (1, 3)
    write_metrics(tmp_path / "metrics.json", found, run_entry(composed={}, bundle_sha256=None, seed=0))
    lines = [line for line in page(json.loads((tmp_path / "metrics.json").read_text())).splitlines() if "|" in line]
    assert "0.9123 (0.0500 to 0.9500)" in lines[2]
    assert [line.count("not measured") for line in lines[2:]] == [0, 1, 1]


def test_no_evaluation_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no evaluation of data"):
        run(str(tmp_path), "real", CLAIMS)
