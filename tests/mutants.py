"""Faults put into the code one at a time: does a test notice? `python tests/mutants.py page=docs/results/mutants.md`.

A mutant is one change of one operator, number, comparison, condition or keyword of a function, drawn at random from all
that there are. The tests that import its module run first, then the commands' whole path, where what `make campaign`
alone runs counts, too; it is killed where one fails or does not end. The repository is copied, so that the working tree
stays as it is; finished mutants are kept in `outputs/mutants` and not run again, but for those that lived by
`again=true`. Progress bars and `strict=` of zip, which change no result, are left out.
"""

import ast
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_ldm import OFFERED

ROOT = Path(__file__).resolve().parents[1]
# places and how many mutants of each
SHARES = {
    "cxr_ldm/diffusion": 14,
    "cxr_ldm/stages": 10,
    "cxr_ldm/networks": 10,
    "cxr_ldm/pipeline.py": 4,
    "cxr_ldm/commands/sample.py": 4,
    "cxr_ldm/evaluation": 6,
    "cxr_ldm/metrics": 12,
}
WIDER = ["tests/cli/test_path.py", "tests/cli/test_decoder.py", "tests/cli/test_images_to_hand_on.py"]
# survivors that no test can kill, by their file and what they become
EQUAL = {
    ("cxr_ldm/evaluation/fitting.py", "pixels.shape[-1] >= self.size"): "images averaged to the size that they have",
}
SECONDS = 900  # a test run that does not end by then killed its mutant
SWAPPED: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        file: relative to the repository.
        place: number of the node in `ast.walk` of the module.
        what: which of the changes that this node allows.
    """

    file: str
    place: int
    what: str

    @property
    def name(self) -> str:
        """Of the file that keeps its result."""
        return re.sub(r"\W+", "_", f"{self.file}_{self.place}_{self.what}")


def changes(node: ast.AST) -> Iterator[str]:
    """What can be changed about a node."""
    if isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in SWAPPED:
        yield "operator"
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield "comparison"
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "number"
    if isinstance(node, (ast.If, ast.IfExp)):
        yield "condition"
    named = isinstance(node, ast.Call) and node.keywords and node.keywords[-1].arg is not None
    if named and ast.unparse(node.func) not in ("tqdm", "zip"):
        yield "keyword"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield "sign"


def mutated(tree: ast.Module, mutant: Mutant) -> tuple[ast.Module, int, str, str]:
    """The module with one change, its line, and the expression before and after."""
    tree = copy.deepcopy(tree)
    node = list(ast.walk(tree))[mutant.place]
    before = ast.unparse(node).split("\n")[0]
    match mutant.what:
        case "operator":
            node.op = SWAPPED[type(node.op)]()
        case "comparison":
            node.ops[0] = SWAPPED[type(node.ops[0])]()
        case "number":
            node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + 0.1
        case "condition":
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case "keyword":
            node.keywords.pop()
        case "sign":
            node.op = ast.UAdd() if isinstance(node.op, ast.USub) else node.op
            if isinstance(node.op, ast.Not):
                node.operand = ast.UnaryOp(ast.Not(), node.operand)
    return tree, node.lineno, before, ast.unparse(node).split("\n")[0]


def sites(place: str) -> list[Mutant]:
    """All mutants of the functions of a file or of a folder's files; docstrings, defaults and annotations are none."""
    path = ROOT / place
    found = []
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for statement in function.body
            for node in ast.walk(statement)
        }
        for number, node in enumerate(ast.walk(tree)):
            if id(node) in inside:
                found += [Mutant(str(file.relative_to(ROOT)), number, what) for what in changes(node)]
    return found


def tests_of(file: str) -> list[str]:
    """The module itself for its doctests, and the tests that import it or a helper of theirs that does."""
    module = file.removesuffix(".py").replace("/", ".")
    package, _, last = module.rpartition(".")
    ways = [re.escape(module), rf"from {re.escape(package)} import [^\n]*\b{last}"]
    ways += [rf"from cxr_ldm import [^\n]*\b{name}" for name, place in OFFERED.items() if place == module]
    pattern = re.compile("|".join(rf"\b{way}\b" for way in ways))
    texts = {
        path: path.read_text(encoding="utf-8")
        for folder in ("unit", "reference")
        for path in sorted((ROOT / "tests" / folder).rglob("*.py"))
    }
    importing = {path for path, text in texts.items() if pattern.search(text)}
    for helper in [path for path in importing if not path.name.startswith("test_")]:
        importing |= {path for path, text in texts.items() if f"from {helper.stem} import" in text}
    return [file, *(path.relative_to(ROOT).as_posix() for path in texts if path in importing and "test_" in path.name)]


