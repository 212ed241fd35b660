"""The table by finding: every figure is that of metrics.json, and what is missing says why."""

import re

import pytest

from cxr_ldm.metrics.results import run_entry
from cxr_ldm.report.by_finding import FEW_SIDES, NO_CLASSIFIER, NO_SIDES, NO_TRUTH, TOO_FEW, by_finding, notes
from cxr_ldm.report.html import render
from cxr_ldm.report.markdown import render_markdown


def entry(value, n=64, ends=None, reason=None, **settings):
    content = {"value": value, "ci95": ends, "n": n, "higher_is_better": True, "settings": settings}
    return content | ({"ci95_reason": reason} if reason else {})


@pytest.fixture
def content():
    few = {"than": 10, "classes": ["nodule", "nodule left", "pneumothorax", "edema"], "shown": {"nodule": [3, 60]}}
    sides = {"pleural effusion": {"accuracy": 0.75, "right": 12, "left": 8}}
    return {
        "auroc_pleural_effusion": entry(0.9123, ends=[0.85, 0.96], shown=20, not_shown=44),
        "auroc_pleural_effusion_left": entry(0.8, ends=[0.7, 0.9], shown=8),
        "auroc_edema": entry(0.6111, ends=[0.5, 0.7], shown=11, not_shown=53),
        "auroc_mean": entry(0.9123, ends=[0.85, 0.96], fewer_patients=few | {"classes": few["classes"][:3]}),
        "side_accuracy": entry(0.75, 20, ends=[0.6, 0.9], findings=sides),
        "auroc_pleural_effusion_real": entry(0.9876, ends=[0.95, 0.99], shown=20),
        "auroc_mean_real": entry(0.9876, ends=[0.95, 0.99], fewer_patients=few),
        "adherence_finding_texts": entry(0.9531, ends=[0.87, 0.98], finding="pleural effusion"),
        "adherence_side_texts": entry(0.8444, 20, ends=[0.6, 0.95], finding="pleural effusion"),
        "run": run_entry(composed={}, bundle_sha256=None, seed=0, stage="ldm"),
    }


def test_a_row_for_each_finding_and_none_for_its_sides(content):
    rows = {row.finding: row for row in by_finding(content)}
    assert list(rows) == ["edema", "nodule", "pleural effusion", "pneumothorax"]
    effusion = rows["pleural effusion"]
    assert (effusion.count, rows["nodule"].count, rows["pneumothorax"].count) == ("20 of 64", "3 of 60", "–")
    texts = {name: tuple(figure.text for figure in pair) for name, pair in effusion.figures.items()}
    assert texts == {
        "auroc": ("0.9123 (0.8500 to 0.9600)", "0.9876 (0.9500 to 0.9900)"),
        "side_accuracy": ("0.7500 (n = 20)", "–"),
        "adherence_finding": ("0.9531 (0.8700 to 0.9800)", "–"),
        "adherence_side": ("0.8444 (0.6000 to 0.9500)", "–"),
    }


def test_what_is_missing_says_why(content):
    rows = {row.finding: row.figures for row in by_finding(content)}
    assert rows["nodule"]["auroc"][0].reason == TOO_FEW
    assert rows["edema"]["auroc"][0].reason is None  # enough generated images, too few real ones
    assert rows["edema"]["auroc"][1].reason == TOO_FEW
    assert rows["edema"]["side_accuracy"][0].reason == NO_SIDES
    assert rows["nodule"]["side_accuracy"][0].reason == FEW_SIDES
    assert rows["nodule"]["adherence_side"][0].reason == "the geometry of phantoms tells pleural effusion alone"
    assert rows["pleural effusion"]["adherence_finding"][1].reason == NO_TRUTH
    for pairs in rows.values():
        for each in (figure for pair in pairs.values() for figure in pair):
            assert (each.entry is None or each.entry["ci95"] is None) == (each.reason is not None)


def test_without_a_classifier_the_phantoms_finding_has_its_row(content):
    known = {name: each for name, each in content.items() if name.startswith(("adherence", "run"))}
    (row,) = by_finding(known)
    assert (row.finding, row.count) == ("pleural effusion", "64")
    assert row.figures["auroc"][0].reason == NO_CLASSIFIER
    assert by_finding({"fid_net": entry(1.0), "run": content["run"]}) == []


def test_report_and_page_show_the_table_and_number_the_reasons(content):
    why = notes(by_finding(content))
    assert list(why.values()) == list(range(1, len(why) + 1))
    page = render_markdown(content, "x")
    (line,) = [line for line in page.splitlines() if line.startswith("| pleural effusion |")]
    assert "| 20 of 64 | 0.9123 (0.8500 to 0.9600); real 0.9876 (0.9500 to 0.9900) |" in line
    assert f"real – [{why[NO_TRUTH]}]" in line
    assert f"| nodule | 3 of 60 | – [{why[TOO_FEW]}] |" in page
    assert f"{why[NO_TRUTH]}. {NO_TRUTH}" in page
    html = render(content, {})
    (table,) = re.findall(r'<table class="rows findings">.*?</table>', html, re.S)
    assert table.count("<tr>") == 1 + len(by_finding(content))
    assert f"0.7500 (n = 20)<sup>{why[by_finding(content)[2].figures['side_accuracy'][0].reason]}</sup>" in table
    assert html.count("<li>") == len(why)
    known = {name: each for name, each in content.items() if name.startswith(("adherence", "run"))}
    for text in (render_markdown(known, "x"), render(known, {})):
        assert f"AUROC: {NO_CLASSIFIER}" in text  # a measure of no finding is no column
        assert "<th" not in text or '<th class="number">AUROC' not in text
    assert '<table class="rows findings">' not in render({"fid_net": entry(1.0, reason="x"), "run": content["run"]}, {})
