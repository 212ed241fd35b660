"""cxr-ldm COMMAND …, or python -m cxr_ldm COMMAND …: every command by one name, with or without a clone."""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from cxr_ldm.commands.cli import PROGRAM, launch, one_sentence, spoken, stop

COMMANDS = {
    "prepare": "raw radiographs and reports to a prepared folder",
    "train": "a stage on it: stage=vae, stage=ldm or stage=classifier",
    "evaluate": "what was trained, to metrics.json and a report",
    "sample": 'images of a text: prompt="Right pleural effusion."',
    "export": "a bundle in half precision, or with the guidance that a curve chose",
    "card": "a model card and a data card of a bundle, from what was measured: bundle=NAME",
    "quiz": "a quiz for readers as one file, and what their answers say: teach=true or prepared=FOLDER",
    "benchmark": "a suite of measurements: suite=NAME",
    "phantom": "generated radiographs with reports, as a collection is published",
    "download": "the Indiana collection from its publisher",
    "pack": "a prepared folder as one file, and back",
    "runs": "what was trained and measured: a list, compare A B, rm NAME",
    "verify": "whether image files carry our mark: FILE…",
    "app": "the page in a browser: [bundle=NAME] [paths.outputs=DIR] [app.password=WORD] [app.compile=openvino] "
    "[app.c2pa=FOLDER] [options of streamlit run]",
}


def main() -> None:
    """The command that the first word names, with the words behind it."""
    with one_sentence():
        if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
            print(usage())
            return
        name, rest = sys.argv[1], sys.argv[2:]
        if name not in COMMANDS:
            stop(f"{PROGRAM} knows no command {name}; there are {', '.join(COMMANDS)}.")
        sys.argv = [f"{PROGRAM} {name}", *rest]
        if name == "verify":
            from cxr_ldm.imaging.verify import main as verify

            sys.exit(verify(rest))
        if name == "runs":
            from cxr_ldm.commands.runs import main as runs

            return runs(rest)
        if name == "app":
            if find_spec("streamlit") is None:
                stop("the page needs streamlit; run `pip install 'cxr-ldm[app]'`.")
            page = Path(__file__).resolve().parents[1] / "app" / "main.py"
            os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(page), *for_streamlit(rest)])
        if "--help" not in rest:
            return launch(name)
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                launch(name)
        finally:  # Hydra ends the process once it has helped
            print(spoken(printed.getvalue()), end="")


def for_streamlit(words: Sequence[str]) -> list[str]:
    """The words without those that are ours, which reach the page by its environment; says what it opens."""
    from cxr_ldm import naming
    from cxr_ldm.app import door, library, signing
    from cxr_ldm.networks.compiled import check_backend

    ours = {"bundle": library.BUNDLE, "paths.outputs": library.OUTPUTS}
    ours |= {"app.password": door.PASSWORD, "app.compile": library.COMPILE, "app.c2pa": signing.C2PA}
    for word in words:
        key, _, value = word.partition("=")
        if word == "app.password=":
            stop("app.password= is empty; give a word, or leave it out where nobody else can reach this machine.")
        if key in ours:
            os.environ[ours[key]] = value
    chosen = naming.model_bundle(os.environ.get(library.BUNDLE), library.outputs())
    if os.environ.get(library.COMPILE):
        check_backend(os.environ[library.COMPILE])
    signing.signer()
    chosen.said()
    return [word for word in words if word.partition("=")[0] not in ours]


def usage() -> str:
    """Every command in a line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [f"{PROGRAM} COMMAND [KEY=VALUE …]", "", *lines, "", f"{PROGRAM} COMMAND --help says more of each."]
    )
