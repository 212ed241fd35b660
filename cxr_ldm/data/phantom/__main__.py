"""python -m cxr_ldm.data.phantom: see --help, README.md and conf/phantom.yaml."""

from cxr_ldm.commands.cli import launch

if __name__ == "__main__":
    launch("phantom")
