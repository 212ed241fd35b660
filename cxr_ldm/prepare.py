"""python -m cxr_ldm.prepare: see --help, README.md and conf/prepare.yaml."""

if __name__ == "__main__":  # workers started from here read this file too, and need nothing of it
    from cxr_ldm.commands.cli import launch

    launch("prepare")
