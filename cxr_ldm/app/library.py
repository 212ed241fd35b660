"""What is there to show: bundles, prepared collections and measurements below the output folder, and nothing else."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_ldm import naming
from cxr_ldm.artifacts import RECORD, read_json
from cxr_ldm.assets import MODELS
from cxr_ldm.bundle import bundle_sha256
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import SAMPLER, STEPS
from cxr_ldm.report.cards import facts

# of the environment: the output folder, and the model that stands first
OUTPUTS, BUNDLE = "CXR_LDM_OUTPUTS", "CXR_LDM_BUNDLE"
PACKAGED = {name: f"{name} (of the package)" for name in MODELS}


def outputs() -> Path:
    """The output folder: `outputs` where the page was started, or what CXR_LDM_OUTPUTS names."""
    return Path(os.environ.get(OUTPUTS, "outputs"))


@dataclass(frozen=True)
class Model:
    """A bundle in the list.

    Attributes:
        name: in the list.
        argument: as `bundle=` takes it.
        folder: of the bundle.
        run: folder of the training run, None for a model of the package.
    """

    name: str
    argument: str
    folder: Path
    run: Path | None

    @property
    def guidance(self) -> Guidance:
        """What the model is sampled with where nothing else is stated."""
        return Guidance.of_bundle(read_json(self.folder / "config.json")["info"])

    @property
    def sampling(self) -> tuple[str, int]:
        """Sampler, as conf/sampler names it, and steps that the model is sampled with where nothing else is stated."""
        own = read_json(self.folder / "config.json")["info"].get("sampling", {})
        return own.get("sampler", SAMPLER), own.get("steps", STEPS)

    @property
    def kind(self) -> str:
        """Kind of the data that it was trained on, as `data=` names them."""
        return naming.kind_of(self.folder) or ""


def models(kind: str = "ldm") -> list[Model]:
    """Bundles of complete runs, newest first, then those of the package; only these can be chosen on a page.

    The first is what `sample.py` would take; CXR_LDM_BUNDLE names another, as `bundle=` does.
    """
    runs = [run for run, _ in naming.complete_runs(outputs() / kind)]
    found = [Model(run.name, str(run / "bundle"), run / "bundle", run) for run in runs]
    if kind != "ldm":
        return found
    found += [Model(PACKAGED[name], name, folder, None) for name, folder in MODELS.items()]
    named = os.environ.get(BUNDLE)
    if named is None:
        return found
    folder = naming.bundle_named(named, outputs(), "ldm").folder
    first = [model for model in found if model.folder.resolve() == folder.resolve()]
    return [*(first or [Model(named, named, folder, None)]), *(model for model in found if model not in first)]


def student_of(model: Model) -> Model | None:
    """What draws like a model in a few steps: itself where it is a student, or the first that learnt from it."""
    sha256 = bundle_sha256(model.folder)
    for each in [model, *models()]:
        teacher = read_json(each.folder / "config.json")["info"].get("teacher")
        if teacher is not None and (each == model or teacher == sha256):
            return each
    return None


def collections() -> dict[str, Path]:
    """Complete prepared folders by name."""
    folders = sorted(path.parent for path in (outputs() / "prepared").glob(f"*/{RECORD}"))
    return {folder.name: folder for folder in folders if read_json(folder / RECORD)["complete"]}


def collection_of(model: Model) -> Path | None:
    """The prepared folder that a model was trained on, where it is still there with the same content."""
    wanted = read_json(model.folder / "config.json")["info"]["data"]["fingerprint"]
    return naming.prepared_with(wanted, outputs())


def evaluations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of each metrics.json of an evaluation; one that breaks the contract is left out."""
    return facts.evaluations(outputs())


def measurements(model: Model) -> dict[str, dict[str, Any]]:
    """Evaluations of exactly these weights by name; of a model of the package also the one it was shipped with."""
    found = dict(facts.evaluations_of(bundle_sha256(model.folder), outputs()))
    shipped = facts.shipped_metrics(model.folder) if model.run is None else None
    return found if shipped is None else found | {"shipped with the package": shipped}
