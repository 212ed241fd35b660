"""python -m cxr_ldm.prepare: see --help, README.md and conf/prepare.yaml."""

if __name__ == "__main__":  # what processes started from here, which read this file too, need none of
    from cxr_ldm.commands.cli import launch

    launch("prepare")
