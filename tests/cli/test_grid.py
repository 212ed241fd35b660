"""A grid that is killed in its third job goes on at its third job."""

import os
import signal
import time

import pytest
from test_kills import MODEL, SHORT, content, started

pytestmark = pytest.mark.campaign
GRID = ["train.py", "-m", "stage=vae", *MODEL, *SHORT["vae"], "seed=0,1,2,3"]


def test_killed_in_job_3_it_goes_on_at_job_3(tmp_path):
    assert started(GRID, tmp_path / "whole").wait(timeout=600) == 0
    outputs = tmp_path / "parts"
    process = started(GRID, outputs)
    while len(list(outputs.glob("vae/*/checkpoints/last.ckpt"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    done = {path: path.stat().st_mtime_ns for path in outputs.glob("vae/*/bundle/*.safetensors")}
    assert len({path.parent for path in done}) == 2
    assert started(GRID, outputs).wait(timeout=600) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished jobs were done again"
    assert len(list(outputs.glob("vae/*/bundle"))) == 4
    assert content(outputs) == content(tmp_path / "whole")
