"""What tests share: the real data where it is, and commands run as a user runs them."""

import gc
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from remembered import remember_files

from cxr_ldm.benchmark.browser import chromium

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
SECONDS = 600  # the longest command of a test
SURROUNDINGS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

remember_files()


def pytest_collection_finish() -> None:
    """What was imported stays, so that no collection of garbage need look at it again."""
    gc.collect()
    gc.freeze()


Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]


class Warm:
    """A process that has loaded the libraries and forks for each command, see `warm.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "warm.py")],
            cwd=ROOT,
            env=os.environ | SURROUNDINGS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.read = b""
        assert self.answer() == "ready"

    def answer(self, seconds: float = SECONDS) -> str:
        """The next line of the process; raises TimeoutExpired."""
        assert self.process.stdout
        while b"\n" not in self.read:
            if not select.select([self.process.stdout], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired("a command of a test", seconds)
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, "the process that forks for each command has ended"
            self.read += piece
        line, self.read = self.read.split(b"\n", 1)
        return line.decode()

    def run(self, arguments: list[str], environment: Mapping[str, str] | None = None, seconds: float = SECONDS) -> Done:
        """As subprocess.run with captured output; nothing sees `environment` that a library read when it was loaded.

        After `seconds` the command and all its workers are killed, and TimeoutExpired is raised.
        """
        printed = {name: str(self.folder / name) for name in ("stdout", "stderr")}
        request = {"arguments": arguments, "environment": environment or {}, **printed}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        started = int(self.answer())
        try:
            code = int(self.answer(seconds))
        except subprocess.TimeoutExpired:
            os.killpg(started, signal.SIGKILL)
            self.answer()
            raise
        # a progress bar may be cut within a character
        texts = {name: Path(path).read_text(errors="replace") for name, path in printed.items()}
        return subprocess.CompletedProcess(arguments, code, **texts)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Of this worker."""
    warm = Warm(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.process.communicate(timeout=60)


@pytest.fixture(scope="session")
def command(request: pytest.FixtureRequest) -> Command:
    """Run `python ARGUMENTS` in the project's root; checks the exit code and returns what was printed.

    Code (`-c`) and `fresh=True` have an interpreter of their own, which other surroundings may need, see `Warm.run`.
    """

    def run(*arguments: str, code: int = 0, fresh: bool = False, **environment: str) -> Done:
        if fresh or arguments[0] == "-c":
            result = subprocess.run(
                [sys.executable, *arguments],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env=os.environ | SURROUNDINGS | environment,
            )
        else:
            result = request.getfixturevalue("warm").run(list(arguments), environment)
        assert result.returncode == code, f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, for all tests of a file: Playwright refuses a second driver in one thread.

    It ends with the file, since a browser left open takes memory from all that comes after.
    Where it is missing the tests fail, and say how to install it.
    """
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real collections, for tests marked `real`."""
    if not SHARED.is_dir():
        pytest.skip("the real collections are not beside the project")
    return SHARED
