"""A page begins with a dozen figures at most; a missed aim is marked, and what was not measured is not left out."""

import pytest

from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.derived import derived
from cxr_ldm.metrics.results import Metric, run_entry
from cxr_ldm.report.headline import KEYS, check_targets, headline
from cxr_ldm.report.html import render
from cxr_ldm.report.markdown import render_markdown
from cxr_ldm.report.tables import finding_table, headline_table, reference_table

TARGETS = {"kid": 0.03, "fid_ratio": 2.0, "auroc_own": 0.8, "side": 0.7, "sharpness": [0.8, 1.25], "recall": 0.5}


def content(targets=TARGETS):
    """A metrics.json of an evaluation that measured most."""
    low = {"ci95": (0.1, 0.2)}
    metrics = {
        "kid_x": Metric(0.025, 2000, False, ci95=(0.02, 0.035)),
        "kid_x_floor": Metric(0.0, 500, False, reason="few"),
        "kid_x_difference": Metric(0.025, 500, False, ci95=(0.02, 0.035)),
        "fid_x_ratio": Metric(1.8, 500, False, ci95=(1.6, 2.0)),
        "coverage_x": Metric(0.6, 500, True, ci95=(0.5, 0.7)),
        "coverage_x_floor": Metric(0.8, 500, True, reason="few"),
        "kid_x_reference_copier": Metric(0.001, 500, False, ci95=(-0.001, 0.003)),
        "auroc_own_mean": Metric(0.75, 400, True, ci95=(0.7, 0.8)),
        "auroc_own_mean_real": Metric(0.85, 700, True, ci95=(0.8, 0.9)),
        "auroc_own_edema": Metric(0.75, 400, True, ci95=(0.7, 0.8)),
        "auroc_own_edema_real": Metric(0.85, 700, True, ci95=(0.8, 0.9)),
        "auroc_edema_real_crossfitted": Metric(0.83, 3000, True, ci95=(0.8, 0.9)),
        "auroc_trained_on_synthetic": Metric(0.7, 700, True, ci95=(0.6, 0.8)),
        "auroc_trained_on_synthetic_edema": Metric(0.71, 700, True, ci95=(0.6, 0.8)),
        "side_own": Metric(0.9, 400, True, settings={"judged": False}, reason="not judged: too few"),
        "copies_excess_x": Metric(0.0, 500, False, ci95=(-0.01, 0.004)),
        "pairwise_ssim_within_prompt": Metric(0.5, 100, False, reason="shared"),
        "pairwise_ssim_within_prompt_floor": Metric(0.3, 100, False, reason="shared"),
        "sharpness": Metric(9.0, 500, True, **low | {"ci95": (8.0, 10.0)}),
        "sharpness_of_real": Metric(10.0, 500, True, ci95=(9.0, 11.0)),
    }
    metrics |= derived(metrics)
    run = run_entry(composed={}, bundle_sha256=None, seed=0, stage="ldm", data="d", targets=targets)
    return {name: metric.entry() for name, metric in metrics.items()} | {"run": run}


def test_derived_figures_by_hand():
    metrics = content()
    assert metrics["coverage_x_ratio"]["value"] == pytest.approx(0.75)
    assert metrics["coverage_x_ratio"]["ci95"] == pytest.approx([0.625, 0.875])
    assert metrics["pairwise_ssim_within_prompt_difference"]["value"] == pytest.approx(0.2)
    assert metrics["sharpness_ratio"]["value"] == pytest.approx(0.9)
    assert metrics["sharpness_ratio"]["settings"]["over"] == 10.0


def test_aims_are_held_against_the_right_end_and_missed_ones_are_marked():
    rows = {row.name: row for row in headline(content())}
    assert len(rows) <= 12
    assert rows["kid_x"].missed  # 0.025 is below 0.03, the upper end is not
    assert rows["kid_x"].value.startswith("0.0350 (value 0.0250")
    assert rows["kid_x"].aim == "≤ 0.0300, MISSED"
    assert rows["fid_x_ratio"].missed is False
    assert rows["auroc_own_mean"].missed
    assert rows["auroc_own_mean"].real.startswith("0.8500")
    assert rows["sharpness_ratio"].missed is False
    assert rows["coverage_x_ratio"].missed is None  # no aim
    assert rows["side_own"].missed  # an aim that nothing could judge is not met
    assert rows["side_own"].value == "not judged: too few"
    assert rows["recall_x_ratio"].value == "not measured"
    assert rows["recall_x_ratio"].missed
    assert "auroc_trained_ratio" not in rows  # neither measured nor aimed at


def test_the_tables_are_at_the_top_of_the_page_and_in_the_html():
    page, html = render_markdown(content(), "Page"), render(content(), {})
    assert page.index("## In short") < page.index("## References") < page.index("<details") < page.index("| `kid_x`")
    assert "| **KID, upper end of its interval** |" in page
    assert "| FID over its floor |" in page
    for text in ("In short", "MISSED", "training images, as a perfect copier gives them", 'class="missed"'):
        assert text in html
    assert html.index("In short") < html.index("<strong>kid_x</strong>")


def test_references_and_findings_stand_side_by_side():
    table = reference_table(content())
    assert table.headings[:2] == ["set", "kid"]
    assert [row[0] for row in table.rows][:3] == [
        "generated",
        "real against real",
        "training images, as a perfect copier gives them",
    ]
    table = finding_table(content())
    assert table.headings == ["finding", "own words", "real", "cross-fitted", "trained on synthetic"]
    assert [row[0] for row in table.rows] == ["edema", "mean"]
    assert table.rows[0][2] == "0.8500 (0.8000 to 0.9000)"
    assert table.rows[1][4].startswith("0.7000")


def test_an_evaluation_without_such_figures_has_no_such_tables():
    run = run_entry(composed={}, bundle_sha256=None, seed=0, stage="vae")
    found = {"ssim": Metric(0.9, 9, True, reason="few").entry(), "run": run}
    assert headline_table(found) is reference_table(found) is finding_table(found) is None


def test_an_aim_of_no_figure_is_refused():
    check_targets(dict.fromkeys(KEYS))
    with pytest.raises(UserError, match="metrics.targets.speed is no figure"):
        check_targets({"speed": 1})
    with pytest.raises(UserError, match="metrics.targets.kid=low must be a number"):
        check_targets({"kid": "low"})
