"""python -m cxr_ldm.prepare: see --help, README.md and conf/prepare.yaml."""

from typing import Any

from cxr_ldm.cli import launch


def main(cfg: Any) -> None:
    """Everything heavy is imported here, after the command line was read."""
    from cxr_ldm import runs

    runs.prepare(cfg)


if __name__ == "__main__":
    launch(main, "prepare")
