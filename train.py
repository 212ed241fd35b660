"""python train.py: see --help, README.md and conf/train.yaml."""

from typing import Any

from cxr_ldm.cli import launch


def main(cfg: Any, **literal: str) -> None:
    """Everything heavy is imported here, after the command line was read."""
    from cxr_ldm import runs

    runs.train(cfg, **literal)


if __name__ == "__main__":
    launch(main, "train")
