"""Runs that two processes share: two train what one does; where one ends, both do, and nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cxr_ldm.bundle import load_bundle

pytestmark = pytest.mark.campaign
ROOT = Path(__file__).resolve().parents[2]
TINY = ["data.reader.n=160", "data.size=32", "vae=tiny", "denoiser=tiny", "logger=csv"]
LENGTHS = ["training.vae.images=128", "training.vae.validate_every=64", "training.vae.batch_size=8"]
LENGTHS += ["training.ldm.images=640", "training.ldm.validate_every=160", "training.ldm.batch_size=8"]
LENGTHS += ["training.ldm.checkpoint_every=80"]
ADVERSARY = [
    "+vae.adversary._target_=cxr_ldm.stages.adversary.Adversary",
    "+vae.adversary.network._target_=cxr_ldm.networks.discriminator.PatchDiscriminator",
    "+vae.adversary.network.channels=[8,8]",
    "+vae.adversary.network.groups=4",
    "+vae.adversary.weight=0.5",
    "+vae.adversary.start=0.5",
]
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.log_every=1"]


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    """With a VAE of two processes, and a model of one."""
    outputs = tmp_path_factory.mktemp("two")
    where = f"paths.outputs={outputs}"
    command("train.py", "stage=vae", *TINY, *ADVERSARY, *LENGTHS, *TWO, "name=two", where)
    command("train.py", *ldm(outputs), "name=one")
    return outputs


def ldm(outputs):
    """The words of a model on that VAE."""
    return ["stage=ldm", *TINY, *LENGTHS, "vae_bundle=two", f"paths.outputs={outputs}"]


def test_a_vae_whose_adversary_sets_in_later_trains_on_two(outputs):
    run = outputs / "vae" / "two"
    assert json.loads((run / "run.json").read_text())["complete"]
    assert load_bundle(run / "bundle", "vae").info["size"] == 32
    names = {line.split(",")[1] for line in (run / "history.csv").read_text().splitlines()[1:]}
    assert {"train/adversary", "train/discriminator"} <= names


def near(first, second):
    """Whether two bundles have the weights of one run but for the order of sums in float32."""
    one, two = (load_file(run / "bundle" / "network.safetensors") for run in (first, second))
    return max((one[name].float() - two[name].float()).abs().max().item() for name in one) < 1e-3


def test_the_number_of_processes_changes_neither_the_run_nor_its_name(command, outputs):
    done = command("train.py", *ldm(outputs), *TWO, "name=shared")
    assert near(outputs / "ldm" / "one", outputs / "ldm" / "shared")
    assert done.stdout.count("new run:") == 1, "the second process is silent"
    assert "complete already" in command("train.py", *ldm(outputs), "name=shared").stdout
    named = command("train.py", *ldm(outputs), *TWO).stdout
    assert "devices" not in named.split("new run: ")[1].splitlines()[0]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_where_one_process_ends_all_do_and_the_same_command_goes_on(command, outputs, sent):
    name = f"stopped{int(sent)}"
    words = [*ldm(outputs), *TWO, f"name={name}"]
    arguments = [sys.executable, "train.py", *words]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        arguments, cwd=ROOT, env=surroundings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    run = outputs / "ldm" / name
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert started.poll() is None, started.stdout.read()
        time.sleep(0.02)
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    ranks = [int(pid) for pid in children if b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(ranks) == 2
    os.kill(ranks[1], sent)  # of a signal that can be heard, the second process tells the first
    printed, _ = started.communicate(timeout=120)
    assert started.returncode == 75, printed
    assert "Traceback" not in printed
    assert ("ended by SIGKILL" if sent == signal.SIGKILL else "stopped by") in printed
    assert printed.count("the same command goes on") == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)
    command("train.py", *words)
    assert near(outputs / "ldm" / "one", run)


def test_bad_input_is_one_sentence_of_all_processes(command, outputs):
    words = [*ldm(outputs), *TWO]
    done = command("train.py", *words, "training.ldm.batch_size=7", "name=odd", code=2)
    assert "a batch of 7 images has no 2 equal parts; trainer.devices must divide it" in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    wild = ["training.ldm.optimizer.lr=10", "trainer.gradient_clip=null", "name=nan"]
    done = command("train.py", *words, *wild, code=2)
    assert done.stderr.count("error:") == 1
    assert re.search(r"is (nan|inf) at step", done.stderr)
