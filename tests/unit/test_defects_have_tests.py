"""Each of the eleven defects of the project that this one grew out of has a test that names it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@cache
def named() -> dict[str, list[str]]:
    """Defect number -> tests whose name or docstring names it."""
    found: dict[str, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                words = f"{node.name.replace('_', ' ')} {ast.get_docstring(node) or ''}"
                for numbers in re.findall(r"[Dd]efects? ((?:\d+[a-c]?(?:, | and )?)+)", words):
                    for number in re.findall(r"\d+[a-c]?", numbers):
                        found.setdefault(number, []).append(node.name)
    return found


# two of the list hold several faults, each of which has a letter and a test of its own
@pytest.mark.parametrize("number", [*map(str, range(1, 9)), "9a", "9b", "9c", "10a", "10b", "11"])
def test_defect_has_a_test(number):
    assert named().get(number)
