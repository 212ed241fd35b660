"""python -m cxr_ldm.benchmark: see --help and conf/benchmark.yaml."""

from typing import Any

from cxr_ldm.cli import launch


def main(cfg: Any) -> None:
    """Everything heavy is imported here, after the command line was read; a suite's `_target_` takes it from there."""
    from hydra.utils import call

    from cxr_ldm.compose import check_values
    from cxr_ldm.errors import UserError

    check_values(cfg)
    if cfg.get("suite") is None:
        raise UserError("suite is not set; choose one, such as suite=findings.")
    call(cfg.suite, cfg)


if __name__ == "__main__":
    launch(main, "benchmark")
