"""python -m cxr_ldm.prepare: see --help, README.md and conf/prepare.yaml."""

from typing import Any

from cxr_ldm.cli import launch


def main(cfg: Any) -> None:
    """Everything heavy is imported here, after the command line was read."""
    from hydra.utils import instantiate

    from cxr_ldm import artifacts
    from cxr_ldm.compose import check_root, check_values, ending, prepared_data
    from cxr_ldm.data.prepare import MADE, dry_run

    check_values(cfg)
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


if __name__ == "__main__":
    launch(main, "prepare")
