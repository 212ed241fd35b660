"""What tests share: the real data where it is, and commands run as a user runs them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def command() -> Command:
    """Run `python ARGUMENTS` in the project's root; checks the exit code and returns what was printed."""

    def run(*arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess:
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment,
        )
        assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real collections, for tests marked `real`."""
    if not SHARED.is_dir():
        pytest.skip("the real collections are not beside the project")
    return SHARED
