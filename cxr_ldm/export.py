"""python -m cxr_ldm.export: a trained bundle in another form."""

from pathlib import Path
from typing import Any


def main(cfg: Any) -> None:
    """Everything heavy is imported here, after the command line was read."""
    from cxr_ldm import naming
    from cxr_ldm.bundle import save_half, save_with_decoder
    from cxr_ldm.compose import data_name
    from cxr_ldm.errors import UserError

    if cfg.out is None:
        raise UserError("out is not set; name the folder to write, for example out=exported.")
    if cfg.form not in ("half", "full"):
        raise UserError(f"form={cfg.form} cannot be written; form=half and form=full can.")
    if (cfg.decoder is not None) != (cfg.form == "full"):
        raise UserError("decoder= and form=full go together; form=half makes what they wrote smaller.")
    bundle = Path(cfg.bundle or naming.newest_bundle(Path(cfg.paths.outputs), "ldm", data_name(cfg)))
    if cfg.decoder is not None:
        save_with_decoder(bundle, Path(cfg.decoder), Path(cfg.out))
    else:
        save_half(bundle, Path(cfg.out))
    megabytes = sum(file.stat().st_size for file in Path(cfg.out).iterdir()) / 1e6
    print(f"  {cfg.out} ({megabytes:.1f} MB)")


if __name__ == "__main__":
    from cxr_ldm.cli import launch

    launch(main, "export")
