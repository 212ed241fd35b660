"""The whole path at a tiny size, through the commands that a user types."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from cxr_ldm import evaluate
from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import load_bundle, save_bundle
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.choice import choose, curve_of
from cxr_ldm.metrics.results import read_metrics

TINY = [
    "data.reader.n=160",
    "data.size=32",
    "vae=tiny",
    "denoiser=tiny",
    "text_encoder.layers=1",
    "text_encoder.width=32",
    "logger=csv",
]
LENGTHS = [
    "training.vae.images=256",
    "training.vae.validate_every=128",
    "training.ldm.images=256",
    "training.ldm.validate_every=128",
    "training.ldm.batch_size=32",
]
DATA = TINY[:2]
PROMPT = "Normal chest X-ray, clear lungs (no effusion), 'q' [b] {c} ${d}=\"e\"."


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory):
    """prepare -> vae -> ldm, once; no test writes here."""
    folder = tmp_path_factory.mktemp("trained")
    where = f"paths.outputs={folder}"
    command("-m", "cxr_ldm.prepare", *DATA, where)
    command("train.py", "stage=vae", *TINY[:-1], *LENGTHS, where)  # with the default logger, W&B offline
    command("train.py", "stage=ldm", *TINY, *LENGTHS, where)
    return folder


@pytest.fixture
def outputs(trained, tmp_path):
    """What was trained, for one test alone."""
    return shutil.copytree(trained, tmp_path / "outputs", symlinks=True)


@pytest.fixture(scope="module")
def patient_model(trained, command, tmp_path_factory):
    """A model of text, view, age and sex in half precision: its bundle, and what its training printed."""
    outputs = shutil.copytree(trained, tmp_path_factory.mktemp("patient") / "outputs", symlinks=True)
    half = ["trainer.precision=16", "attributes=patient", "name=patient"]
    short = [*LENGTHS, "training.ldm.images=64", "training.ldm.validate_every=64"]
    printed = command("train.py", "stage=ldm", *half, *TINY, *short, f"paths.outputs={outputs}").stdout
    return outputs / "ldm" / "patient" / "bundle", printed


def only(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


def test_a_run_leaves_what_the_contract_says(outputs):
    for stage in ("vae", "ldm"):
        run = only(outputs, f"{stage}/*")
        for name in ("bundle/config.json", "bundle/SHA256SUMS", "checkpoints/last.ckpt", ".hydra/config.yaml"):
            assert (run / name).is_file()
        assert len(list((run / "samples").glob("*.png"))) == 2
        assert json.loads((run / "run.json").read_text())["complete"]
        assert "run" in json.loads((run / "metrics.json").read_text())
    assert not list(outputs.rglob("*.partial"))
    assert list(outputs.glob("vae/*/wandb/offline-run-*"))


def test_half_precision_on_a_cpu_is_bf16_and_said(patient_model):
    assert "bf16" in patient_model[1]


def test_sample_takes_view_age_and_sex(patient_model, outputs, command):
    here = [f"bundle={patient_model[0]}", "n=1", "sampler.steps=2", f"paths.outputs={outputs}"]
    command("sample.py", "prompt=Known.", "patient.view=AP", "patient.age=70", "patient.sex=female", *here)
    facts = json.loads((only(outputs, "samples/Known*") / "0000.json").read_text())
    assert facts["patient"] == {"view": "AP", "age": 70, "sex": "female"}
    assert (
        "patient.sex=x is none of female, male"
        in command("sample.py", "prompt=x", "patient.sex=x", *here, code=2).stderr
    )


def test_what_cannot_work_together_is_refused_before_anything_is_written(outputs, command):
    before = sorted(outputs.glob("ldm/*"))
    arguments = ["stage=ldm", "diffusion=eps_linear", "diffusion.schedule.zero_terminal=true", *TINY]
    error = command("train.py", *arguments, f"paths.outputs={outputs}", code=2).stderr
    assert "Epsilon cannot be read where the schedule ends in pure noise" in error
    assert sorted(outputs.glob("ldm/*")) == before


@pytest.mark.campaign
def test_a_comparison_is_trained_measured_and_collected(outputs, command):
    """The ablation in miniature: two arms, each evaluated, one page."""
    where = f"paths.outputs={outputs}"
    small = ["metrics.n=8", "metrics.adherence_n=2", "sampler.steps=2", *LENGTHS[2:], "training.ldm.images=64"]
    arguments = ["stage=ldm", "experiment=ablation", "arm=baseline,min_snr", "evaluate=true"]
    command("train.py", "-m", *arguments, *small, *TINY, where)
    command("-m", "cxr_ldm.benchmark", "suite=ablation", f"page={outputs}/ablation.md", where)
    page = (outputs / "ablation.md").read_text()
    assert "| baseline | 0 |" in page
    assert "| weighting min_snr | 0 |" in page
    assert len(list(outputs.glob("evaluation/ldm-val-*ablation*/report.html"))) == 2  # arms are chosen on validation


def test_a_slice_ends_with_a_code_of_its_own_and_the_next_goes_on(outputs, command):
    arguments = ["train.py", "stage=ldm", "name=sliced", *TINY, *LENGTHS, f"paths.outputs={outputs}"]
    first = command(*arguments, "trainer.max_minutes=0.0001", code=75).stdout
    assert "is unfinished" in first
    assert not (outputs / "ldm/sliced/bundle").exists()
    assert "resuming" in command(*arguments).stdout
    assert (outputs / "ldm/sliced/bundle").exists()


def test_a_bundle_is_exported_at_half_the_size(patient_model, command, tmp_path):
    command("-m", "cxr_ldm.export", f"out={tmp_path}/half", f"bundle={patient_model[0]}")
    sizes = [(place / "network.safetensors").stat().st_size for place in (patient_model[0], tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]


def test_the_second_run_reuses_the_first(outputs, command):
    printed = command("train.py", "stage=vae", *TINY, *LENGTHS, f"paths.outputs={outputs}").stdout
    assert "complete already" in printed


@pytest.mark.campaign
def test_a_multirun_makes_a_run_for_each(outputs, command):
    lengths = [*LENGTHS[:2], "training.ldm.images=32", "training.ldm.validate_every=32", "training.ldm.batch_size=32"]
    tiny = [option for option in TINY if not option.startswith("denoiser")]
    before = set(outputs.glob("ldm/*/bundle"))
    where = f"paths.outputs={outputs}"
    printed = command("train.py", "-m", "stage=ldm", "denoiser=tiny,small", *tiny, *lengths, where).stdout
    made = sorted(path.parent.name for path in set(outputs.glob("ldm/*/bundle")) - before)
    assert [name.split("-")[2] for name in made] == ["small", "tiny"]
    table = printed[printed.rindex("\nrun  ") :]
    for word in ("denoiser.channels", "val_loss", *(name[:20] for name in made)):
        assert word in re.sub(r"\s", "", table)
    assert [line.split(": ")[1].split("-")[2] for line in table.splitlines()[-2:]] == ["tiny", "small"]
    before = {path.parent.name for path in before}
    (whole,) = before  # a run of a sweep is not taken unasked where there is another
    assert f"ldm/{whole}/bundle" in command("sample.py", "prompt=x", "n=1", "sampler.steps=1", where).stdout


@pytest.mark.campaign
def test_a_student_is_made_of_the_model_and_sampled_in_four_steps(outputs, command, tmp_path):
    teacher, where = only(outputs, "ldm/*/bundle"), f"paths.outputs={outputs}"
    lengths = ["training.distill.images=64", "training.distill.validate_every=64", "training.distill.batch_size=32"]
    printed = command("train.py", "stage=distill", "name=student", *DATA, "logger=csv", *lengths, where).stdout
    assert f"using {teacher}" in printed
    bundle = load_bundle(outputs / "ldm" / "student" / "bundle", "ldm")
    assert bundle.info["teacher"] == load_bundle(teacher, "ldm").sha256
    assert bundle.spec["network"]["part"] == "StudentUNet"
    assert "A student: sampled in 4 steps" in (bundle.folder / "README.md").read_text()
    assert "student/bundle" in command("sample.py", "prompt=x", "n=1", "name=own", where).stdout
    assert "student/bundle" in command("sample.py", "prompt=x", "n=1", "name=two", "sampler.steps=2", where).stdout
    narrow = ["sampler=ddim", "sampler.steps=9", "precision=bf16", "compile=eager"]
    command("sample.py", "prompt=x", "n=1", "name=many", *narrow, where)
    for name, steps, sampler in (("own", 4, "flow_map"), ("two", 2, "flow_map"), ("many", 9, "ddim")):
        facts = json.loads((outputs / "samples" / name / "0000.json").read_text())
        assert (facts["steps"], facts["sampler"]) == (steps, sampler)
        assert facts.get("precision") == ("bf16" if name == "many" else None)
    wide = command("sample.py", "prompt=x", "n=1", "guidance.scale=9", where, code=2).stderr
    assert "guidance.scale=9: this student learnt the scales from 1 to 4" in wide
    again = command("train.py", "stage=distill", "teacher=student", "name=x", *DATA, "logger=csv", where, code=2).stderr
    assert "a student is made of a UNet, and this is StudentUNet" in again
    both = f"compare=[student,{teacher}]"
    few = ["metrics.n=8", "metrics.adherence_n=4", "metrics.floor_repeats=2", "logger=csv", "name=compared", where]
    command("evaluate.py", "stage=distill", both, *few, *DATA)
    run = json.loads((outputs / "evaluation" / "compared" / "metrics.json").read_text())["run"]
    assert [each["steps"] for each in run["sampling"]] == [4, 20]


OTHER = [*DATA, "data.reader.seed=5", "logger=csv"]  # phantoms of another seed


def short(stage, images=32):
    """A training of one validation, or two."""
    return [f"training.{stage}.images={images}", f"training.{stage}.validate_every=32", "trainer.log_every=1"]


def tuned(command, outputs, stage, source):
    """The bundle of a run that starts from `source`, which says so and has moved a short way from it."""
    command(
        "train.py", f"stage={stage}", f"init={source}", "name=tuned", *OTHER, *short(stage), f"paths.outputs={outputs}"
    )
    bundle = load_bundle(outputs / stage / "tuned" / "bundle", stage)
    known = load_bundle(source, "ldm" if stage != "classifier" else stage)
    assert bundle.info["init"] == known.sha256
    assert "started from a model that was trained on" in (bundle.folder / "README.md").read_text()
    name = {"vae": "autoencoder", "ldm": "network", "classifier": "classifier"}[stage]
    changes = [
        (value - known.parts[name].state_dict()[key]).abs().max().item()
        for key, value in bundle.parts[name].state_dict().items()
    ]
    assert 0 < max(changes) < 0.1


def test_a_model_is_fine_tuned_on_other_images_and_says_what_it_comes_from(outputs, command):
    """By all weights or by low-rank changes."""
    ancestor, where = only(outputs, "ldm/*/bundle"), f"paths.outputs={outputs}"
    tuned(command, outputs, "ldm", ancestor)
    lora = ["train.py", "stage=ldm", f"init={ancestor}", "tune=lora", "name=lora", *OTHER, *short("ldm"), where]
    command(*lora)
    found, known = (load_bundle(folder, "ldm") for folder in (outputs / "ldm" / "lora" / "bundle", ancestor))
    moved = {
        key.rsplit(".", 2)[-2]
        for key, value in found.parts["network"].state_dict().items()
        if not torch.equal(value, known.parts["network"].state_dict()[key])
    }
    assert moved == {"to_q", "to_k", "to_v", "0"}
    assert "complete already" in command(*lora).stdout
    for words, sentence in (
        (["stage=ldm", f"init={ancestor}", "tune=lora", "training.ldm.inpaint=true"], "needs tune=full"),
        (["stage=ldm", f"init={ancestor}", "denoiser=tiny"], "brings its own denoiser; leave denoiser= out"),
        (["stage=ldm", "tune=lora"], "name that by init=BUNDLE"),
        (["stage=vae", f"init={ancestor}", "tune=lora"], "tune=lora changes a denoiser"),
        (["stage=distill", f"init={ancestor}"], "init= is for stage=vae, ldm, classifier"),
        (["stage=ldm", f"init={ancestor}", "data.size=16"], "is of images of 32 pixels"),
    ):
        assert sentence in command("train.py", *DATA, *words, "logger=csv", where, code=2).stderr


@pytest.mark.campaign
def test_a_vae_and_a_classifier_learn_on_likewise(outputs, command):
    tuned(command, outputs, "vae", only(outputs, "ldm/*/bundle"))
    judge = ["stage=classifier", "name=judge", *DATA, "logger=csv", f"paths.outputs={outputs}"]
    command("train.py", *judge, *short("classifier"))
    tuned(command, outputs, "classifier", outputs / "classifier" / "judge" / "bundle")


@pytest.mark.campaign
def test_a_model_learns_on_to_fill_holes(outputs, command):
    ancestor, where = only(outputs, "ldm/*/bundle"), f"paths.outputs={outputs}"
    filling = ["stage=ldm", f"init={ancestor}", "training.ldm.inpaint=true", "name=filling", *OTHER, where]
    command("train.py", *filling, *short("ldm", 64))
    learnt = load_bundle(outputs / "ldm" / "filling" / "bundle", "ldm")
    assert learnt.spec["network"]["part"] == "InpaintUNet"
    assert learnt.parts["network"].conv_known.weight.abs().max() > 0
    picture = outputs / "picture.png"
    Image.fromarray(np.arange(32 * 32, dtype=np.uint16).astype(np.uint8).reshape(32, 32)).save(picture)
    edit = ["sample.py", f"image={picture}", "prompt=Nodule.", "region=heart", "n=1", "sampler.steps=2"]
    edit.append("resolution=64")
    assert "by a model that learnt to fill holes" in command(*edit, f"bundle={learnt.folder}", where).stdout


def test_an_export_takes_the_newest_run(outputs, command):
    bundle = only(outputs, "ldm/*/bundle")
    printed = command("-m", "cxr_ldm.export", f"out={outputs}/half", f"paths.outputs={outputs}").stdout
    assert printed.startswith(f"using {bundle} (the newest complete run of stage ldm on phantom-32")


def test_a_vae_that_was_asked_for_must_exist(outputs, command):
    arguments = ["train.py", "stage=ldm", "vae=deck", *DATA, f"paths.outputs={outputs}"]
    assert "with other vae settings" in command(*arguments, code=2).stderr


def test_a_name_with_other_settings_is_not_overwritten(outputs, command):
    name = only(outputs, "vae/*").name
    where = f"paths.outputs={outputs}"
    error = command("train.py", "stage=vae", f"name={name}", "seed=1", *TINY, *LENGTHS, where, code=2).stderr
    assert re.fullmatch(r"error: .*made by other settings: seed \(0 there, 1 here\).*\n", error)


def test_sample_takes_the_prompt_literally(outputs, command):
    where = f"paths.outputs={outputs}"
    printed = command("sample.py", f"prompt={PROMPT}", "n=2", "seed=3", "sampler.steps=2", *DATA, where).stdout
    assert "grid.png" in printed
    folder = only(outputs, "samples/Normal*")
    facts = json.loads((folder / "0001.json").read_text())
    assert facts["prompt"] == PROMPT
    assert facts["seed"] == 4
    assert facts["synthetic"] is True
    with Image.open(folder / "0001.png") as image:
        assert json.loads(image.text["cxr_ldm"]) == facts
        assert image.size == (32, 32)
    assert (
        "complete already"
        in command("sample.py", f"prompt={PROMPT}", "n=2", "seed=3", "sampler.steps=2", *DATA, where).stdout
    )


def test_sample_records_its_sampler_and_all_of_its_guidance(outputs, command):
    options = ["sampler=heun", "sampler.steps=2", "guidance.interval=[0.2,0.8]", "guidance.rescale=0.5"]
    command("sample.py", "prompt=Guided.", "n=1", *options, *DATA, f"paths.outputs={outputs}")
    facts = json.loads((only(outputs, "samples/Guided*") / "0000.json").read_text())
    assert (facts["sampler"], facts["steps"], facts["guidance"]) == ("heun", 2, 1.0)
    assert (facts["guidance_interval"], facts["guidance_rescale"]) == ([0.2, 0.8], 0.5)


def test_a_damaged_bundle_is_refused_by_both_commands(outputs, command, tmp_path):
    bundle = shutil.copytree(only(outputs, "ldm/*/bundle"), tmp_path / "bundle")
    with open(bundle / "network.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    for arguments in (["sample.py", "prompt=x", *DATA], ["evaluate.py", "stage=ldm", "logger=csv", *DATA]):
        result = command(*arguments, f"bundle={bundle}", f"paths.outputs={tmp_path}/out", code=2)
        assert result.stderr.startswith("error: ")
        assert "does not have the hash" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["vae", "ldm"])
def test_evaluate_writes_metrics_by_the_contract(stage, outputs, command):
    where = f"paths.outputs={outputs}"
    small = ["metrics.n=8", "metrics.adherence_n=2", "sampler.steps=2", "logger=csv", "metrics.cost_steps=[1]"]
    if stage == "ldm":
        small += ["metrics=full", "metrics.curves.n=6", "metrics.curves.guidance=[1,3]", "metrics.curves.steps=[1,2]"]
    page = f"page={outputs}/{stage}.md"
    printed = command("evaluate.py", f"stage={stage}", f"name={stage}", page, *small, where).stdout
    # nobody names a model or a collection
    assert printed.startswith(f"using {only(outputs, f'{stage}/*/bundle')} (the newest complete run of stage {stage}")
    assert f"measures on {only(outputs, 'prepared/*')}, which it was trained on" in printed
    metrics = json.loads((outputs / "evaluation" / stage / "metrics.json").read_text())
    expected = {
        "vae": {"ssim", "psnr", "fid_efficientnet_lite0"},
        "ldm": {"fid_efficientnet_lite0", "kid_efficientnet_lite0", "adherence_finding", "adherence_side"},
    }
    assert expected[stage] <= metrics.keys()
    for name, entry in metrics.items():
        if name != "run":
            assert {"value", "ci95", "n", "higher_is_better", "settings"} <= entry.keys()
    if stage == "ldm":
        sampling = metrics["fid_efficientnet_lite0"]["settings"]["sampling"]
        assert sampling["guidance"] == {"scale": 1.0, "interval": [0.0, 1.0], "rescale": 0.0}
        missing = metrics["run"]["not_measured"]
        assert any("python train.py stage=classifier" in why for why in missing.values())  # none was trained here
        points = {"kid_efficientnet_lite0_at_guidance_3", "kid_efficientnet_lite0_at_steps_1"}
        assert points | {"latency_at_steps_1", "peak_memory_mb", "parameters"} <= metrics.keys()
        pictures = {path.stem for path in (outputs / "evaluation" / stage).glob("*.png")}
        assert pictures == {"grid", "adherence", "nearest", "best", "worst", "curves"}
        report = (outputs / "evaluation" / stage / "report.html").read_text()
        assert (report.count("data:image/png"), report.count("data:image/svg+xml")) == (6, 2)
    assert len(metrics["run"]["bundle_sha256"]) == 64
    folder = outputs / "evaluation" / stage
    assert (folder / "csv" / "metrics.csv").is_file()  # of logger=csv; tables and pictures are for W&B alone
    assert not [*folder.rglob("*wandb*"), *folder.rglob("*.table.json")]
    assert (outputs / "evaluation" / stage / "report.html").stat().st_size > 1000
    assert (outputs / f"{stage}.md").is_file()
    if stage == "vae":  # Python reads the same figures
        settings = {"metrics.n": 8, "metrics.adherence_n": 2, "sampler.steps": 2, "metrics.cost_steps": [1]}
        assert evaluate(settings | {"paths.outputs": outputs}, stage=stage, name=stage, logger="csv") == metrics
        with pytest.raises(UserError, match="made by other settings"):
            evaluate({"paths.outputs": outputs}, stage=stage, name=stage, logger="csv")


def test_a_reconstruction_is_measured_against_its_own_image(command, tmp_path):
    """By hand on every test image; with the reconstructions out of order the figure would be that of strangers.

    The autoencoder is that of the package's model: one that is trained here would draw them all alike.
    """
    where, options = f"paths.outputs={tmp_path}", ["data.reader.n=160", "data.size=64"]
    command("-m", "cxr_ldm.prepare", *options, where)
    prepared, known = Prepared(only(tmp_path, "prepared/*")), load_bundle(DEMO, "ldm")
    data = {"name": "phantoms", "kind": "phantom", "fingerprint": prepared.fingerprint}
    spec, vae = {"autoencoder": known.spec["autoencoder"]}, known.parts["autoencoder"]
    save_bundle(tmp_path / "bundle", "vae", spec, {"autoencoder": vae}, {"run": "x", "size": 64, "data": data})
    few = ["metrics.n=1000", "metrics.floor_repeats=2", "metrics.cost_steps=[]"]
    more = [*few, "name=pairs", "logger=csv", f"bundle={tmp_path}/bundle"]
    command("evaluate.py", "stage=vae", *more, *options, where)
    measured = json.loads((tmp_path / "evaluation/pairs/metrics.json").read_text())["ssim"]
    rows = prepared.rows("test")
    original = prepared.pixels(rows)
    with torch.inference_mode():
        rebuilt = vae.decode(vae.encode(original).chunk(2, dim=1)[0]).clamp(-1, 1)

    def mean_ssim(first, second):
        kind = {"data_range": 2.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        pairs = zip(first[:, 0].numpy(), second[:, 0].numpy(), strict=True)
        return np.mean([structural_similarity(one, other, **kind) for one, other in pairs])

    assert measured["n"] == len(rows)
    assert measured["value"] == pytest.approx(mean_ssim(rebuilt, original), abs=0.01)
    assert abs(measured["value"] - mean_ssim(rebuilt.roll(1, 0), original)) > 0.05


def test_two_bundles_are_compared_in_pairs(patient_model, outputs, command):
    where, plain = f"paths.outputs={outputs}", only(outputs, "ldm/*/bundle")
    small = ["metrics.n=24", "sampler.steps=2", "logger=csv", *DATA, where]
    for name, second in (("same", plain), ("other", patient_model[0])):
        bundles = f"compare=[{plain},{second}]"
        command("evaluate.py", "stage=ldm", bundles, f"name={name}", *small)
    same, other = (json.loads((outputs / f"evaluation/{name}/metrics.json").read_text()) for name in ("same", "other"))
    kid = "kid_efficientnet_lite0_difference"
    assert same[kid]["value"] == 0
    assert same[kid]["settings"]["p_value"] == 1
    assert other[kid]["value"] != 0
    assert len(set(other["run"]["compared"])) == 2
    for what in ("finding", "side"):
        assert same[f"adherence_{what}_texts_difference"]["settings"]["p_value"] == 1
        assert 0 < other[f"adherence_{what}_texts_difference"]["settings"]["p_value"] <= 1
    (vae,) = outputs.glob("vae/*/bundle")
    command("evaluate.py", "stage=vae", f"compare=[{vae},{vae}]", "name=vaes", *small)
    assert json.loads((outputs / "evaluation/vaes/metrics.json").read_text())["ssim_difference"]["value"] == 0
    error = command("evaluate.py", "stage=ldm", f"compare=[{vae}]", *small, code=2).stderr
    assert "must name two bundles" in error


def test_the_guidance_is_chosen_on_validation_and_taken_from_the_bundle(patient_model, outputs, command, tmp_path):
    where, source = f"paths.outputs={outputs}", f"bundle={patient_model[0]}"
    small = ["sampler.steps=2", "logger=csv", *DATA, where]
    curve = ["metrics=guidance", "metrics.curves.n=8", "metrics.curves.guidance=[1,2]", source, *small]
    printed = command("evaluate.py", "stage=ldm", "name=curve", *curve).stdout
    assert "measures the validation split" in printed
    content = read_metrics(outputs / "evaluation" / "curve" / "metrics.json")
    assert content["run"]["split"] == "val"
    assert {"kid_efficientnet_lite0_at_guidance_2", "adherence_finding_texts_at_guidance_1"} <= content.keys()
    assert all("_at_" in name for name in content if name != "run"), "the curve alone"
    export = ["-m", "cxr_ldm.export", source, "form=full", where]
    said = command(*export, f"guidance={outputs}/evaluation/curve", f"out={tmp_path}/chosen").stdout
    entry = json.loads((tmp_path / "chosen" / "config.json").read_text())["info"]["guidance"]
    assert entry["scale"] == choose(curve_of(content)).scale
    assert ("the largest that was measured: measure larger ones" in said) == (entry["scale"] == 2)
    assert (entry["chosen"]["split"], entry["chosen"]["evaluation"]) == ("val", "curve")
    command(*export, "guidance=1.5", f"out={tmp_path}/stated")
    assert "form=full alone would be a copy" in command(*export, f"out={tmp_path}/wrong", code=2).stderr
    assert not (tmp_path / "wrong").exists()

    command("sample.py", "prompt=Own.", "n=1", f"bundle={tmp_path}/stated", *small[:1], where)
    assert json.loads((only(outputs, "samples/Own*") / "0000.json").read_text())["guidance"] == 1.5
    pair = ["stage=ldm", f"compare=[{tmp_path}/stated,{patient_model[0]}]", "metrics.n=8", "name=own", *small]
    assert "guidance scales: 1.5, 1\n" in command("evaluate.py", *pair).stdout
    run = read_metrics(outputs / "evaluation" / "own" / "metrics.json")["run"]
    assert ([rule["scale"] for rule in run["guidance"]], run["split"]) == ([1.5, 1.0], "val")


def test_the_test_split_is_opened_by_evaluate_alone_and_a_second_time_it_is_said(outputs, command):
    where = f"paths.outputs={outputs}"
    look = ["evaluate.py", "stage=vae", "metrics.n=8", "logger=csv", *DATA, where]
    command(*look, "seed=11", "name=first_look")
    printed = command(*look, "seed=12", "name=second_look").stdout
    assert "was opened before for this recipe" in printed
    first, second = (read_metrics(outputs / f"evaluation/{n}_look/metrics.json")["run"] for n in ("first", "second"))
    assert (first["split"], second["split"]) == ("test", "test")
    assert second["opened_before"]["this_recipe"] == first["opened_before"]["this_recipe"] + 1
    assert "first_look" in second["opened_before"]["evaluations"]
    printed = command(*look, "seed=12", "split=val").stdout
    assert "was opened before" not in printed
    assert only(outputs, "evaluation/vae-val-*/metrics.json")
    assert "evaluate.py opens the test split" in command("train.py", "stage=vae", "split=test", where, code=2).stderr
    for stage in ("vae", "ldm"):
        for path in outputs.glob(f"{stage}/*/metrics.json"):
            measured = read_metrics(path)
            assert all(entry["settings"]["split"] == "val" for name, entry in measured.items() if name != "run")
