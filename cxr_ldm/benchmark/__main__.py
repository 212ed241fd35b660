"""python -m cxr_ldm.benchmark: see --help and conf/benchmark.yaml."""

from cxr_ldm.commands.cli import launch

if __name__ == "__main__":
    launch("benchmark")
