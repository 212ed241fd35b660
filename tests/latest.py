"""The tests in this environment, and a row of docs/results/versions.md about them: `python -m tests.latest`.

One row is kept for each minor version of Python and major of transformers. Arguments are those of pytest.
"""

import datetime
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "versions.md"
LIBRARIES = ("torch", "transformers", "lightning", "hydra-core", "numpy", "pandas", "pydicom", "diffusers", "streamlit")
HEAD = f"""# Versions that the tests ran with

`make test-latest` takes the newest version of every library, without constraints.txt; `PYTHON=python3.13` chooses
Python. Each push is tested with the versions of constraints.txt.

| Python | {" | ".join(LIBRARIES)} | passed | failed | date | commit |
| --- |{" --- |" * len(LIBRARIES)} ---: | ---: | --- | --- |
"""


class Outcome:
    """How many tests passed, and the names of those that did not; a skipped one is no pass."""

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        stats = terminalreporter.stats
        self.passed = len(stats.get("passed", []))
        bad = [report for name in ("failed", "error", "skipped") for report in stats.get(name, [])]
        self.failed = sorted({report.nodeid for report in bad})


def row(outcome: Outcome) -> str:
    """Of this environment."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    cells = [platform.python_version(), *(version(name) for name in LIBRARIES), str(outcome.passed)]
    cells += ["<br>".join(outcome.failed) or "0", str(datetime.date.today()), commit.strip()]
    return f"| {' | '.join(cells)} |"


def key(line: str) -> tuple[str, str]:
    """Minor version of Python and major version of transformers of a row."""
    cells = line.strip("| ").split(" | ")
    return cells[0].rpartition(".")[0], cells[1 + LIBRARIES.index("transformers")].partition(".")[0]


def main() -> None:
    """Run pytest and keep its result."""
    outcome = Outcome()
    code = pytest.main(["-n", "2", "--dist", "loadfile", *sys.argv[1:]], plugins=[outcome])
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| 3.")] if PAGE.is_file() else []
    rows = {key(line): line for line in [*rows, row(outcome)]}
    PAGE.write_text(HEAD + "\n".join(rows[name] for name in sorted(rows)) + "\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
