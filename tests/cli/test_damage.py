"""Damage, full disks and signals, as a user meets them: one sentence, an exit code, and nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxr_ldm import artifacts

ROOT = Path(__file__).resolve().parents[2]
PREPARE = ["-m", "cxr_ldm.prepare", "data=phantom", "data.size=32", "name=p"]
VAE = ["train.py", "stage=vae", "vae=tiny", "logger=csv", "training.vae.images=32", "training.vae.validate_every=32"]


def sentence(result) -> str:
    """The one sentence of a command that ended with 2."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.stderr
    return line


@pytest.fixture(scope="module")
def trained(command, tmp_path_factory):
    """Outputs with a prepared folder `p` and a VAE `v`."""
    outputs = tmp_path_factory.mktemp("outputs")
    command(*PREPARE, "data.reader.n=60", f"paths.outputs={outputs}")
    command(*VAE, f"prepared={outputs}/prepared/p", "name=v", f"paths.outputs={outputs}")
    return outputs


def flipped(path: Path) -> bytes:
    """Flip a bit in the middle of a file; what it was before."""
    whole = path.read_bytes()
    place = len(whole) // 2
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    return whole


@pytest.mark.parametrize(
    "file",
    ["prepared/p/images.npy", "prepared/p/manifest.parquet", "prepared/p/run.json", "vae/v/run.json"],
)
def test_a_damaged_file_is_named_before_anything_is_trained(command, trained, file):
    before = flipped(trained / file)
    arguments = [*VAE, f"prepared={trained}/prepared/p", "name=v", f"paths.outputs={trained}"]
    line = sentence(command(*arguments, code=2))
    (trained / file).write_bytes(before)
    assert f"{trained / file} is damaged" in line
    assert "delete " in line


def test_a_damaged_checkpoint_is_named(command, trained):
    run = trained / "vae" / "v"
    checkpoint, record = run / "checkpoints" / "last.ckpt", artifacts.read_record(run)
    artifacts.write_record(run, record["settings"], complete=False)
    flipped(checkpoint)
    arguments = [*VAE, f"prepared={trained}/prepared/p", "name=v", f"paths.outputs={trained}"]
    assert f"{checkpoint} is damaged" in sentence(command(*arguments, code=2))


def test_no_room_is_one_sentence_and_what_was_done_stays(command, tmp_path):
    arguments = [*PREPARE, "data.reader.n=200", f"paths.outputs={tmp_path}", "workers=1"]
    limited = f"ulimit -f 100 && exec {sys.executable} {' '.join(arguments)}"
    result = subprocess.run(["bash", "-c", limited], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 2, result.stderr
    assert sentence(result).endswith("file too large; free space there, and give the same command again.")
    bar = command(*arguments).stderr
    first = next(part for part in bar.split("\r") if "/200" in part)
    assert int(first.split("/200")[0].split()[-1]) >= 90  # it goes on where there was no room any more


def test_outputs_that_are_a_file_are_named(command, tmp_path):
    (tmp_path / "outputs").write_text("mine")
    line = sentence(command(*PREPARE, "data.reader.n=60", f"paths.outputs={tmp_path}/outputs", code=2))
    assert line.startswith(f"error: {tmp_path}/outputs: ")
    assert line.endswith("a file stands where a folder belongs, or a folder where a file does; move it away.")


@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere", ".."])
def test_a_name_does_not_lead_out_of_the_outputs(command, tmp_path, name):
    arguments = [*PREPARE[:-1], "data.reader.n=60", f"name={name}", f"paths.outputs={tmp_path}/outputs"]
    assert f"name={name} leads out of" in sentence(command(*arguments, code=2))
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_in_the_same_folder_stops(command, trained):
    with artifacts.locked(trained / "vae" / "twice"):
        arguments = [*VAE, f"prepared={trained}/prepared/p", "name=twice", f"paths.outputs={trained}"]
        line = sentence(command(*arguments, code=2))
    assert "another process is making" in line
    assert not (trained / "vae" / "twice").exists()


def preparing(outputs: Path) -> subprocess.Popen:
    """A prepare with two workers that is in the midst of its images, in a session of its own."""
    arguments = [sys.executable, *PREPARE, "data.size=256", "data.reader.n=3000", "workers=2"]
    running = subprocess.Popen(
        [*arguments, f"paths.outputs={outputs}"],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts what runs in the background with Ctrl-C ignored, and so would all that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = outputs / "prepared" / ".p.partial" / "journal.jsonl"
    while not journal.exists() or not journal.read_bytes().count(b"\n"):
        assert running.poll() is None, "it ended before it could be stopped"
        time.sleep(0.01)
    return running


def members(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended since
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 75, marks=pytest.mark.campaign)]
)
def test_a_signal_to_all_processes_is_one_sentence(tmp_path, number, code):
    running = preparing(tmp_path)
    os.killpg(running.pid, signal.SIGINT) if number == signal.SIGINT else running.send_signal(number)
    _, error = running.communicate(timeout=60)
    assert running.returncode == code, error
    assert "Traceback" not in error
    deadline = time.monotonic() + 30
    while members(running.pid):  # the last of them may still be on its way out
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.campaign
def test_workers_of_a_killed_prepare_end_by_themselves(tmp_path):
    running = preparing(tmp_path)
    assert len(members(running.pid)) >= 3
    running.kill()
    running.wait()
    deadline = time.monotonic() + 20
    while members(running.pid):
        assert time.monotonic() < deadline, "workers wait for ever"
        time.sleep(0.1)
