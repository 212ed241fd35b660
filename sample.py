"""python sample.py: see --help, README.md and conf/sample.yaml."""

from cxr_ldm.commands.cli import launch

if __name__ == "__main__":
    launch("sample")