def noticed(tests: list[str], tree: Path, marks: str = "not fuzz and not campaign") -> str | None:
    """The first test that fails, "does not end", or None."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-m", marks, *tests]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "does not end"
    if done.returncode in (0, 5):  # 5: there is no test in the files
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1] if failed else "cannot be imported"


def judge(mutant: Mutant, tree: Path) -> dict[str, object]:
    """Run the tests on the mutant; the record that is kept."""
    path = tree / mutant.file
    whole = path.read_text(encoding="utf-8")
    changed, line, before, after = mutated(ast.parse(whole), mutant)
    path.write_text(ast.unparse(changed), encoding="utf-8")
    try:
        killer = noticed(tests_of(mutant.file), tree) or noticed(WIDER, tree, "not fuzz")
    finally:
        path.write_text(whole, encoding="utf-8")
    return {"file": mutant.file, "line": line, "before": before, "after": after, "killed by": killer}


def main() -> None:
    """Judge a sample of mutants and write the page."""
    options = dict(argument.split("=", 1) for argument in sys.argv[1:])
    seed, page = int(options.pop("seed", 0)), options.pop("page", None)
    only, again = options.pop("only", ""), options.pop("again", "false") == "true"
    if options:
        sys.exit(f"error: {', '.join(options)}: known are seed=, only=, again= and page=.")
    kept = ROOT / "outputs" / "mutants" / str(seed)
    kept.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    chosen = [mutant for place, count in SHARES.items() for mutant in draw.sample(sites(place), count)]
    chosen = [mutant for mutant in chosen if only in mutant.file]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / ROOT.name
        files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in files.splitlines():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tree / name)
        os.symlink(ROOT.parent / "shared", tree.parent / "shared")
        for number, mutant in enumerate(chosen, start=1):
            record = kept / f"{mutant.name}.json"
            known = json.loads(record.read_text()) if record.exists() else None
            if known is None or (again and known["killed by"] is None):
                found = judge(mutant, tree) | {"lived": known is not None}
                record.write_text(json.dumps(found, indent=1))
            result = json.loads(record.read_text())
            print(
                f"{number}/{len(chosen)} {result['file']}:{result['line']} {result['before'][:60]!r} -> "
                f"{result['after'][:60]!r}: {result['killed by'] or 'SURVIVES'}",
                flush=True,
            )
    if page:
        results = [json.loads((kept / f"{mutant.name}.json").read_text()) for mutant in chosen]
        Path(page).write_text(written(results, seed), encoding="utf-8")


def written(results: list[dict[str, Any]], seed: int) -> str:
    """The page."""
    killed = sum(result["killed by"] is not None for result in results)
    at_once = sum(result["killed by"] is not None and not result.get("lived") for result in results)
    since = "" if killed == at_once else f" Tests that were written for those that lived kill {killed - at_once} more:"
    lines = [
        "# Faults that the tests notice",
        "",
        f"Of {len(results)} mutants (drawn with seed {seed}) **{at_once} are killed: {at_once / len(results):.2f}**."
        + (f"{since} {killed / len(results):.2f}." if since else ""),
        "A mutant is one change of an operator, a number, a comparison, a condition or a keyword inside a function.",
        "",
        "| where | mutants | killed |",
        "| --- | ---: | ---: |",
    ]
    for place in SHARES:
        part = [result for result in results if result["file"].startswith(place)]
        if part:
            lines.append(f"| `{place}` | {len(part)} | {sum(r['killed by'] is not None for r in part)} |")
    lines += ["", "## Survivors", "", "| where | before | after | changes nothing |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{r['file']}:{r['line']}` | `{r['before'][:80]}` | `{r['after'][:80]}` "
        f"| {next((why for (file, after), why in EQUAL.items() if file == r['file'] and after in r['after']), '')} |"
        for r in results
        if r["killed by"] is None
    ]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    lines += ["", f"`python tests/mutants.py seed={seed} page=docs/results/mutants.md`, commit {commit.strip()}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
