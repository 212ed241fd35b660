"""python evaluate.py: see --help, README.md and conf/evaluate.yaml."""

from typing import Any

from cxr_ldm.cli import launch


def main(cfg: Any, **literal: str) -> None:
    """Everything heavy is imported here, after the command line was read."""
    from cxr_ldm import runs

    runs.evaluate(cfg, **literal)


if __name__ == "__main__":
    launch(main, "evaluate")
