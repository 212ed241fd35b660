"""The walls of the house: only commands/ reads a config, and every import runs down."""

import ast
import re
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cxr_ldm"
# What a parameter with a mapping of anything may be called: all of it is JSON on disk, or what a library hands over.
JSON = {"content", "facts", "made_by", "stated", "entry", "run", "record", "info", "spec", "figure", "composed"}
JSON |= {"architecture", "base", "chosen", "claim", "noise_levels", "needed", "opened", "parts", "patient", "row"}
JSON |= {"processing", "splits", "targets", "trained", "found", "checkpoint", "state_dict", "data"}


def outside():
    """Modules beside commands/."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] != "commands"]


def test_every_import_runs_down(capsys):
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml")) == 0


def test_no_module_beside_the_commands_reads_a_config():
    reads = re.compile(r"^\s*(from|import) (hydra|omegaconf)\b", re.MULTILINE)
    assert [path.name for path in outside() if reads.search(path.read_text(encoding="utf-8"))] == []


def test_no_function_beside_the_commands_takes_a_config():
    taken, loose = [], set()
    for path in outside():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                if argument.arg in ("cfg", "config", "settings", "options"):
                    taken.append(f"{path.name}: {node.name}({argument.arg})")
                kind = ast.unparse(argument.annotation) if argument.annotation else ""
                if kind.split(" |")[0] in ("Mapping[str, Any]", "dict[str, Any]"):
                    loose.add(argument.arg)
    assert taken == []
    assert loose <= JSON
