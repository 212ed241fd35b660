"""Commands as functions: the same settings as on a command line, errors as exceptions, results as values."""

import json
from collections.abc import Mapping
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from cxr_ldm.assets import CONF
from cxr_ldm.commands.cli import as_text, mendable
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import read_metrics


def evaluate(settings: Mapping[str, Any] | None = None, **further: Any) -> dict[str, Any]:
    """`evaluate.py` from Python; what it measured before is read, not measured again.

    Args:
        settings: keys as on the command line, such as `{"metrics.n": 100, "guidance.scale": 2}`.
        further: those without a dot, such as `stage="ldm", bundle="NAME", split="val"`.

    Returns:
        The content of metrics.json: for each figure its value, interval, n and settings, and the run under "run".

    Raises:
        UserError: what the command says in one sentence.

    Example: `evaluate({"metrics.n": 100}, stage="ldm", bundle="NAME")["kid_efficientnet_lite0"]["value"]`.
    """
    from cxr_ldm.commands.evaluate import main

    words = [f"{key}={as_typed(value)}" for key, value in (dict(settings or {}) | further).items()]
    state = HydraConfig.instance()
    before = state.cfg
    try:
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="evaluate"):
            cfg = compose("evaluate", words, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return read_metrics(main(cfg) / "metrics.json")
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(mendable(error)) from error
    finally:
        state.cfg = before


def as_typed(value: Any) -> str:
    """A value as Hydra's grammar reads it.

    >>> print(as_typed(None), as_typed(True), as_typed([1, 2.5]), as_typed({"a": "b"}), as_typed("12"))
    null true [1,2.5] {a:b} '12'
    """
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        return as_text(str(value))
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(as_typed, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_typed(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)
