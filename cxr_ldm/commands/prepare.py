"""python -m cxr_ldm.prepare: a collection of raw files to a prepared folder. No torch here."""

from collections.abc import Mapping

from omegaconf import DictConfig

from cxr_ldm import artifacts
from cxr_ldm.commands.schema import Prepare
from cxr_ldm.commands.settings import check_root, check_values, ending, prepared_data, to_prepare
from cxr_ldm.data.prepared.making import FOREIGN, MADE, checked, dry_run, prepare_part
from cxr_ldm.data.prepared.parts import Part
from cxr_ldm.data.prepared.rejected import said
from cxr_ldm.errors import UserError


def main(cfg: DictConfig) -> None:
    """Prepare, or with `prepare.dry_run=true` say what would be found."""
    check_values(cfg, Prepare)
    if cfg.prepare.dry_run:
        check_root(cfg)
        asked = to_prepare(cfg, cfg.name)
        checked(asked["reader"], asked["target"], asked["splits"], asked["limit"], "stat")
        if cfg.prepare.part is not None:
            Part.named(str(cfg.prepare.part))
        found = dry_run(asked["reader"])
        rejected, examples = found.pop("rejected"), found.pop("examples")
        for key, value in artifacts.flatten(found):
            print(f"{value:>8}  {key}")
        _print_rejected(rejected, examples)
        return
    if cfg.prepare.part is not None:
        if cfg.prepare.join is not None:
            raise UserError("prepare.part= makes one part and prepare.join= joins all of them; give one of the two.")
        part = Part.named(str(cfg.prepare.part))
        made = prepare_part(**to_prepare(cfg, cfg.name), part=part)
        print(f"part {part} is in {made}; prepare.join={part.count} joins all, once each is there.")
        return
    prepared = prepared_data(cfg, cfg.name)
    print(f"{len(prepared)} images of {prepared.size} x {prepared.size}")
    summary = artifacts.read_json(prepared.folder / "summary.json")
    if FOREIGN in summary:
        print(
            f"{summary[FOREIGN]} {FOREIGN}: no finding is read in them, and encoders of English know few of their words"
        )
    _print_rejected(summary["rejected"], summary.get("examples", {}))  # older folders have no examples
    ending(prepared.folder, *MADE)


def _print_rejected(rejected: Mapping[str, int], examples: Mapping[str, str]) -> None:
    for line in said(rejected, examples):
        print(f"rejected: {line}")
