"""Figures of the findings benchmark against torchmetrics and closed forms, on invented reports."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_f1_score, binary_precision, binary_recall

from cxr_ldm.benchmark.findings import (
    Read,
    bootstrap_weights,
    f1,
    half_of,
    measure,
    outcomes,
    read_reports,
    side_agreement,
)
from cxr_ldm.benchmark.findings_codes import AIMED, FURTHER, HALVES, TARGETS
from cxr_ldm.benchmark.findings_page import page
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.reports import Report
from cxr_ldm.data.findings.words import CHEXPERT
from cxr_ldm.errors import UserError

# headings and impression of a report; the coder and the text agree in some and not in others
KINDS = [
    (["Cardiomegaly/mild"], "Mild cardiomegaly."),
    (["Cardiac Shadow/enlarged"], "Normal heart size."),
    (["Pleural Effusion/left", "Opacity/lung/base/left"], "Left effusion with left base opacity."),
    (["Pleural Effusion/right"], "Possible right effusion."),
    (["Pulmonary Atelectasis/base/left"], "Right base atelectasis."),
    (["Infiltrate/lung/lingula"], "Infiltrate in the lingula."),
    (["Nodule/lung/right"], "Nodule in the right lung."),
    (["normal"], "Lungs are clear. No effusion."),
    (["normal"], "No acute disease. Nodule."),
    (["Scoliosis"], "No acute disease."),
    (["Catheters, Indwelling"], "Clear lungs. Catheter tip in place."),
]


def reports(n: int) -> list[Report]:
    return [
        Report(str(uid), {"findings": "", "impression": text}, [], list(headings))
        for uid in range(n)
        for headings, text in [KINDS[uid % len(KINDS)]]
    ]


@pytest.fixture(scope="module")
def halves():
    return read_reports(reports(400))


def test_halves_are_disjoint_even_and_keep_to_the_number():
    halves = [half_of(str(uid)) for uid in range(1, 4001)]
    assert abs(halves.count("measurement") / 4000 - 0.5) < 0.03
    assert halves == [half_of(str(uid)) for uid in range(1, 4001)]


def test_reports_without_text_or_codes_are_left_out():
    given = [*reports(50), Report("900", {"findings": " XXXX "}, [], ["normal"])]
    given += [Report("901", {"findings": "Clear."}, [], ["No Indexing"]), Report("902", {"findings": "Clear."}, [], [])]
    assert sum(map(len, read_reports(given).values())) == 50
    with pytest.raises(UserError, match="too few to measure on"):
        read_reports(reports(1))


def test_every_name_but_the_classes_own_is_measured():
    assert {name for target in TARGETS.values() for name in target.names} == set(CHEXPERT)


def test_figures_are_those_of_torchmetrics(halves):
    metrics = measure(halves, 20, seed=0)
    for half, end in (("measurement", ""), ("development", "_development")):
        hits, wrong, missed = outcomes(halves[half], AIMED)
        witness = []
        for column, name in enumerate(AIMED):
            truth, found = (torch.from_numpy((hits + other)[:, column]).long() for other in (missed, wrong))
            assert metrics[f"{name}_precision{end}"].value == pytest.approx(binary_precision(found, truth).item())
            assert metrics[f"{name}_recall{end}"].value == pytest.approx(binary_recall(found, truth).item())
            assert metrics[f"{name}_f1{end}"].value == pytest.approx(binary_f1_score(found, truth).item())
            assert metrics[f"{name}_f1{end}"].settings["support"] == truth.sum()
            witness.append(binary_f1_score(found, truth).item())
        assert metrics[f"mean_f1{end}"].value == pytest.approx(np.mean(witness))
        assert metrics[f"mean_f1_with_uncertain{end}"].value > metrics[f"mean_f1{end}"].value  # "possible" is coded
    assert not any(name.startswith("fracture") for name in metrics)  # no report here is coded so


def test_a_normal_report_names_no_device(halves):
    read = Read(["Catheters, Indwelling"], read_findings("Clear lungs. Catheter."))
    assert not read.found(AIMED["normal"])
    assert read.found(FURTHER["device"])
    assert Read(["normal"], read_findings("Clear lungs.")).found(AIMED["normal"])


def test_intervals_are_wilsons_and_the_bootstraps(halves):
    metric = measure(halves, 2000, seed=0)["cardiomegaly_recall"]
    share, n, z = metric.value, metric.settings["support"], 1.959964
    centre, width = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    expected = (centre - width) / (1 + z * z / n), (centre + width) / (1 + z * z / n)
    assert metric.ci95 == pytest.approx(expected, abs=1e-6)
    # the bootstrap of a mean has the standard error of a mean
    weights = bootstrap_weights(400, 4000, seed=1)
    values = np.random.default_rng(0).random(400)
    assert (weights @ values / 400).std() == pytest.approx(values.std() / 20, rel=0.05)
    assert weights.sum(1).tolist() == [400] * 4000


def test_f1_is_never_undefined():
    assert f1(np.zeros(1), np.zeros(1), np.zeros(1)).tolist() == [0.0]


def test_where_all_agree_the_bootstrap_has_no_interval():
    halves = {half: [Read(["normal"], read_findings("Clear lungs."))] * 5 for half in HALVES}
    metrics = measure(halves, 20, seed=0)
    assert "side_agreement" not in metrics  # nothing states one
    metric = metrics["normal_f1"]
    assert (metric.value, metric.ci95, metric.reason) == (1, None, "resampling reports that all agree shows nothing")


def test_sides_are_compared_where_each_states_one():
    reads = [Read(headings, read_findings(text)) for headings, text in KINDS]
    # left effusion and left opacity agree, the atelectasis does not, the infiltrate's coder names no side
    assert side_agreement(reads) == (2, 3)


def test_the_page_shows_what_the_metrics_say(halves):
    metrics = {name: metric.entry() for name, metric in measure(halves, 20, seed=0).items()}
    text = page(metrics | {"run": {"command": "python -m cxr_ldm.benchmark"}})
    assert f"**{metrics['mean_f1']['value']:.4f} (" in text
    assert f"The measurement half has {len(halves['measurement'])} reports" in text
    development = metrics["nodule_recall_development"]
    assert f" | {development['value']:.4f} (" in text.split("## The development half")[1]
    assert "| fracture | Fractures, Bone | fracture |" in text
    assert all(sentence not in text for _, sentence in KINDS)
