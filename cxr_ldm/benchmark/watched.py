"""Memory of a command over time: of its process and of all that it started, together."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_ldm.errors import UserError

INTERVAL = 0.5  # seconds between two looks
SHOWN = 600  # characters of a failed command's last words


@dataclass(frozen=True)
class Watched:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        times: seconds since its start, one for each look.
        sizes: bytes resident then, of the whole family of processes; a page that several share counts once.
    """

    seconds: float
    times: list[float]
    sizes: list[int]

    @property
    def peak(self) -> int:
        """The most bytes of any look."""
        return max(self.sizes, default=0)


def watch(command: Sequence[str], log: Path, interval: float = INTERVAL) -> Watched:
    """Run a command to its end and look at its memory meanwhile.

    Args:
        log: file that takes what the command prints.
        interval: seconds between two looks; what lasts less may be missed.

    Raises:
        UserError: psutil is not installed; the command fails, whose last words are said.
    """
    psutil = installed()
    times: list[float] = []
    sizes: list[int] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with open(log, "wb") as printed, subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT) as running:
        root = psutil.Process(running.pid)
        while running.poll() is None:
            times.append(time.perf_counter() - start)
            sizes.append(resident(root))
            time.sleep(interval)
    if running.returncode:
        words = log.read_text(encoding="utf-8", errors="replace").strip()[-SHOWN:]
        raise UserError(f"`{' '.join(command)}` ended with {running.returncode}: {words} ({log})")
    return Watched(time.perf_counter() - start, times, sizes)


def installed() -> Any:
    """The library psutil; raises UserError where it is not there."""
    try:
        import psutil
    except ImportError:
        raise UserError("memory is watched with psutil; run `pip install psutil`.") from None
    return psutil


def resident(root: Any) -> int:
    """Bytes of a process and its descendants; the proportional share of what they share, where the system tells it."""
    psutil = installed()
    total = 0
    for process in [root, *_descendants(root)]:
        try:
            found = process.memory_full_info()
        except psutil.Error:  # it has ended meanwhile
            continue
        total += getattr(found, "pss", found.rss)
    return total


def _descendants(root: Any) -> list[Any]:
    try:
        return list(root.children(recursive=True))
    except installed().Error:
        return []


def children(word: str) -> list[Any]:
    """Processes that this one has started and whose command holds a word.

    Raises:
        UserError: psutil is not installed.
    """
    return [each for each in _descendants(installed().Process()) if word in _command(each)]


def _command(process: Any) -> str:
    try:
        return " ".join(process.cmdline())
    except installed().Error:  # it has ended meanwhile
        return ""
