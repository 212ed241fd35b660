"""Memory of a command is that of all its processes, and a command that fails says so."""

import sys

import pytest

from cxr_ldm.benchmark.watched import watch
from cxr_ldm.errors import UserError

HOLD = "held = bytearray({mb} * 1_000_000); held[::4096] = b'x' * len(held[::4096]); "


def test_a_child_of_the_command_counts(tmp_path):
    child = HOLD.format(mb=100) + "import time; time.sleep(1)"
    program = HOLD.format(mb=200) + f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    found = watch([sys.executable, "-c", program], tmp_path / "log.txt", interval=0.05)
    assert 300e6 < found.peak < 360e6
    assert found.seconds > 1
    assert len(found.times) == len(found.sizes) > 5


def test_a_command_that_fails_is_said_with_its_last_words(tmp_path):
    with pytest.raises(UserError, match="ended with 3: so it goes"):
        watch([sys.executable, "-c", "print('so it goes'); raise SystemExit(3)"], tmp_path / "log.txt")
