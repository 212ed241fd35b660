"""Settings against what `schema`, `sections` and the annotations of classes declare, before anything heavy."""

import inspect
import json
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter, ValidationError

from cxr_ldm.commands.schema import Declared
from cxr_ldm.commands.sections import RULES, Address
from cxr_ldm.errors import UserError

HYDRAS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
# pydantic's kinds of error, by what the value must be in place of them
MUST: dict[str, str] = {
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("string_type", "path_type"), "must be a text"),
    **dict.fromkeys(("list_type", "tuple_type", "is_instance_of"), "must be a list, such as [a,b]"),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type"),
        "must be keys and values, such as {{key: value}}",
    ),
    "greater_than_equal": "must be {ge:.12g} or more",
    "less_than_equal": "must be {le:.12g} or less",
    "greater_than": "must be above {gt:.12g}",
    "less_than": "must be below {lt:.12g}",
    "predicate_failed": "must be a path, of whose names none is longer than 255 bytes",
    "string_pattern_mismatch": "does not look like what is meant",
    "string_too_short": "must not be empty",
    "too_short": "must name at least {min_length}",
    "too_long": "must name at most {max_length}",
    "literal_error": "is not one of {expected}",
    "extra_forbidden": "is no setting; --cfg job prints those that are",
    "missing": "lacks {}",
}


def check(cfg: DictConfig, command: type[Declared]) -> None:
    """Raises UserError at the first setting that is not what its declaration says, with its key."""
    if "data" in cfg and OmegaConf.is_missing(cfg.data, "root"):  # some commands can do without
        cfg = cfg.copy()
        cfg.data.root = "."
    check_container(OmegaConf.to_container(cfg, resolve=True), OmegaConf.to_container(cfg, resolve=False), command)


def check_container(values: Any, stated: Any, command: type[Declared]) -> None:
    """The same for plain values; `stated` are these before interpolation, which say whose a bad one is."""
    try:
        command.model_validate(values)
    except ValidationError as errors:
        raise UserError(told(values, errors.errors()[0])) from None
    for section in command.nodes:
        for key, node, own in nodes_below(values.get(section), stated.get(section), section):
            check_node(key, node, own)


def nodes_below(value: Any, stated: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    """Every node with its key, outer ones first, and the same as it is stated."""
    if isinstance(value, Mapping) and "_target_" in value:
        yield key, value, stated
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        own = stated[name] if isinstance(stated, Mapping | list) else part
        yield from nodes_below(part, own, f"{key}.{name}")


def check_node(key: str, node: Mapping[str, Any], stated: Any) -> None:
    """Raises UserError where a node names nothing that can be called, or gives it what it does not take."""
    address = node["_target_"]
    try:
        kind(Address).validate_python(address)
    except ValidationError as errors:
        raise UserError(told(address, errors.errors()[0], f"{key}._target_")) from None
    takes, hints, free = parameters(key, address)
    for name, value in node.items():
        if name not in takes and name not in HYDRAS and not free:
            raise UserError(f"{key}.{name} is no setting of {address}; it takes {', '.join(takes)}.")
        if name in hints and value != "???" and not any(True for _ in nodes_below(value, value, "")):
            try:  # as JSON, in which a list may be a tuple
                kind(hints[name]).validate_json(json.dumps(value))
            except ValidationError as errors:
                own = str(stated[name]) if isinstance(stated, Mapping) else ""
                whose = own[2:-1] if own.startswith("${") else f"{key}.{name}"
                raise UserError(told(value, errors.errors()[0], whose)) from None


@cache
def parameters(key: str, address: str) -> tuple[tuple[str, ...], dict[str, Any], bool]:
    """What a node's target takes: names, annotations of those that have one, and whether it takes any other name."""
    try:
        target = get_object(address)
    except ImportError as error:
        raise UserError(f"{key}._target_={address} cannot be imported ({str(error).splitlines()[-1]}).") from None
    takes = inspect.signature(target).parameters
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    return tuple(takes), {name: hint for name, hint in hints.items() if name in takes}, free


@cache
def kind(annotation: Any) -> TypeAdapter[Any]:
    """What a parameter's annotation lets pass."""
    return TypeAdapter(annotation, config=RULES)


def told(values: Any, error: Mapping[str, Any], section: str = "") -> str:
    """The key of the first error, its value and what it must be, of pydantic's account of it.

    >>> told({"n": 0}, {"type": "greater_than_equal", "loc": ("n",), "msg": "…", "ctx": {"ge": 1}}, "metrics")
    'metrics.n=0 must be 1 or more.'
    """
    keys = [section] if section else []
    for part in error["loc"]:  # which also says what kind was tried, where there are several
        if isinstance(values, dict | list) and part in (values if isinstance(values, dict) else range(len(values))):
            keys, values = [*keys, str(part)], values[part]
    what, given = error["type"], error.get("ctx", {})
    if what in ("missing", "extra_forbidden"):
        return f"{'.'.join(keys)} {MUST[what].format(error['loc'][-1])}."
    must = MUST[what].format(**given) if what in MUST else str(error["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(keys)}={'null' if values is None else values} {must.replace(chr(39), '')}."
