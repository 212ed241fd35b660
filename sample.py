"""python sample.py: see --help, README.md and conf/sample.yaml."""

if __name__ == "__main__":  # workers started from here read this file too, and need nothing of it
    from cxr_ldm.commands.cli import launch

    launch("sample")
