"""python train.py: see --help, README.md and conf/train.yaml."""

from cxr_ldm.commands.cli import launch

if __name__ == "__main__":
    launch("train")
