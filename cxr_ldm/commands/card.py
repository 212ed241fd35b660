"""cxr-ldm card: the model card and the data card of a bundle, from its own files and its measurement."""

from pathlib import Path

from omegaconf import DictConfig

from cxr_ldm import naming
from cxr_ldm.bundle import verify
from cxr_ldm.commands.checking import check
from cxr_ldm.commands.schema import Card
from cxr_ldm.errors import UserError
from cxr_ldm.report.cards.facts import METRICS, facts_of
from cxr_ldm.report.cards.pages import write_cards

STAGES = ("ldm", "distill", "vae", "classifier", "upscaler")


def main(cfg: DictConfig) -> None:
    """Write the cards of the bundle that the config means."""
    check(cfg, Card)
    outputs = Path(cfg.paths.outputs)
    named = cfg.bundle is not None
    chosen = naming.bundle_named(cfg.bundle, outputs, *STAGES) if named else naming.model_bundle(None, outputs)
    bundle = chosen.said()
    verify(bundle)
    evaluation = evaluation_folder(cfg.evaluation, outputs)
    facts = facts_of(bundle, outputs, evaluation, None if cfg.prepared is None else Path(cfg.prepared))
    folder = Path(cfg.out) if cfg.out is not None else outputs / "cards" / facts.name
    for file in write_cards(facts, folder):
        print(f"  {file}")


def evaluation_folder(stated: str | None, outputs: Path) -> Path | None:
    """The folder of an evaluation by its name or its path; None where none is stated."""
    if stated is None:
        return None
    places = [Path(stated), outputs / "evaluation" / stated]
    found = next((place for place in places if (place / METRICS).is_file()), None)
    if found is None:
        raise UserError(f"evaluation={stated} holds no {METRICS}; give the name or the folder of an evaluation.")
    return found
