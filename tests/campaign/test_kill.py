"""A run that is killed at any moment and started again by the same command ends with the same weights, bit for bit."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxr_ldm import artifacts

pytestmark = pytest.mark.campaign  # two kills of each command, at random moments, are in cli/test_kills.py
ROOT = Path(__file__).resolve().parents[2]
COMMON = ["data.reader.n=160", "data.size=32", "vae=tiny", "denoiser=tiny", "logger=csv"]
VAE = [
    *COMMON,
    "training.vae.images=64",
    "training.vae.batch_size=8",
    "training.vae.workers=1",
    "training.vae.augment.enabled=true",
]
# 24 optimiser steps of 2 batches; a checkpoint after every 3, the text encoder's top layer is freed at step 12
LDM = [
    *COMMON,
    "text_encoder=minilm",
    "text_encoder.unfreeze.layers=1",
    "text_encoder.unfreeze.at_step=12",
    "text_encoder.length=24",
    "training.ldm.images=384",
    "training.ldm.batch_size=8",
    "training.ldm.accumulate=2",
    "training.ldm.checkpoint_every=48",
    "training.ldm.validate_every=192",
    "training.ldm.warmup_steps=4",
    "training.ldm.workers=1",
    "attributes=patient",
]


@pytest.fixture(scope="module")
def undisturbed(command, tmp_path_factory):
    """The folder of an autoencoder that nobody killed."""
    folder = tmp_path_factory.mktemp("outputs")
    command("train.py", "stage=vae", *VAE, "name=undisturbed", f"paths.outputs={folder}")
    return folder


@pytest.fixture(scope="module")
def with_model(undisturbed, command):
    """The same folder, with a model beside it that nobody killed either."""
    command("train.py", *ldm(undisturbed, "undisturbed"), f"paths.outputs={undisturbed}")
    return undisturbed


def ldm(outputs: Path, name: str) -> list[str]:
    """The arguments of one run, with its autoencoder by name: other tests put further ones beside it."""
    return ["stage=ldm", *LDM, f"vae_bundle={outputs}/vae/undisturbed/bundle", f"name={name}"]


def killed_at(
    outputs: Path, arguments: list[str], run: Path, stretches: int, wait: float, gently: bool = False
) -> tuple[int, str]:
    """Start a run and end it `wait` seconds after its checkpoint number `stretches`; its exit code and output.

    Number 0 is the moment at which it claims its folder. SIGKILL takes its workers along; `gently`, SIGTERM goes to the
    main process alone, as a queue's does.
    """
    log = outputs / f"{run.name}.log"  # a pipe that nobody reads would stop the run when full
    with open(log, "w") as printed:
        process = subprocess.Popen(
            [sys.executable, "train.py", *arguments, f"paths.outputs={outputs}"],
            cwd=ROOT,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    checkpoint, written, seen = run / "checkpoints" / "last.ckpt", 0, 0
    deadline = time.monotonic() + 240
    while not (run / "run.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    while written < stretches and process.poll() is None:
        assert time.monotonic() < deadline
        now = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        written, seen = written + (now != seen), now
        time.sleep(0.002)
    time.sleep(wait)
    assert process.poll() is None, "the run ended before it could be killed"
    if gently:
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait(timeout=120), log.read_text()


@pytest.mark.parametrize("stretches", [2, 5], ids=["before unfreezing", "after unfreezing"])
def test_killed_and_started_again_ends_with_the_same_weights(with_model, command, stretches):
    chance = random.Random(stretches)  # the step at which it dies is anywhere between two checkpoints
    name = f"killed{stretches}"
    run = with_model / "ldm" / name
    wait = chance.uniform(0.0, 0.25)
    killed_at(with_model, ldm(with_model, name), run, stretches, wait)
    assert not (run / "bundle").exists()
    command("train.py", *ldm(with_model, name), f"paths.outputs={with_model}")
    for expected in (with_model / "ldm" / "undisturbed" / "bundle").glob("*.safetensors"):
        assert (run / "bundle" / expected.name).read_bytes() == expected.read_bytes(), expected.name
    assert (run / "samples" / "training.gif").is_file()


@pytest.mark.parametrize("gently", [False, True], ids=["killed", "terminated"])
def test_an_autoencoder_that_was_stopped_ends_with_the_same_weights(undisturbed, command, gently):
    """Exit code 0 would tell a queue that a terminated run succeeded; 75 says that it is to be started again."""
    name = "terminated" if gently else "killed"
    run = undisturbed / "vae" / name
    more = ["training.vae.checkpoint_every=16", "training.vae.validate_every=32"]
    arguments = ["stage=vae", *VAE, *more, f"name={name}"]
    code, output = killed_at(undisturbed, arguments, run, 1, 0.05, gently)
    if gently:
        assert code == 75, output
        assert "stopped by SIGTERM at step" in output
        assert "Traceback" not in output
    command("train.py", *arguments, f"paths.outputs={undisturbed}")
    expected = (undisturbed / "vae" / "undisturbed" / "bundle" / "autoencoder.safetensors").read_bytes()
    assert (run / "bundle" / "autoencoder.safetensors").read_bytes() == expected


def test_killed_when_its_bundle_stood_and_the_run_was_not_marked_complete(with_model, command, tmp_path):
    """One of 240 random kills fell there, and the same command refused to go on."""
    outputs = shutil.copytree(with_model, tmp_path / "outputs", symlinks=True)
    run = outputs / "ldm" / "undisturbed"
    record = artifacts.read_record(run)
    facts = {name: record[name] for name in ("data", "prepared")}
    artifacts.write_record(run, record["settings"], complete=False, **facts)
    shutil.copytree(run / "bundle", run / ".bundle.building.partial")  # as far as the next one came
    command("train.py", *ldm(outputs, "undisturbed"), f"paths.outputs={outputs}")
    assert artifacts.read_record(run)["complete"]
    expected = with_model / "ldm" / "undisturbed" / "bundle"
    assert sorted(path.name for path in (run / "bundle").iterdir()) == sorted(path.name for path in expected.iterdir())
    assert (run / "bundle" / "SHA256SUMS").read_bytes() == (expected / "SHA256SUMS").read_bytes()
    assert not list(run.glob(".*.partial"))
