"""The walls of the house: only commands/ reads a config, and every import runs down."""

import ast
import importlib.util
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from PIL import Image

from cxr_ldm.assets import DEMO
from cxr_ldm.commands.sample import sample
from cxr_ldm.data.batches.images import ImageDataModule
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.table import TableReader

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "cxr_ldm"
# What a parameter with a mapping of anything may be called: all of it is JSON on disk, or what a library hands over.
JSON = {"content", "facts", "made_by", "stated", "entry", "run", "record", "info", "spec", "figure", "composed"}
JSON |= {"architecture", "base", "chosen", "claim", "noise_levels", "needed", "opened", "parts", "patient", "row"}
JSON |= {"processing", "splits", "targets", "trained", "found", "checkpoint", "state_dict", "data", "key"}


def outside():
    """Modules beside commands/."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] != "commands"]


def test_every_import_runs_down():
    """In a process of its own: it sets logging up anew, which closes the streams of other libraries' handlers."""
    program = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_the_figure_of_the_house_is_that_of_its_imports():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    assert house.figure() in page


def walk(title):
    """The functions of a walk as the page lists them."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = page.split(f"{title}:\n\n")[1].split("\n\n")[0]
    return re.findall(r"^\d+\. `([\w.]+)`$", listed, re.MULTILINE)


def called(walker):
    """Functions of the package in the order of their first call, whichever thread they run in."""
    seen = {}

    def note(frame, event, argument):
        if event == "call" and "cxr_ldm" in frame.f_code.co_filename:
            path = Path(frame.f_code.co_filename).relative_to(ROOT).with_suffix("")
            seen.setdefault(f"{'.'.join(path.parts)}.{frame.f_code.co_qualname}")

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        walker()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return list(seen)


def check(title, order):
    listed = walk(title)
    assert len(listed) == 10
    assert [name for name in order if name in listed] == listed


def test_from_a_prompt_to_pixels(tmp_path):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("sample", ["n=1", "sampler.steps=1", f"paths.outputs={tmp_path}", "name=walk"])
    check("From a prompt to pixels", called(lambda: sample(cfg, DEMO, "Clear lungs.")))


def test_from_a_file_to_a_batch(tmp_path):
    for number in range(4):
        picture = Image.fromarray(np.full((20, 16), 40 * number, dtype=np.uint8))
        picture.putpixel((3, 3), 255)
        picture.save(tmp_path / f"{number}.png")
    (tmp_path / "table.csv").write_text("file,note\n" + "".join(f"{number}.png,Clear.\n" for number in range(4)))
    reader = TableReader(tmp_path, csv="table.csv", image="file", text="note")

    def walker():
        target, splits = Target(16, "pad", 8, None, False), {"seed": 0, "val": 0.0, "test": 0.0}
        prepared = prepare(reader, tmp_path / "prepared", target, name="walk", splits=splits)
        next(iter(ImageDataModule(prepared, 2, 4, seed=0).train_dataloader()))

    check("From a file to a batch", called(walker))
