"""The evaluation of a model that is known to be good says so: prompts, images and truths out of order would not."""

import json

import pytest

pytestmark = pytest.mark.campaign


def test_the_phantom_model_is_found_to_follow_its_prompts_and_to_be_near_the_real_images(command, tmp_path):
    options = ["experiment=demo_model", "bundle=cxr_ldm/assets/demo", "name=control", "logger=csv"]
    others = ["data.reader.seed=7", "external=true"]  # phantoms of today, whom the model cannot have seen
    sizes = [*others, "metrics.n=200", "metrics.adherence_n=20", "metrics.cost_steps=[1]", f"paths.outputs={tmp_path}"]
    command("evaluate.py", "stage=ldm", *options, *sizes)
    metrics = json.loads((tmp_path / "evaluation/control/metrics.json").read_text())
    assert metrics["adherence_finding"]["value"] > 0.9
    assert metrics["adherence_side"]["value"] > 0.9
    assert metrics["adherence_finding_texts"]["value"] > 0.9  # each image against the truth of its own text
    assert metrics["adherence_side_texts"]["value"] > 0.8
    assert 1 < metrics["fid_efficientnet_lite0_ratio"]["value"] < 6
    assert abs(metrics["kid_efficientnet_lite0_floor"]["value"]) < 0.002
