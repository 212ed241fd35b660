"""A process in which the libraries are loaded, and which forks for each command: a test does not wait for imports.

Reads requests as lines of JSON and answers each with the exit code of its command. What a command does, prints and ends
with is the same as in a process of its own; only its imports were made before.
"""

import atexit
import gc
import json
import os
import runpy
import sys
import threading
import traceback
import weakref
from importlib import import_module
from typing import Any

from hydra import compose, initialize_config_dir
from remembered import compose_once, remember_files

CANNOT_START = 127
COMMANDS = {"prepare": [], "train": ["stage=ldm"], "sample": [], "evaluate": ["stage=ldm"], "export": []}
# what most commands import only when they come to it
LATER = [
    "hydra._internal.hydra",
    "omegaconf._impl",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pydicom.pixels",
    "transformers.models.bert.modeling_bert",
]


def preload() -> None:
    """What the commands import; nothing here starts a thread, which a fork would not take along."""
    import cxr_ldm.commands.evaluate
    import cxr_ldm.commands.export
    import cxr_ldm.commands.prepare
    import cxr_ldm.commands.sample
    import cxr_ldm.commands.train
    import cxr_ldm.data.phantom.reader  # noqa: F401
    from cxr_ldm.assets import CONF

    for name in LATER:
        import_module(name)
    remember_files(CONF)
    compose_once()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for command, words in COMMANDS.items():
            compose(command, words)

    # torch's libraries would be taken apart at the end of each command
    for each in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        each.atexit = False

    # a collection in a child would write into every object, and so copy all of this process's memory
    gc.collect()
    gc.freeze()


def run(arguments: list[str]) -> int:
    """What `python ARGUMENTS` would do, in this process; its exit code."""
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def child(request: dict[str, Any]) -> None:
    """Take the place of the command's process; does not return."""
    code = CANNOT_START
    try:
        os.environ.update(request["environment"])
        if any(name.startswith("HF_") for name in request["environment"]):  # which are read when it is loaded
            for name in [each for each in sys.modules if each.partition(".")[0] == "huggingface_hub"]:
                del sys.modules[name]
        sys.path[1:1] = filter(None, request["environment"].get("PYTHONPATH", "").split(os.pathsep))
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = run(request["arguments"])
        threading._shutdown()  # type: ignore[attr-defined]  # joins threads as the end of an interpreter does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Serve until the standard input ends."""
    sys.path[0] = os.getcwd()  # as for a script of the project's root
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            child(json.loads(line))
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
