"""What a run says of its memory."""

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cxr_ldm.callbacks.pace import memory


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="a processor's memory is asked of Linux")
def test_memory_of_a_run_is_not_that_of_the_process_that_started_it(monkeypatch):
    """Linux hands the peak of a parent, such as a notebook with a collection in it, on to its child's getrusage."""
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=10**12))
    assert 10**7 < memory(torch.device("cpu")) < 10**12
