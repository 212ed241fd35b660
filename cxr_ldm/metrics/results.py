"""metrics.json: each number with its n, its interval or the reason for none, its settings, and the run that made it."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from cxr_ldm.artifacts import fingerprint, read_json, write_json
from cxr_ldm.content import SEAL, seal
from cxr_ldm.errors import UserError

LIBRARIES = ("cxr_ldm", "torch", "lightning", "torchmetrics", "numpy", "scipy", "transformers", "hydra-core")
RUN_KEYS = ("command", "git_commit", "config_hash", "bundle_sha256", "seed", "hardware", "versions")
DIRTY = "-dirty"
# Of the repository, as git's pathspecs.
DECIDES = ("cxr_ldm", "conf", ":(glob)*.py", "pyproject.toml", "constraints.txt", ":(exclude)cxr_ldm/assets")
METRIC_KEYS = {"value", "ci95", "n", "higher_is_better", "settings"}


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Attributes:
        value: finite.
        n: how many images, pairs or splits it was measured on; settings say which where it is not images.
        higher_is_better: whether a larger value is better.
        ci95: (low, high), or None where no honest interval exists.
        settings: all that decides the value, as JSON values.
        reason: why `ci95` is None; required exactly there.
        over: what the interval is over, such as "patients": what would be drawn anew if all were measured again;
            required where there is an interval.
    """

    value: float
    n: int
    higher_is_better: bool
    ci95: tuple[float, float] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    over: str | None = None

    def entry(self) -> dict[str, Any]:
        """The JSON form of the contract; `ci95_reason` stands beside a null interval, `ci95_over` beside any other."""
        ends = None if self.ci95 is None else [float(end) for end in self.ci95]
        content: dict[str, Any] = {"value": self.value, "ci95": ends, "n": self.n}
        if self.reason is not None:
            content["ci95_reason"] = self.reason
        if ends is not None:
            content["ci95_over"] = self.over
        return content | {"higher_is_better": self.higher_is_better, "settings": self.settings}


def write_metrics(path: Path, metrics: Mapping[str, Metric], run: Mapping[str, Any]) -> None:
    """Write metrics.json after checking it against the contract.

    Raises:
        ValueError: a metric breaks the contract; nothing is written then.
    """
    content: dict[str, Any] = {name: metric.entry() for name, metric in metrics.items()}
    if "run" in content:
        raise ValueError("a metric cannot be called 'run'")
    content["run"] = dict(run)
    validate(content)
    # demanded here and not of a file that is read: those of earlier versions do not say it
    silent = [name for name, metric in metrics.items() if metric.ci95 is not None and not metric.over]
    if silent:
        raise ValueError(f"{', '.join(silent)}: an interval must say what it is over")
    write_json(path, with_seal(content))


def read_metrics(path: Path) -> dict[str, Any]:
    """Read a metrics.json and check it; raises UserError with the path where it is missing or breaks the contract."""
    content = read_json(path)
    try:
        validate(content)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not a metrics.json of this project: {error}; delete {path.parent} and make it again."
        ) from None
    if SEAL in content["run"] and with_seal(content) != content:
        raise UserError(
            f"{path} is damaged or was changed by hand: its checksum is another; delete {path.parent} and make it "
            "again."
        )
    return content


def with_seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """A metrics.json with the checksum of all else in its entry "run", so that no number is written by hand."""
    run = {key: value for key, value in content["run"].items() if key != SEAL}
    return {**content, "run": run | {SEAL: seal({**content, "run": run})}}


def validate(content: Any) -> None:
    """Check a whole metrics.json against the contract of DESIGN.md.

    Raises:
        ValueError: naming the entry and what is wrong with it; a NaN anywhere is refused.
    """
    if not isinstance(content, Mapping) or "run" not in content:
        raise ValueError("the entry 'run' is missing")
    missing = [key for key in RUN_KEYS if key not in content["run"]]
    if missing:
        raise ValueError(f"'run' lacks {', '.join(missing)}")
    for name, entry in content.items():
        if name != "run":
            _validate_metric(name, entry)
    json.dumps(content, allow_nan=False)


def _validate_metric(name: str, entry: Any) -> None:
    if not isinstance(entry, Mapping) or METRIC_KEYS - entry.keys():
        raise ValueError(f"{name!r} needs the keys {', '.join(sorted(METRIC_KEYS))}")
    if not _finite(entry["value"]):
        raise ValueError(f"{name!r} has the value {entry['value']!r}, which is not a finite number")
    if not isinstance(entry["n"], int) or isinstance(entry["n"], bool) or entry["n"] < 1:
        raise ValueError(f"{name!r} has n = {entry['n']!r}, which is not a positive count")
    if not isinstance(entry["higher_is_better"], bool):
        raise ValueError(f"{name!r} has higher_is_better = {entry['higher_is_better']!r}")
    if not isinstance(entry["settings"], Mapping):
        raise ValueError(f"{name!r} has settings that are no mapping")
    ends = entry["ci95"]
    if ends is None:
        if not entry.get("ci95_reason"):
            raise ValueError(f"{name!r} has no interval and no reason for that")
    elif len(ends) != 2 or not all(map(_finite, ends)) or ends[0] > ends[1]:
        raise ValueError(f"{name!r} has the interval {ends!r}, which is not [low, high]")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def run_entry(*, composed: Any, bundle_sha256: str | None, seed: int, **extra: Any) -> dict[str, Any]:
    """The "run" entry: what was run, on what, with which versions.

    Args:
        composed: the composed configuration as JSON values (OmegaConf.to_container(..., resolve=True)).
        bundle_sha256: of the evaluated bundle; None where nothing is loaded.
        seed: of the run.
        extra: further JSON values, such as the name of the data.
    """
    return {
        "command": shlex.join(sys.argv),
        "git_commit": git_commit(),
        "config_hash": fingerprint(composed),
        "bundle_sha256": bundle_sha256,
        "seed": seed,
        "hardware": hardware(),
        "versions": library_versions(),
        **extra,
    }


def git_commit() -> str | None:
    """Commit of this code, with DIRTY where what decides numbers differs from it; None outside a git checkout.

    Bundles are known by their own hash, and pages by what they say, so that a changed one of these does not count.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None  # an installed package: git would find some other repository above it
    try:
        commit = _git("rev-parse", "HEAD", folder=folder)
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *DECIDES, folder=folder)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + (DIRTY if changed else "")


def _git(*arguments: str, folder: Path) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def hardware() -> dict[str, Any]:
    """Processor, usable cores, torch threads and the GPU's name (None without one)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": _cpu_model(), "cores": cores, "torch_threads": torch.get_num_threads(), "gpu": gpu}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def peak_bytes() -> int:
    """Most bytes of memory that this process has held since it began.

    Linux's getrusage would not do: a process begins with the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    import resource  # which Windows has not, and this module is read everywhere

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide numbers; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
