"""python train.py: see --help, README.md and conf/train.yaml."""

if __name__ == "__main__":  # what processes started from here, which read this file too, need none of
    from cxr_ldm.commands.cli import launch

    launch("train")
