"""The finding classifier at a tiny size, through the commands that a user types."""

import json

import pytest

DATA = ["data.reader.n=500", "data.size=32", "logger=csv"]
TINY = [
    "classifier_network=tiny",
    "training.classifier.images=2560",
    "training.classifier.validate_every=1280",
    "training.classifier.batch_size=16",
]
LDM = ["vae=tiny", "denoiser=tiny", "text_encoder.layers=1", "text_encoder.width=32"]
LDM += [f"training.{stage}.{key}" for stage in ("vae", "ldm") for key in ("images=64", "validate_every=64")]
SMALL = ["metrics.n=60", "metrics.adherence_n=2", "sampler.steps=1"]


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    command("train.py", "stage=classifier", *TINY, *DATA, f"paths.outputs={folder}")
    return folder


def only(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


def test_a_run_leaves_what_the_contract_says(outputs):
    run = only(outputs, "classifier/*")
    for name in ("bundle/SHA256SUMS", "checkpoints/last.ckpt", ".hydra/config.yaml"):
        assert (run / name).is_file()
    assert json.loads((run / "run.json").read_text())["complete"]
    config = json.loads((run / "bundle" / "config.json").read_text())
    assert config["kind"] == "classifier"
    assert config["parts"]["classifier"]["classes"] == config["info"]["classes"]
    assert "pleural effusion right" in config["info"]["classes"]
    assert len(config["info"]["prevalence"]) == len(config["info"]["classes"])
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 < metrics["val_auroc_mean"]["value"] <= 1
    assert not list(outputs.rglob("*.partial"))


def test_the_second_run_reuses_the_first(outputs, command):
    where = f"paths.outputs={outputs}"
    assert "complete already" in command("train.py", "stage=classifier", *TINY, *DATA, where).stdout


def test_evaluate_measures_it_on_real_test_images(outputs, command):
    command("evaluate.py", "stage=classifier", "name=classifier", *DATA, f"paths.outputs={outputs}")
    metrics = json.loads((outputs / "evaluation" / "classifier" / "metrics.json").read_text())
    assert {"auroc_pleural_effusion_real", "auroc_mean_real", "prompt_retrieval_top1_real"} <= metrics.keys()
    assert metrics["auroc_pleural_effusion_real"]["value"] > 0.6  # even the tiny one, after half a minute
    assert (outputs / "evaluation" / "classifier" / "report.html").stat().st_size > 1000


def test_generated_images_are_judged_beside_the_real_ones_of_their_texts(outputs, command):
    where = f"paths.outputs={outputs}"
    command("train.py", "stage=vae", *LDM, *DATA, where)
    command("train.py", "stage=ldm", *LDM, *DATA, where)
    ldm = ["evaluate.py", "stage=ldm", *SMALL, *DATA, where]
    printed = command(*ldm, "name=judged", "features=[classifier,efficientnet_lite0]").stdout
    assert "the newest complete run of stage classifier" in printed
    metrics = json.loads((outputs / "evaluation" / "judged" / "metrics.json").read_text())
    judged = {name for name in metrics if name.startswith(("auroc", "side", "prompt")) and not name.endswith("_real")}
    assert {"auroc_pleural_effusion", "auroc_mean", "prompt_retrieval_top1"} <= judged
    assert {f"{name}_real" for name in judged} <= metrics.keys()
    assert metrics["auroc_mean_real"]["value"] > metrics["auroc_mean"]["value"]  # one step makes no findings
    assert "sampling" in metrics["auroc_mean"]["settings"]
    both = {f"{kind}_{name}" for kind in ("fid", "kid") for name in ("classifier", "efficientnet_lite0")}
    assert both | {"nearest_training_cosine_classifier"} <= metrics.keys()  # the first one finds the copies
    assert "nearest_training_cosine_efficientnet_lite0" not in metrics
    assert not any("stage=classifier" in why for why in metrics["run"]["not_measured"].values())
    vae = f"classifier={only(outputs, 'vae/*')}/bundle"
    error = command(*ldm, "name=refused", vae, code=2).stderr
    assert error.startswith("error: ")
    assert "kind 'vae'; needed is format 1, kind 'classifier'" in error
    assert not (outputs / "evaluation" / "refused").exists()
