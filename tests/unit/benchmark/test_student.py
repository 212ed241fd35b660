"""The page of a student says what its evaluations say, and marks what misses its aim."""

import pytest

from cxr_ldm.benchmark.student import page, run
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, read_metrics, run_entry, write_metrics

KID = "kid_efficientnet_lite0"


def evaluated(outputs, name, kid, steps, sampler, scale=3.0, n=200, finding=0.95, ssim=0.5):
    """An evaluation's metrics.json, as evaluate.py writes it."""
    (outputs / "evaluation" / name).mkdir(parents=True)
    metrics = {
        KID: Metric(kid, n, False, settings={"standard_error": 0.002}, reason="test"),
        "adherence_finding": Metric(finding, n, True, reason="test"),
        "pairwise_ssim_within_prompt": Metric(ssim, n, False, reason="test"),
    }
    facts = {
        "guidance": {"scale": scale},
        "sampling": {"steps": steps, "sampler": {"step": {"part": sampler}}},
        "data": {"name": "phantoms"},
        "split": "test",
    }
    made = run_entry(composed={}, bundle_sha256=None, seed=0, command=f"evaluate {name}", **facts)
    write_metrics(outputs / "evaluation" / name / "metrics.json", metrics, made)


@pytest.fixture
def outputs(tmp_path):
    evaluated(tmp_path, "teacher", 0.04, 20, "dpmpp_2m")
    evaluated(tmp_path, "four", 0.047, 4, "flow_map", finding=0.94)
    evaluated(tmp_path, "one", 0.12, 1, "flow_map", finding=0.8, ssim=0.53)
    return tmp_path


def compared(outputs, name, **losses):
    """What `evaluate.py compare=[TEACHER,STUDENT]` writes with a classifier; a loss is value, low, high."""
    (outputs / "evaluation" / name).mkdir(parents=True)
    facts = {"first": 0.9, "second": 0.9, "shown": 100, "not_shown": 300}
    metrics = {
        f"auroc_{finding}_difference": Metric(
            value, 400, True, ci95=(low, high), settings=facts if finding != "mean" else {}, over="patients"
        )
        for finding, (value, low, high) in losses.items()
    }
    sampling = [{"steps": steps, "sampler": {}} for steps in (20, 4)]
    made = run_entry(composed={}, bundle_sha256=None, seed=0, command=f"evaluate {name}", sampling=sampling)
    write_metrics(outputs / "evaluation" / name / "metrics.json", metrics, made)


def paged(outputs, names, comparisons=()):
    metrics = run(str(outputs), names, comparisons)
    write_metrics(outputs / "suite.json", metrics, run_entry(composed={}, bundle_sha256=None, seed=0, command="suite"))
    return metrics, page(read_metrics(outputs / "suite.json")).splitlines()


def test_the_page_marks_what_misses_its_aim(outputs):
    metrics, lines = paged(outputs, ["teacher", "four", "one"])
    assert metrics["kid_ratio_four"].value == pytest.approx(1.175)
    assert "| teacher, 20 of dpmpp_2m | 0.04 ± 0.002 | 0.95 | 0.5 | 1.00 | 1 |" in lines
    # 20 steps of two evaluations are 40, beside 4 and 1
    assert "| student, 4 of flow_map | 0.047 ± 0.002 | 0.94 | 0.5 | 1.18 | 10 × fewer |" in lines
    assert "| student, 1 of flow_map | **0.12 ± 0.002** | **0.8** | **0.53** | 3.00 | 40 × fewer |" in lines
    assert any("KID at most 1.2 times" in line and "finding shown within 0.02" in line for line in lines)


def test_what_a_finding_loses_stands_on_the_page_and_is_marked_beyond_its_aim(outputs):
    compared(outputs, "pair", pneumonia=(0.005, -0.01, 0.02), edema=(0.02, 0.0, 0.04), mean=(0.0125, 0.0, 0.025))
    metrics, lines = paged(outputs, ["teacher", "four"], ["pair"])
    assert (metrics["auroc_loss_pair"].value, metrics["auroc_loss_pair"].ci95) == (0.0125, (0.0, 0.025))
    assert "| 4 of flow_map | pneumonia | 0.900 | 0.900 | 0.005 (-0.010 to 0.020) | 400 |" in lines
    assert "| 4 of flow_map | edema | 0.900 | 0.900 | **0.020 (0.000 to 0.040)** | 400 |" in lines
    assert "| 4 of flow_map | mean | – | – | 0.013 (0.000 to 0.025) | 400 |" in lines
    assert "- `evaluate pair` (commit " in "\n".join(lines)
    compared(outputs, "unjudged", kid=(0.0, -1.0, 1.0))
    with pytest.raises(UserError, match="compares no AUROC; name a classifier"):
        run(str(outputs), ["teacher", "four"], ["unjudged"])


def test_a_plain_teacher_takes_one_evaluation_a_step(outputs):
    evaluated(outputs, "plain", 0.04, 20, "dpmpp_2m", scale=1.0)
    _, lines = paged(outputs, ["plain", "four"])
    assert any(line.endswith("| 5 × fewer |") for line in lines)


def test_evaluations_that_differ_or_are_missing_are_refused(outputs):
    evaluated(outputs, "fewer", 0.04, 4, "flow_map", n=100)
    with pytest.raises(UserError, match="fewer was measured otherwise than teacher"):
        run(str(outputs), ["teacher", "fewer"])
    with pytest.raises(UserError, match="holds no finished evaluation"):
        run(str(outputs), ["teacher", "nowhere"])
    with pytest.raises(UserError, match="names the teacher's evaluation and one or more of its student"):
        run(str(outputs), ["teacher"])
