"""How well findings agree with the experts' codes of Open-i: a floor a little below docs/results/findings.md."""

import time
from pathlib import Path

import pytest

from cxr_ldm.benchmark.findings import measure, read_reports
from cxr_ldm.benchmark.findings_codes import AIMED
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.reports import SEEN, Report
from cxr_ldm.data.readers.openi import OpenIReader

ROOT = Path(__file__).parents[2].parent / "shared" / "data" / "iu_xray"
FLOORS = {
    "cardiomegaly": 0.95,
    "effusion": 0.90,
    "atelectasis": 0.92,
    "opacity": 0.92,
    "nodule": 0.80,
    "normal": 0.93,
}

pytestmark = [pytest.mark.real, pytest.mark.skipif(not ROOT.is_dir(), reason=f"{ROOT} is not here")]


@pytest.fixture(scope="module")
def reports():
    return [report for report in OpenIReader(ROOT).reports() if isinstance(report, Report)]


def test_findings_agree_with_the_codes_on_the_half_that_was_not_looked_at(reports):
    metrics = measure(read_reports(reports), 10, seed=0)
    reached = {name: metrics[f"{name}_f1"].value for name in AIMED}
    assert all(reached[name] >= FLOORS[name] for name in AIMED), reached
    assert metrics["mean_f1"].value >= 0.92
    assert metrics["side_agreement"].value >= 0.97
    assert metrics["side_agreement"].n > 300


def test_four_thousand_reports_take_seconds(reports):
    texts = [" ".join(report.cleaned(SEEN).values()) for report in reports]
    begin = time.process_time()
    assert sum(bool(read_findings(text)) for text in texts) > 3700
    assert time.process_time() - begin < 10
