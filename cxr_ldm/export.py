"""python -m cxr_ldm.export: see --help, README.md and conf/export.yaml."""

from cxr_ldm.commands.cli import launch

if __name__ == "__main__":
    launch("export")
