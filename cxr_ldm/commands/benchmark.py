"""python -m cxr_ldm.benchmark: run a suite, write its metrics.json, print it, and write its page."""

import shlex
import sys
from pathlib import Path

from hydra.utils import call
from omegaconf import DictConfig

from cxr_ldm.commands.schema import Benchmark
from cxr_ldm.commands.settings import check_root, check_values, plain
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import read_metrics, run_entry, write_metrics
from cxr_ldm.report.markdown import publish
from cxr_ldm.report.terminal import print_table


def main(cfg: DictConfig) -> None:
    """A suite is a node of the config with four keys.

    They are `name`, `run` (returns the metrics by name), `headline` (those that are printed) and `page` (makes the
    Markdown page of a metrics.json).
    """
    check_values(cfg, Benchmark)
    if cfg.get("suite") is None:
        raise UserError("suite is not set; choose one, such as suite=findings.")
    check_root(cfg)
    metrics = call(cfg.suite.run)
    path = Path(cfg.paths.outputs) / "benchmark" / cfg.suite.name / "metrics.json"
    command = shlex.join(["python", "-m", "cxr_ldm.benchmark", *sys.argv[1:]])
    write_metrics(path, metrics, run_entry(composed=plain(cfg), bundle_sha256=None, seed=cfg.seed, command=command))
    content = read_metrics(path)
    print_table({name: content[name] for name in cfg.suite.headline if name in content})
    print(f"  {path}")
    if cfg.page:
        publish(Path(cfg.page), call(cfg.suite.page)(content), content["run"])
        print(f"  {cfg.page}")
