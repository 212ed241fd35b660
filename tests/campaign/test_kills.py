"""Every command that is killed at random moments and started again ends as if nothing had happened; hours."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.campaign
ROOT = Path(__file__).resolve().parents[2]
DATA = ["data.reader.n=400", "data.size=32"]
MODEL = [*DATA, "vae=tiny", "denoiser=tiny", "text_encoder.layers=1", "text_encoder.width=32", "logger=csv"]
SHORT = {
    stage: [
        f"training.{stage}.images=384",
        f"training.{stage}.validate_every=192",
        f"training.{stage}.checkpoint_every=64",
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
        "metrics.n=16",
        "metrics.adherence_n=2",
        "logger=csv",
        "sampler.steps=4",
        "metrics.cost_steps=[1]",
    ],
}
# what must be equal to the byte; of metrics.json the values, less those of time and memory
CONTENT = ("*.safetensors", "images.npy", "manifest.parquet", "moments.npy", "cached.npy", "mask.npy")
MEASURED = ("latency", "memory", "seconds", "images_per_second")
KILLS, TERMS = range(30), range(10)


def started(arguments: list[str], outputs: Path) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, *arguments, f"paths.outputs={outputs}"]
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, start_new_session=True, **quiet)


def content(outputs: Path) -> dict[str, str]:
    """Hash of each file that a command makes, by its path."""
    found = {}
    for pattern in CONTENT:
        for path in outputs.rglob(pattern):
            found[str(path.relative_to(outputs))] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in outputs.rglob("metrics.json"):
        values = {name: entry for name, entry in json.loads(path.read_text()).items() if name != "run"}
        kept = {name: entry["value"] for name, entry in values.items() if not any(word in name for word in MEASURED)}
        found[str(path.relative_to(outputs))] = json.dumps(kept, sort_keys=True)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """For each command: the outputs that it finds, those that it leaves, and the seconds that it takes."""
    found, before = {}, tmp_path_factory.mktemp("nothing")
    for name, arguments in COMMANDS.items():
        after = tmp_path_factory.mktemp(name) / "outputs"
        shutil.copytree(before, after)
        began = time.monotonic()
        assert started(arguments, after).wait(timeout=600) == 0
        found[name] = before, content(after), time.monotonic() - began
        before = after
    return found


@pytest.mark.parametrize(
    ("way", "moment"), [*((signal.SIGKILL, n) for n in KILLS), *((signal.SIGTERM, n) for n in TERMS)], ids=str
)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_ended_at_any_moment_finishes_when_started_again(undisturbed, tmp_path, name, way, moment):
    before, expected, seconds = undisturbed[name]
    outputs = tmp_path / "outputs"
    shutil.copytree(before, outputs)
    process = started(COMMANDS[name], outputs)
    try:
        # the first third is the import of libraries, in which nothing can be lost
        process.wait(timeout=seconds * random.Random(f"{name} {way} {moment}").uniform(0.3, 1.0))
    except subprocess.TimeoutExpired:
        if way == signal.SIGKILL:
            os.killpg(process.pid, way)
            process.wait()
        else:
            process.send_signal(way)
            assert process.wait(timeout=120) in (0, 75, -signal.SIGTERM)
    assert started(COMMANDS[name], outputs).wait(timeout=600) == 0
    assert content(outputs) == expected
    assert not [path for path in outputs.rglob(".*.partial") if path.is_dir()]
