"""Every command that is killed at random moments and started again ends as if nothing had happened.

Each is killed twice at every run of the tests, and the campaign has the other moments, gentle ones included.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT, SURROUNDINGS

DATA = ["data.reader.n=160", "data.size=32"]
MODEL = [*DATA, "vae=tiny", "denoiser=tiny", "text_encoder.layers=1", "text_encoder.width=32", "logger=csv"]
SHORT = {
    stage: [
        f"training.{stage}.images=192",
        f"training.{stage}.validate_every=96",
        f"training.{stage}.checkpoint_every=32",
    ]
    for stage in ("vae", "ldm", "classifier")
}
COMMANDS = {
    "prepare": ["-m", "cxr_ldm.prepare", *DATA, "workers=2"],
    "vae": ["train.py", "stage=vae", *MODEL, *SHORT["vae"]],
    "ldm": ["train.py", "stage=ldm", *MODEL, *SHORT["ldm"]],
    "classifier": ["train.py", "stage=classifier", *DATA, "logger=csv", *SHORT["classifier"]],
    "evaluate": [
        "evaluate.py",
        "stage=ldm",
        *DATA,
        "name=e",
        "metrics.n=8",
        "metrics.adherence_n=2",
        "logger=csv",
        "sampler.steps=4",
        "metrics.floor_repeats=2",
        "metrics.extraction_prompts=0",
        "metrics.cost_steps=[]",  # what is measured anew each time
    ],
}
# what must be equal to the byte; of metrics.json the values
CONTENT = ("*.safetensors", "images.npy", "manifest.parquet", "moments.npy", "cached.npy", "mask.npy")
KILLS, TERMS = range(30), range(10)
IMPORTS = 3.0  # seconds of libraries, in which nothing can be lost


def started(arguments: list[str], outputs: Path) -> subprocess.Popen:
    """A process of its own, which a signal can be sent to."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    arguments = [sys.executable, *arguments, f"paths.outputs={outputs}"]
    return subprocess.Popen(arguments, cwd=ROOT, env=os.environ | SURROUNDINGS, start_new_session=True, **quiet)


def content(outputs: Path) -> dict[str, str]:
    """Hash of each file that a command makes, by its path."""
    found = {}
    for pattern in CONTENT:
        for path in outputs.rglob(pattern):
            found[str(path.relative_to(outputs))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in outputs.rglob("metrics.json"):
        values = {name: entry["value"] for name, entry in json.loads(path.read_text()).items() if name != "run"}
        found[str(path.relative_to(outputs))] = json.dumps(values, sort_keys=True)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, command):
    """For each command: the outputs that it finds, those that it leaves, and the seconds that it takes."""
    found, before = {}, tmp_path_factory.mktemp("nothing")
    for name, arguments in COMMANDS.items():
        after = tmp_path_factory.mktemp(name) / "outputs"
        shutil.copytree(before, after)
        began = time.monotonic()
        command(*arguments, f"paths.outputs={after}")
        found[name] = before, content(after), time.monotonic() - began
        before = after
    return found


@pytest.mark.parametrize(
    "moments", [(0, 1), *(pytest.param((n,), marks=pytest.mark.campaign) for n in KILLS[2:])], ids=str
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_at_any_moment_finishes_when_started_again(
    undisturbed, tmp_path, command, warm, name, moments
):
    before, expected, seconds = undisturbed[name]
    outputs = tmp_path / "outputs"
    shutil.copytree(before, outputs)
    arguments = [*COMMANDS[name], f"paths.outputs={outputs}"]
    for moment in moments:
        with suppress(subprocess.TimeoutExpired):
            warm.run(arguments, seconds=seconds * chance(name, moment))
    command(*arguments)
    as_undisturbed(outputs, expected)


@pytest.mark.campaign
@pytest.mark.parametrize("moment", TERMS, ids=str)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_ended_at_any_moment_finishes_when_started_again(
    undisturbed, tmp_path, command, name, moment
):
    before, expected, seconds = undisturbed[name]
    outputs = tmp_path / "outputs"
    shutil.copytree(before, outputs)
    process = started(COMMANDS[name], outputs)
    try:
        process.wait(timeout=IMPORTS + seconds * chance(name, moment))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) in (0, 75, -signal.SIGTERM)
    command(*COMMANDS[name], f"paths.outputs={outputs}")
    as_undisturbed(outputs, expected)


def chance(name: str, moment: int) -> float:
    """At which part of its time a command ends."""
    return random.Random(f"{name} {moment}").random()


def as_undisturbed(outputs: Path, expected: dict[str, str]) -> None:
    """Nothing is lost, other or half-written."""
    assert content(outputs) == expected
    assert not [path for path in outputs.rglob(".*.partial") if path.is_dir()]
