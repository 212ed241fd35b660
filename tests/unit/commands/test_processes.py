"""What several processes leave as their last words, and which of them is said."""

import json

import pytest
from omegaconf import OmegaConf

from cxr_ldm.commands import processes
from cxr_ldm.errors import Paused, UserError


def words(folder, number, kind, text, time):
    (folder / f"end-{number}.json").write_text(json.dumps({"kind": kind, "text": text, "time": time}))


def test_what_the_user_can_mend_is_said_before_what_followed_from_it(tmp_path):
    words(tmp_path, 0, "error", "Connection closed by peer", 1.0)
    words(tmp_path, 1, "user", "the loss is nan at step 3", 2.0)
    found = processes.ending(tmp_path, [1, 2])
    assert isinstance(found, UserError)
    assert str(found) == "the loss is nan at step 3"


def test_a_killed_process_is_the_reason_for_the_errors_of_the_others(tmp_path):
    words(tmp_path, 0, "error", "Connection closed by peer", 1.0)
    found = processes.ending(tmp_path, [-9, 1])
    assert isinstance(found, Paused)
    assert "SIGKILL" in str(found)


def test_the_first_error_is_said_with_its_traceback(tmp_path):
    words(tmp_path, 0, "error", "later", 2.0)
    words(tmp_path, 1, "error", "Traceback: first", 1.0)
    with pytest.raises(RuntimeError, match="Traceback: first"):
        raise processes.ending(tmp_path, [1])


def test_a_signal_before_anything_was_said(tmp_path):
    found = processes.ending(tmp_path, [], "SIGTERM")
    assert isinstance(found, Paused)
    assert "stopped by SIGTERM" in str(found)


@pytest.mark.parametrize(
    ("error", "kind", "code"), [(UserError("bad"), "user", 2), (Paused("later"), "paused", 75)], ids=str
)
def test_last_words_are_kept_and_end_the_process(tmp_path, monkeypatch, error, kind, code):
    monkeypatch.setenv(processes.ENDS, str(tmp_path))
    with pytest.raises(SystemExit) as end, processes.last_words(0):
        raise error
    assert end.value.code == code
    assert json.loads((tmp_path / "end-0.json").read_text())["kind"] == kind


@pytest.mark.parametrize(("devices", "count"), [(1, 1), (3, 3), ([0, 2], 2), ("auto", 1)])
def test_processes_by_the_setting(devices, count):
    cfg = OmegaConf.create({"trainer": {"devices": devices, "accelerator": "cpu"}})
    assert processes.asked(cfg) == count


def test_more_processes_than_cores_would_wait_for_each_other_for_ever(monkeypatch):
    cfg = OmegaConf.create({"trainer": {"devices": 99, "accelerator": "cpu"}})
    monkeypatch.setattr(processes.os, "cpu_count", lambda: 4)
    with pytest.raises(UserError, match="devices=99 is more than the 4 processes for its cores of this machine"):
        processes.in_as_many(cfg, lambda: pytest.fail("it ran"))
    processes.check_count(cfg, 4)
