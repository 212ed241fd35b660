"""The finding classifier at a tiny size, through the commands that a user types."""

import csv
import json

import pytest

from cxr_ldm.data.findings.reading import read_findings

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
SMALL += ["metrics.cost_steps=[]", "metrics.extraction_prompts=0"]


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


@pytest.mark.campaign
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
    assert "parameters" in metrics
    assert not [name for name in metrics if name.startswith(("latency", "images_per", "peak_memory", "extract"))]
    both = {f"{kind}_{name}" for kind in ("fid", "kid") for name in ("classifier", "efficientnet_lite0")}
    assert both | {"nearest_training_cosine_classifier"} <= metrics.keys()  # the first one finds the copies
    assert "nearest_training_cosine_efficientnet_lite0" not in metrics
    assert not any("stage=classifier" in why for why in metrics["run"]["not_measured"].values())
    vae = f"classifier={only(outputs, 'vae/*')}/bundle"
    error = command(*ldm, "name=refused", vae, code=2).stderr
    assert error.startswith("error: ")
    assert "of kind 'vae'; needed is kind 'classifier'" in error
    assert not (outputs / "evaluation" / "refused").exists()


def test_a_page_begins_with_its_headline_and_holds_what_metrics_page_promises(outputs, command):
    where = f"paths.outputs={outputs}"
    command("train.py", "stage=vae", *LDM, *DATA, where)  # complete already, where the test above ran
    command("train.py", "stage=ldm", *LDM, *DATA, where)
    few = ["metrics.kid_n=80", "metrics.own_prompts_n=6", "metrics.synthetic_n=120", "metrics.folds=2"]
    few += ["metrics.fitted.epochs=1", "metrics.fitted.size=32", "metrics.targets.kid=0.03", "metrics.cost_steps=[]"]
    arguments = ["evaluate.py", "stage=ldm", "metrics=page", "seed=3", "name=page", f"page={outputs}/page.md"]
    command(*arguments, *SMALL, *few, *DATA, where)
    folder = outputs / "evaluation" / "page"
    metrics = json.loads((folder / "metrics.json").read_text())
    x = "efficientnet_lite0"
    assert (metrics[f"kid_{x}"]["n"], metrics[f"fid_{x}"]["n"]) == (80, metrics[f"fid_{x}_ratio"]["n"])
    of_test = metrics["auroc_mean"]["n"]
    parts = f"{of_test} test images, then of {80 - of_test} training images"
    assert metrics[f"kid_{x}"]["settings"]["compared"].endswith(parts)
    assert metrics["pairwise_ssim"]["settings"]["seed"] == 3
    promised = {f"{kind}_{x}_reference_{name}" for kind in ("kid", "coverage") for name in ("copier", "empty")}
    promised |= {f"fid_{x}_ratio_reference_reconstruction", "auroc_mean_reference_shuffled", "sharpness_ratio"}
    promised |= {"auroc_own_mean", "side_own", "auroc_mean_real_crossfitted", "pairwise_ssim_within_prompt_difference"}
    promised |= {f"auroc_trained_{name}" for name in ("on_synthetic", "on_real", "ratio")}
    assert promised <= metrics.keys()
    assert metrics["auroc_mean_real_crossfitted"]["n"] == 500  # all real images
    assert metrics["run"]["targets"] == {"kid": 0.03}
    assert (folder / "own.png").is_file()
    with open(folder / "shown.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if "own" in row["image"]]
    assert own
    assert len({row["image"] for row in rows if "text" in row["image"]}) == 16  # those of the grid
    for row in own:
        assert (folder / row["image"]).is_file()
        assert 0 <= float(row["judge"]) <= float(row["judge of likeliest"]) <= 1
        asked = {each["name"] for each in read_findings(row["prompt"]) if each["certainty"] == "present"}
        assert row["finding"].removesuffix(" left").removesuffix(" right") in (asked or {"no finding"})
    page = (outputs / "page.md").read_text()
    assert page.index("## In short") < page.index("MISSED") < page.index("## References")
    assert list((outputs / "cache").glob("generated-*/images.npy"))
    error = command(*arguments, *SMALL, *few[:-2], "metrics.targets.kid=low", *DATA, where, code=2).stderr
    assert "metrics.targets.kid=low must be a number" in error
