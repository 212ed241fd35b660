"""No space, no right, a file in the way: the error names the file, and nothing half-written stays."""

import errno
import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from cxr_ldm import artifacts, content
from cxr_ldm.bundle import save_bundle
from cxr_ldm.checkpoints import WholeCheckpoints, read_checkpoint
from cxr_ldm.commands.cli import one_sentence
from cxr_ldm.errors import UserError

BIG = np.random.default_rng(0).integers(0, 256, 400_000, dtype=np.uint8)


@pytest.fixture
def no_room():
    """Files above 100 kB cannot be written, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def full(tmp_path):
    """A disk of 100 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can make a disk of its own")
    yield disk
    subprocess.run(["umount", disk], check=True)


def write_cache(place):
    artifacts.cached(place / "cache", {"a": 1}, lambda partial: content.save_array(partial / "a.npy", BIG))


def write_bundle(place):
    save_bundle(place / "bundle", "vae", {"net": {"part": "x"}}, {"net": nn.Linear(300, 300)}, {})


def write_checkpoint(place):
    WholeCheckpoints().save_checkpoint({"a": torch.from_numpy(BIG)}, place / "last.ckpt")


def write_text(place):
    artifacts.write_json(place / "metrics.json", BIG.tolist())


WRITERS = [write_cache, write_bundle, write_checkpoint, write_text]


@pytest.mark.parametrize("write", WRITERS)
def test_too_large_names_the_file_and_leaves_nothing(write, tmp_path, no_room):
    with pytest.raises(OSError, match="File too large") as refused:
        write(tmp_path)
    assert refused.value.errno == errno.EFBIG
    assert str(tmp_path) in refused.value.filename
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_one_sentence_with_exit_code_2(write, full, capsys):
    with pytest.raises(SystemExit) as ended, one_sentence():
        write(full)
    assert ended.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {full}/")
    assert line.endswith("no space left on device; free space there, and give the same command again.\n")
    assert list(full.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, capsys):
    (tmp_path / "outputs").write_text("mine")
    with pytest.raises(SystemExit), one_sentence():
        artifacts.write_json(tmp_path / "outputs" / "vae" / "x" / "run.json", {})
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/outputs: not a directory; a file stands where")


def test_a_checkpoint_before_a_refusal_stays(tmp_path, no_room):
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, path)
    with pytest.raises(OSError, match="File too large"):
        write_checkpoint(tmp_path)
    assert read_checkpoint(path) == {"step": 1}


def test_what_was_written_before_checksums_is_opened(tmp_path):
    folder = artifacts.cached(tmp_path / "cache", {"a": 1}, lambda partial: np.save(partial / "a.npy", BIG))
    record = json.loads((folder / "run.json").read_text())
    for key in ("files", content.SEAL):
        del record[key]
    (folder / "run.json").write_text(json.dumps(record))
    artifacts.cached(folder, {"a": 1}, lambda partial: pytest.fail("made again"))
    (folder / "run.json").write_text(json.dumps(record | {content.SEAL: "0"}))
    with pytest.raises(UserError, match=r"run.json is damaged or was changed by hand"):
        artifacts.cached(folder, {"a": 1}, lambda partial: None)


def test_a_large_file_is_known_by_a_sample_unless_all_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "WHOLE", 1000)
    monkeypatch.setattr(content, "BLOCK", 16)
    BIG.tofile(tmp_path / "a")
    files = content.sums(tmp_path, ["a"])
    assert "sample" in files["a"]
    changed = BIG.copy()
    changed[20] ^= 1  # between the first block and the second
    changed.tofile(tmp_path / "a")
    content.check(tmp_path, files, "advice")
    with pytest.raises(UserError, match=r"a is damaged: .*; advice\."):
        content.check(tmp_path, files, "advice", "full")
    changed[-1] ^= 1
    changed.tofile(tmp_path / "a")
    with pytest.raises(UserError, match="is damaged"):
        content.check(tmp_path, files, "advice")


HOLD = """
import sys, time
from pathlib import Path
from cxr_ldm import artifacts
with artifacts.building(Path(sys.argv[1])) as partial:
    (partial / "half").write_text("half")
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_keeps_others_out_and_ends_with_its_process(tmp_path):
    folder = tmp_path / "a"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="another process is making"), artifacts.building(folder):
        pass
    holder.kill()
    holder.wait()
    assert {path.name for path in tmp_path.iterdir()} == {".a.lock", ".a.building.partial"}
    with artifacts.building(folder) as partial:
        assert list(partial.iterdir()) == []
        (partial / "whole").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "whole"]


def test_weights_are_as_readable_as_their_config(tmp_path):
    before = os.umask(0o027)
    try:
        write_bundle(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "bundle").iterdir()}
    assert modes == dict.fromkeys(["README.md", "SHA256SUMS", "config.json", "net.safetensors"], 0o640)
