"""What every command shares: Hydra, prompts taken literally, and errors as one sentence with exit code 2.

Nothing heavy is imported here, so that --help and a mistyped key answer at once.
"""

import ctypes
import difflib
import errno
import importlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cxr_ldm.assets import CONF
from cxr_ldm.errors import Paused, Terminated, UserError

PROGRAM = "cxr-ldm"
LITERAL = "prompt="
# keys that hold a path, or a template of one, whose signs mean nothing to Hydra
PLACES = {"prepared", "bundle", "vae_bundle", "classifier", "decoder", "prompts_file", "page", "before"}
PLACES |= {"out", "folder", "file", "root", "paths.outputs", "data.root"}
PLACES |= {"image", "mask", "real", "trained_on", "prompts", "evaluation", "c2pa", "key"}
COLUMNS = (
    "csv",
    "table",
    "image",
    "files",
    "pattern",
    "text",
    "patient",
    "study",
    "view",
    "age",
    "sex",
    "source",
    "separator",
)
SAID = {"source", "add", "remove", "guidance.negative"}  # texts of sample.py
LITERALS = PLACES | SAID | {f"data.reader.{column}" for column in COLUMNS}
# keys whose own keys are the user's, such as columns and cells, or which few collections have: Hydra adds those by ++
FREE = re.compile(
    r"data\.reader(\.readers\.\w+)?\."
    r"(values|left_out|turns|beside|parts|needed|stretched|separator|cleaned|patients|weights)[.=]"
)
AGAIN = 75  # sysexits.h: try again later; what a queue is told of a run that is to be started again
NO_ROOM, NO_RIGHT = "free space there, and give the same command again", "make it writable, or choose another place"
IN_THE_WAY = "a file stands where a folder belongs, or a folder where a file does; move it away"
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), NO_ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NO_RIGHT),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST), IN_THE_WAY),
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk cannot read or write it; copy it elsewhere",
}


def launch(name: str) -> None:
    """Compose conf/NAME.yaml with the command line and call `cxr_ldm.commands.NAME.main(cfg)`, imported only then.

    `prompt=…` is taken out before Hydra reads the line, since its grammar gives commas, brackets and
    quotes a meaning; the text reaches `main` as the keyword `prompt`, to the letter.
    """
    literal: dict[str, str] = {}
    if name == "sample":
        literal, sys.argv[1:] = split_literal(sys.argv[1:])
    typed = list(sys.argv)
    sweep = any(word in ("-m", "--multirun") for word in typed)
    sys.argv[1:] = [as_it_stands(word, sweep) for word in typed[1:]]
    # Hydra would print its own report and end with 1; told to raise, it leaves the sentence to us
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # W&B's closing words repeat our tables, and name folders before those have their final names
    os.environ.setdefault("WANDB_SILENT", "true")
    signal.signal(signal.SIGTERM, terminated)
    keep_freed_memory()
    if sweep or any("optuna" in word for word in typed):
        from cxr_ldm.commands.sweeping import register

        register()

    def job(cfg: DictConfig) -> Any:
        sys.argv[:] = typed  # for the records of what was asked
        with one_sentence():  # inside the job: once an error reaches Hydra, it adds a line of its own
            return importlib.import_module(f"cxr_ldm.commands.{name}").main(cfg, **literal)

    with one_sentence():
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next layer, which asks the system for it page by page otherwise.

    Its other limit, above which memory is always the system's, goes no higher than 32 MB. MALLOC_TRIM_THRESHOLD_ of the
    surroundings counts before this; another C library knows no such switch and stays as it is.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**25 - 1)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn errors that the user can mend into one sentence and exit code 2; others keep their traceback."""
    try:
        yield
    except UserError as error:
        stop(str(error))
    except Paused as pause:
        print(pause)
        sys.exit(AGAIN)
    except Terminated:
        print("stopped by SIGTERM; the same command goes on.")
        sys.exit(AGAIN)
    except (HydraException, OmegaConfBaseException) as error:  # some are OSErrors, too, so that those come after
        stop(mendable(error))
    except OSError as error:
        if error.filename is None:
            raise
        stop(of_a_file(error))
    except (KeyboardInterrupt, SystemExit) as error:
        # Lightning turns Ctrl-C during a fit into exit code 1 of its own
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__context__, KeyboardInterrupt):
            raise
        print("\nstopped; the same command goes on.", file=sys.stderr)
        sys.exit(130)


def mendable(error: BaseException) -> str:
    """What Hydra or OmegaConf says, or an object behind them that refused its arguments, as one sentence."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return str(cause)
        if isinstance(cause, OSError) and cause.filename is not None:
            return of_a_file(cause)
        cause = cause.__cause__
    return sentence(error)


def terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM as an exception, so that half-written files are removed; a training replaces this by a gentler end."""
    raise Terminated


def of_a_file(error: OSError) -> str:
    """What the system refused to do with a file, and what helps.

    >>> of_a_file(OSError(errno.ENOSPC, "No space left on device", "/data/outputs"))
    '/data/outputs: no space left on device; free space there, and give the same command again.'
    """
    words = (error.strerror or type(error).__name__).lower()
    path = Path(os.fsdecode(error.filename))
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        path = next((place for place in (path, *path.parents) if place.is_file()), path)
    advice = ADVICE.get(error.errno or 0)
    return f"{path}: {words}{f'; {advice}' if advice else ''}."


def stop(message: str) -> None:
    """Print one sentence on standard error and end with exit code 2."""
    print(f"error: {spoken(message)}", file=sys.stderr)
    sys.exit(2)


def spoken(text: str) -> str:
    """The commands that a text names, as they are called where the package is installed.

    >>> sys.argv[0], before = "cxr-ldm train", sys.argv[0]
    >>> spoken("run `python train.py stage=vae` or `python -m cxr_ldm.prepare`")
    'run `cxr-ldm train stage=vae` or `cxr-ldm prepare`'
    >>> sys.argv[0] = before
    """
    if not sys.argv[0].startswith(PROGRAM):
        return text
    text = re.sub(r"python (train|evaluate|sample)\.py", rf"{PROGRAM} \1", text)
    return re.sub(r"python -m cxr_ldm\.(?:data\.|imaging\.)?(\w+)", rf"{PROGRAM} \1", text)


def split_literal(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Take `prompt=…` out of the arguments.

    >>> split_literal(["n=2", "prompt=a, (b) ${c}"])
    ({'prompt': 'a, (b) ${c}'}, ['n=2'])
    """
    texts = [text.removeprefix(LITERAL) for text in arguments if text.startswith(LITERAL)]
    others = [text for text in arguments if not text.startswith(LITERAL)]
    return ({"prompt": texts[-1]} if texts else {}), others


def as_it_stands(argument: str, sweep: bool = False) -> str:
    """`KEY=VALUE` with the value in quotes that Hydra takes off again, where the key holds a path or a template.

    A key that holds keys of the user's own gets the ++ by which Hydra lets them in beside those that are there.

    What Hydra reads as it stands needs none; `null`, what is quoted already, and in a sweep a list between commas, keep
    their meaning.

    >>> print(as_it_stands("data.root=scans (1), it's {a}=b"))
    data.root='scans (1), it\\'s {a}=b'
    >>> as_it_stands("bundle=null"), as_it_stands("bundle=out/a.b"), as_it_stands("bundle=a,b", sweep=True)
    ('bundle=null', 'bundle=out/a.b', 'bundle=a,b')
    >>> as_it_stands("data.reader.values={view: {X: PA}}"), as_it_stands("data.reader.separator=;")
    ('++data.reader.values={view: {X: PA}}', "++data.reader.separator=';'")
    """
    argument = f"++{argument}" if FREE.match(argument) else argument
    key, found, value = argument.partition("=")
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not found or key.lstrip("+") not in LITERALS or value in ("", "null") or quoted or (sweep and "," in value):
        return argument
    return f"{key}={as_text(value)}"


def as_text(value: str) -> str:
    """A text as Hydra's grammar reads it: in quotes where it would read something else.

    >>> print(as_text("out/a.b"), as_text("12"), as_text("null"), as_text("it's"))
    out/a.b '12' 'null' 'it\\'s'
    """
    if is_read_as(f"key={value}", value):
        return value
    value = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{value}'"


def is_read_as(argument: str, value: str) -> bool:
    """Whether Hydra's grammar finds exactly this text in an argument.

    >>> is_read_as("bundle=out/a.b", "out/a.b"), is_read_as("bundle=12", "12"), is_read_as("bundle=(1)", "(1)")
    (True, False, False)
    """
    try:
        return bool(OverridesParser.create().parse_override(argument).value() == value)
    except HydraException:
        return False


def sentence(error: BaseException) -> str:
    """Hydra's or OmegaConf's message as one line, with the nearest key that exists where one was mistyped."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = ("To append", "full_key:", "object_type=", "reference_type=", "Config search path", "provider=", "See http")
    first, *rest = [line for line in lines if not line.startswith(noise)] or [type(error).__name__]
    text = f"{first} {', '.join(rest)}" if first.endswith(":") or rest[:1] == ["Available options:"] else first
    group = re.search(r"Could not (?:find|load) '(\w+)/", text)
    if group:
        options = sorted(path.stem for path in (CONF / group[1]).glob("[!_]*.yaml"))
        return f"{text.rstrip('.')}; there are {', '.join(options)}."
    near = nearest(text)
    if near:
        return f"{text.rstrip('.')}; did you mean {near}?"
    return f"{text} No such key exists; --cfg job prints those that do." if "not override '" in text else text


def nearest(text: str) -> str | None:
    """The known config key closest to the one that `text` names as unknown."""
    if "not override '" not in text:
        return None
    key = text.split("not override '")[1].split("'")[0]
    found = difflib.get_close_matches(key, set(known_keys()), n=1, cutoff=0.6)
    return f"'{found[0]}'" if found and found[0] != key else None


def known_keys() -> Iterator[str]:
    """Dotted keys of every file in conf/, under the group they belong to."""
    for path in CONF.rglob("*.yaml"):
        group = ".".join(path.relative_to(CONF).parent.parts)
        if group in ("", "experiment"):
            group = ""
        elif group:
            yield group
        yield from (f"{group}.{key}" if group else key for key in leaves(OmegaConf.load(path)))


def leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of a config node, inner ones included."""
    if isinstance(node, DictConfig):
        for key in map(str, node):
            name = f"{prefix}.{key}" if prefix else key
            yield name
            if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
                yield from leaves(node[key], name)
