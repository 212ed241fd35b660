"""python -m cxr_ldm.benchmark: see --help and conf/benchmark.yaml."""

from typing import Any

from cxr_ldm.cli import launch


def main(cfg: Any) -> None:
    """Everything heavy is imported here, after the command line was read."""
    from cxr_ldm.benchmark.suite import benchmark

    benchmark(cfg)


if __name__ == "__main__":
    launch(main, "benchmark")
