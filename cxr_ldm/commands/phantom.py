"""python -m cxr_ldm.data.phantom: generated radiographs with reports, as a collection is published."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_ldm.commands.checking import check
from cxr_ldm.commands.schema import Phantom
from cxr_ldm.data.phantom.files import write_collection
from cxr_ldm.errors import UserError


def main(cfg: DictConfig) -> None:
    """Write the collection."""
    check(cfg, Phantom)
    if cfg.out is None:
        raise UserError("out is not set; name the folder to write, for example out=phantoms.")
    write_collection(Path(str(cfg.out)), cfg.n, cfg.size, cfg.seed, cfg.workers)
    print(f"{cfg.n} studies of {cfg.size} x {cfg.size} in {cfg.out}")
