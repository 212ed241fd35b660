"""Two processes train the run that one trains: the same curves and weights, up to the order of sums."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from together import STAGES, train

HERE = Path(__file__).parent
PROCESSES = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# what a process says of its own: its speed, its memory, and how far apart the texts of its first batch are
OWN = {"train/images_per_second", "train/memory_gb", "val/text_spread"}


TOLERANCE = 1e-9  # in float64; in float32 weights differ by 3e-5 and losses by 1e-6
pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    done = subprocess.run(
        [*PROCESSES, str(HERE / "together.py"), str(two), "64-true"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in STAGES:
        train(name, one, "64-true")
    return one, two


def curves(folder):
    with open(folder / "history.csv", encoding="utf-8") as file:
        rows = {(row["step"], row["name"]): float(row["value"]) for row in csv.DictReader(file)}
    return {key: value for key, value in rows.items() if key[1] not in OWN}


@pytest.mark.parametrize("name", STAGES)
def test_two_processes_train_the_run_of_one(folders, name):
    """A VAE across the start of its adversary, a model across the step that frees layers, a classifier."""
    one, two = folders
    weights, others = (torch.load(folder / name / "weights.pt", weights_only=True) for folder in (one, two))
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        assert (others[key].double() - value.double()).abs().max() < TOLERANCE, key
    mine, theirs = curves(one / name), curves(two / name)
    assert mine.keys() == theirs.keys()
    assert max(int(step) for step, _ in mine) == 20
    if name == "vae":  # the adversary sets in half way
        assert min(int(step) for step, curve in mine if curve == "train/adversary") == 11
    assert max(abs(mine[key] - theirs[key]) / max(1.0, abs(mine[key])) for key in mine) < TOLERANCE
