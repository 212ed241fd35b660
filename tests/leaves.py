"""Bad values for every setting, without knowing what any of them means."""

from collections.abc import Iterator
from functools import reduce
from operator import getitem
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from cxr_ldm.commands import schema

VALUES = ("NaN", "-1", "0", "1e30", "''", "word", "[1,2]", "null", "../x", "x" * 300)
# the declaration of each command, and what its config is composed with
COMMANDS: dict[str, tuple[type[schema.Declared], list[str]]] = {
    "train": (schema.Train, ["stage=ldm", "text_encoder=minilm_unfrozen", "vae=sharp", "attributes=patient"]),
    "evaluate": (schema.Evaluate, ["stage=ldm", "metrics=full"]),
    "sample": (schema.Sample, ["enhance=balanced", "sampler=ddim"]),
    "export": (schema.Export, []),
    "prepare": (schema.Prepare, ["data=table", "data.root=."]),
    "benchmark": (schema.Benchmark, ["suite=copies"]),
    "download": (schema.Download, []),
    "pack": (schema.Pack, []),
    "card": (schema.Card, []),
    "quiz": (schema.Quiz, []),
    "phantom": (schema.Phantom, []),
}


def keys_of(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Dotted keys of what is no mapping, or an empty one."""
    for name in node:
        key = f"{prefix}.{name}" if prefix else str(name)
        value = None if OmegaConf.is_missing(node, name) else node[name]
        if isinstance(value, DictConfig) and len(value):
            yield from keys_of(value, key)
        else:
            yield key


def trials(command: str) -> Iterator[tuple[str, str, Any, Any]]:
    """Key, value as it is typed, and all values that a command would find; also as they are before interpolation.

    What is yielded changes with the next trial. Sections that every command shares are tried with train.py alone,
    but for those of which a command builds the parts.
    """
    declared, words = COMMANDS[command]
    tried = set(schema.Command.model_fields) - set(declared.nodes) if command != "train" else set()
    cfg = compose(command, words)
    values, stated = (OmegaConf.to_container(cfg, resolve=resolve) for resolve in (True, False))
    parser = OverridesParser.create()
    typed = {value: parser.parse_override(f"key={value}").value() for value in VALUES}
    for key in keys_of(cfg):
        *sections, name = key.split(".")
        if key.split(".")[0] in tried:
            continue
        places = [reduce(getitem, sections, whole) for whole in (values, stated)]
        before = [place[name] for place in places]
        for value in VALUES:
            for place in places:
                place[name] = typed[value]
            yield key, value, values, stated
        for place, own in zip(places, before, strict=True):
            place[name] = own
