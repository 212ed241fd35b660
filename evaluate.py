"""python evaluate.py: see --help, README.md and conf/evaluate.yaml."""

from cxr_ldm.commands.cli import launch

if __name__ == "__main__":
    launch("evaluate")
