"""python -m cxr_ldm.prepare: a collection of raw files to a prepared folder. No torch here."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from cxr_ldm import artifacts
from cxr_ldm.commands.schema import Prepare
from cxr_ldm.commands.settings import check_root, check_values, ending, prepared_data
from cxr_ldm.data.prepared.making import MADE, dry_run


def main(cfg: DictConfig) -> None:
    """Prepare, or with `prepare.dry_run=true` say what would be found."""
    check_values(cfg, Prepare)
    if cfg.prepare.dry_run:
        check_root(cfg)
        for key, value in artifacts.flatten(dry_run(instantiate(cfg.data.reader))):
            print(f"{value:>8}  {key}")
        return
    prepared = prepared_data(cfg, cfg.name)
    print(f"{len(prepared)} images of {prepared.size} x {prepared.size}")
    for reason, count in artifacts.read_json(prepared.folder / "summary.json")["rejected"].items():
        print(f"  rejected {count}: {reason}")
    ending(prepared.folder, *MADE)
