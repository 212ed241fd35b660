"""What passes the declaration of the settings runs, or is refused by its key: a real run for each."""

import json
import subprocess
import sys

import pytest
from hydra import initialize_config_dir
from PIL import Image

from cxr_ldm.assets import CONF
from cxr_ldm.commands import checking
from cxr_ldm.errors import UserError
from tests.conftest import ROOT
from tests.leaves import COMMANDS, trials

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(7200)]
DATA = ["data.reader.n=60", "data.size=32", "logger=csv"]
FEW = ["batch_size=8", "images=8", "validate_every=8", "checkpoint_every=8", "warmup_steps=1"]
TRAINED = [f"training.{stage}.{word}" for stage in ("vae", "ldm", "classifier", "upscaler") for word in FEW]
TRAINED += ["upscaler=tiny", "training.upscaler.side=16"]
TRAINED += ["vae=tiny", "denoiser=tiny", "classifier_network=tiny", "classifier_network.min_images=2"]
MEASURED = ["metrics.n=4", "metrics.adherence_n=1", "metrics.cost_steps=[1]", "metrics.floor_repeats=2"]
MEASURED += ["sampler.steps=1", "metrics.extraction_prompts=1", "metrics.extraction_samples=2", "metrics.neighbours=1"]
MEASURED += ["metrics.curves.n=4", "metrics.curves.guidance=[1.5]", "metrics.curves.steps=[1]"]
SIMULATED = ["patients=[[20,20]]", "n=[20]", "planted=[0.5]", "innocent=2", "guilty=2", "divisions=9"]
# what makes a command small, and its script; download would ask the network
RUNS: dict[str, tuple[list[str], list[str]]] = {
    "train": (["train.py", "text_encoder=minilm_unfrozen"], [*DATA, *TRAINED]),
    "evaluate": (["evaluate.py", "stage=ldm", "metrics=full"], [*DATA, *MEASURED, "split=test"]),
    "sample": (
        ["sample.py", "prompt=Normal.", "enhance=balanced", "sampler=ddim"],
        [*DATA[:2], "n=1", "sampler.steps=1"],
    ),
    "export": (["-m", "cxr_ldm.export"], DATA[:2]),
    "prepare": (["-m", "cxr_ldm.prepare"], ["data=table", "data.size=16"]),
    "benchmark": (["-m", "cxr_ldm.benchmark", "suite=copies"], [f"suite.run.{word}" for word in SIMULATED]),
    "phantom": (["-m", "cxr_ldm.data.phantom"], ["n=1", "size=16"]),
    "pack": (["-m", "cxr_ldm.data.pack"], []),
    "card": (["-m", "cxr_ldm", "card"], []),
    "quiz": (["-m", "cxr_ldm", "quiz", "teach=true"], ["n=2", "phantom_size=32"]),
}
WRITTEN = ("paths.outputs", "out", "page")  # places below the working directory, so that these run in one of their own


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    (folder / "raw").mkdir()
    for number in range(12):
        Image.linear_gradient("L").rotate(number).save(folder / "raw" / f"{number}.png")
    rows = [f"{number}.png,Normal.,{number}" for number in range(12)]
    (folder / "raw" / "table.csv").write_text("\n".join(["file,note,person", *rows]))
    for stage in ("vae", "ldm", "classifier"):
        command("train.py", f"stage={stage}", *RUNS["train"][1], f"name={stage}", f"paths.outputs={folder}")
    return folder


def passing(name):
    """Keys and values that the declaration lets through."""
    declared, _ = COMMANDS[name]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for key, value, *values in trials(name):
            try:
                checking.check_container(*values, declared)
            except UserError:
                continue
            yield key, value


def line(name, key, value, outputs, number):
    """The arguments of one run."""
    script, small = RUNS[name]
    words = [*script, *small]
    if name == "train":
        part = key.split(".")[1] if key.startswith("training.") else key.split(".")[0]
        stages = {"classifier_network": "classifier"} | {name: name for name in ("vae", "classifier", "upscaler")}
        stage = stages.get(part, "ldm")
        words += [f"stage={stage}"] + (["vae=sharp", *small] if stage == "vae" else [])
        words += [f"vae_bundle={outputs}/vae/vae/bundle"] if stage == "ldm" else []
    if name in ("train", "evaluate", "sample", "prepare", "export", "benchmark", "card", "quiz"):
        words += [f"paths.outputs={outputs}"]
    if name in ("train", "evaluate", "sample", "quiz"):
        words += [f"name=trial{number}"]
    if name == "prepare":
        words += [f"data.root={outputs}/raw", "data.reader.csv=table.csv", "data.reader.image=file"]
        words += ["data.reader.text=note", "data.reader.patient=person", f"name=trial{number}"]
    if name in ("export", "phantom"):
        words += [f"out={outputs}/{name}{number}"]
    if name in ("evaluate", "sample", "export", "card"):
        words += [f"bundle={outputs}/ldm/ldm/bundle"]
    return [*words, f"{key}={value}"]


@pytest.mark.parametrize("name", RUNS)
def test_what_passes_runs_or_is_refused_by_its_key(name, outputs, warm, tmp_path):
    bad, codes = [], {0: 0, 2: 0}
    for number, (key, value) in enumerate(passing(name)):
        words = line(name, key, value, outputs, number)
        if key in WRITTEN:
            script = [str(ROOT / words[0])] if words[0].endswith(".py") else words[:2]
            words = [sys.executable, *script, *words[len(script) :]]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        else:
            done = warm.run(words)
        said = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
        codes[done.returncode] = codes.get(done.returncode, 0) + 1
        named = len(said) == 1 and key.split(".")[-1] in said[0]
        if done.returncode not in (0, 2) or "Traceback" in done.stderr or (done.returncode == 2 and not named):
            bad.append((key, value, done.returncode, (said or done.stderr.splitlines()[-1:])))
            print(bad[-1], flush=True)
    print(json.dumps(codes))
    assert not bad, "\n".join(map(str, bad))
