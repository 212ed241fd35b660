"""The page of the ablation says what the runs below a folder say, and no more."""

import json
import os
import re

import pytest

from cxr_ldm.benchmark.ablation import run
from cxr_ldm.benchmark.ablation_page import page
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, run_entry, with_seal, write_metrics

LEVELS = {"Velocity": "LogitNormal", "Epsilon": "Uniform", "VPrediction": "Uniform"}
KID = "kid_efficientnet_lite0"


def make(outputs, name, seed, kid, objective="Velocity", text="scratch", dropout=0.1, trained=True, steps=100):
    settings = {
        "seed": seed,
        "training": {"images": 3200, "condition_dropout": dropout},
        "diffusion": {
            "scaling": {"_target_": f"cxr_ldm.diffusion.scaling.{objective}"},
            "noise_levels": {"_target_": f"cxr_ldm.diffusion.noise_levels.{LEVELS[objective]}"},
            "weighting": {"_target_": "cxr_ldm.diffusion.weighting.Unit"},
        },
        "text_encoder": {"_target_": f"cxr_ldm.text.encoders.{text}"},
    }
    if text == "pretrained":
        settings["text_encoder"] |= {"source": "package:gt_minilm/model", "unfreeze": {"layers": 2, "at_step": 7}}
    record = {"settings": settings, "steps": steps, "seconds": 12.3}
    folder = outputs / "ldm" / name
    folder.mkdir(parents=True)
    if trained:
        (folder / "run.json").write_text(json.dumps(record))
    metrics = {
        KID: Metric(
            kid,
            64,
            False,
            ci95=(kid - 0.01, kid + 0.01),
            over="patients",
            settings={"standard_error": 0.005, "sampling": {"steps": 15, "seed": seed}},
        ),
        f"{KID}_floor": Metric(0.0007, 64, False, reason="x"),
        "adherence_side_texts": Metric(0.875, 64, True, ci95=(0.77, 0.93), over="images"),
    }
    entry = run_entry(
        composed={}, bundle_sha256=None, seed=0, command="x", data={"name": "phantom-64"}, trained={"run": name}
    )
    path = outputs / "evaluation" / name / "metrics.json"
    write_metrics(path, metrics, entry)


def rows(text):
    return [line for line in text.splitlines() if line.startswith("| ")]


def collected(outputs):
    path = outputs / "metrics.json"
    write_metrics(path, run(str(outputs)), run_entry(composed={}, bundle_sha256=None, seed=0, command="x"))
    return page(json.loads(path.read_text()))


def test_each_run_has_a_row_and_the_baseline_stands_first(tmp_path):
    make(tmp_path, "a-ablation-1", 0, 0.300, objective="VPrediction")
    make(tmp_path, "b-ablation-2", 0, 0.2512)
    make(tmp_path, "c-ablation-3", 0, 0.400, text="pretrained", dropout=0.0)
    make(tmp_path, "d-other", 0, 0.1)
    text = collected(tmp_path)
    first, *others = rows(text)[2:5]
    assert first == "| baseline | 0 | 0.2512 ± 0.0050 | 0.8750 (0.7700 to 0.9300) | 100 | 12 |"
    assert any(row.startswith("| objective v_zsnr | 0 | 0.3000") for row in others)
    assert any(row.startswith("| text gt_minilm, top 2 layers freed at step 7, dropout 0.0 | 0 |") for row in others)
    assert "KID of real against real 0.0007" in text
    make(tmp_path, "e-ablation-5", 0, 0.4, text="pretrained", steps=5)
    assert "| text gt_minilm, frozen to the end, since step 7 was never reached | 0 |" in collected(tmp_path)
    assert "3,200 images seen" in text
    assert "0.1000" not in text
    assert "One seed each: no difference here can be called significant." in text


def test_a_comparison_or_another_extractor_does_not_stand_for_the_evaluation_of_a_run(tmp_path):
    make(tmp_path, "a-ablation-1", 0, 0.2512)
    content = json.loads((tmp_path / "evaluation" / "a-ablation-1" / "metrics.json").read_text())
    for later, other in (("compare", f"{KID}_difference"), ("classifier", "kid_classifier")):
        renamed = {name.replace(KID, other): entry for name, entry in content.items()}
        (tmp_path / "evaluation" / later).mkdir()
        (tmp_path / "evaluation" / later / "metrics.json").write_text(json.dumps(with_seal(renamed)))
    assert rows(collected(tmp_path))[2].startswith("| baseline | 0 | 0.2512 ")


@pytest.mark.parametrize(("kids", "verdict"), [((0.30, 0.31), "yes"), ((0.30, 0.265), "not significant")])
def test_worse_is_worse_in_every_seed_beyond_the_intervals(tmp_path, kids, verdict):
    for seed, kid in enumerate((0.25, 0.26)):
        make(tmp_path, f"a-ablation-{seed}", seed, kid)
    for seed, kid in enumerate(kids):
        make(tmp_path, f"b-ablation-{seed}", seed, kid, objective="Epsilon")
    (best,) = [row for row in rows(collected(tmp_path)) if re.match(r"\| baseline \| 2 \|", row)]
    assert best.split(" | ")[3] == "–"
    (other,) = [row for row in rows(collected(tmp_path)) if re.match(r"\| objective eps_linear \| 2 \|", row)]
    assert other.split(" | ")[3] == verdict
    assert other.split(" | ")[5].startswith(("–", "not significant"))


def test_nothing_to_collect_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no evaluated run of the ablation; make them by"):
        run(str(tmp_path))


def test_an_evaluation_on_validation_stands_before_one_of_the_test_split(tmp_path):
    make(tmp_path, "a-ablation-1", 0, 0.2512)
    place = tmp_path / "evaluation" / "a-ablation-1" / "metrics.json"
    content = json.loads(place.read_text())
    content[KID]["value"] = 0.31
    content["run"]["split"] = "val"
    write = tmp_path / "evaluation" / "on_val" / "metrics.json"
    write.parent.mkdir()
    write.write_text(json.dumps(with_seal(content)))
    os.utime(write, (1, 1))  # older, and yet it counts
    (found,) = run(str(tmp_path))["runs"].settings["runs"]
    assert (found["metrics"][KID]["value"], found["measured"]["split"]) == (0.31, "val")
