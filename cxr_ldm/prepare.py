"""python -m cxr_ldm.prepare: see --help, README.md and conf/prepare.yaml."""

from cxr_ldm.commands.cli import launch

if __name__ == "__main__":
    launch("prepare")
