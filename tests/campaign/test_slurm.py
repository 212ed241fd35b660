"""A run as a job of Slurm: submitted, told to give way, queued again, finished. Slurm is three scripts here."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.campaign
ROOT = Path(__file__).resolve().parents[2]
TINY = ["stage=vae", "data.reader.n=160", "data.size=32", "vae=tiny", "logger=csv", "training.vae.batch_size=8"]
LENGTHS = ["training.vae.images=1600", "training.vae.validate_every=400", "training.vae.checkpoint_every=80"]

SBATCH = """#!/bin/sh
for file; do :; done
cp "$file" "$FAKE/job.sh"
"$FAKE/scontrol" requeue 7
echo "Submitted batch job 7"
"""
SCONTROL = """#!/bin/sh
echo "$@" >> "$FAKE/asked"
export SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
export SLURM_JOB_NODELIST=here
setsid sh "$FAKE/job.sh" >> "$FAKE/out" 2>&1 < /dev/null &
"""
SRUN = """#!/bin/sh
while [ "${1#/}" = "$1" ] || [ ! -x "$1" ]; do shift; done
exec "$@"
"""
SACCT = """#!/bin/sh
printf 'JobID|State|NodeList\\n7|RUNNING|here\\n'
"""


@pytest.fixture
def slurm(tmp_path):
    """Surroundings in which sbatch, srun, scontrol and sacct are ours."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "scontrol": SCONTROL, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "FAKE": str(folder), "OMP_NUM_THREADS": "1"}


def training(run):
    """The process that trains, once it has a checkpoint."""
    while not (run / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.02)
    found = subprocess.run(["pgrep", "-f", "submitit.core._submit"], capture_output=True, text=True).stdout.split()
    return max(int(pid) for pid in found)  # the script's shell has the words in its line, too


def test_a_job_that_must_give_way_queues_again_and_ends_as_if_it_had_not(command, tmp_path, slurm):
    words = ["-m", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", *TINY, *LENGTHS]
    outputs = tmp_path / "outputs"
    arguments = [sys.executable, "train.py", *words, "name=run", f"paths.outputs={outputs}"]
    started = subprocess.Popen(
        arguments, cwd=ROOT, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    os.kill(training(outputs / "vae" / "run"), signal.SIGUSR2)
    printed, _ = started.communicate(timeout=300)
    folder = Path(slurm["FAKE"])
    assert started.returncode == 0, printed + (folder / "out").read_text()
    script = (folder / "job.sh").read_text()
    for line in ("--signal=USR2@180", "--partition=gpu", "--time=1440", "--gpus-per-node=1"):
        assert f"#SBATCH {line}" in script
    assert (folder / "asked").read_text().splitlines() == ["requeue 7", "requeue 7"]
    log = "".join(path.read_text() for path in outputs.glob("slurm/**/*.out"))
    assert "stopped by SIGUSR2 at step" in log + (folder / "out").read_text()
    command("train.py", *TINY, *LENGTHS, "name=straight", f"paths.outputs={outputs}")
    one, two = (outputs / "vae" / name / "bundle" / "autoencoder.safetensors" for name in ("run", "straight"))
    assert one.read_bytes() == two.read_bytes()


def test_submitits_own_executor_starts_it_again_too(command, tmp_path):
    """Without Slurm: the executor that submitit has for one machine, which starts again what gave way."""
    outputs = tmp_path / "outputs"
    words = ["-m", "hydra/launcher=submitit_local", f"hydra.launcher.submitit_folder={outputs}/local/%j"]
    arguments = [sys.executable, "train.py", *words, *TINY, *LENGTHS, "name=run", f"paths.outputs={outputs}"]
    surroundings = os.environ | {"OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        arguments, cwd=ROOT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    os.kill(training(outputs / "vae" / "run"), signal.SIGUSR2)
    printed, _ = started.communicate(timeout=300)
    log = "".join(path.read_text() for path in outputs.glob("local/**/*log.*"))
    assert started.returncode == 0, printed + log
    assert "stopped by SIGUSR2 at step" in log
    assert "resuming: " in log
    command("train.py", *TINY, *LENGTHS, "name=straight", f"paths.outputs={outputs}")
    one, two = (outputs / "vae" / name / "bundle" / "autoencoder.safetensors" for name in ("run", "straight"))
    assert one.read_bytes() == two.read_bytes()
