"""What is there to show: bundles, prepared collections and measurements below the output folder, and nothing else."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_ldm import naming
from cxr_ldm.artifacts import RECORD, read_json
from cxr_ldm.assets import FIRST, MODELS
from cxr_ldm.bundle import bundle_sha256
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import SAMPLER, STEPS
from cxr_ldm.report.cards import facts

# of the environment: the output folder, the model that stands first, and what networks are compiled by
OUTPUTS, BUNDLE, COMPILE = "CXR_LDM_OUTPUTS", "CXR_LDM_BUNDLE", "CXR_LDM_COMPILE"
FAR = 2.0  # times the distance between two halves of the real images, above which a model is called not good yet
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


def is_student(model: Model) -> bool:
    """Whether a model draws in few steps what another taught it, with guidance as an input."""
    return "teacher" in read_json(model.folder / "config.json")["info"]


def pictures_of(model: Model) -> list[Path]:
    """What a model drew before: of one of the package what comes with it, of a run the grid of its last validation."""
    if model.run is None:
        return sorted((FIRST / model.argument).glob("*.png"))
    return sorted((model.run / "samples").glob("step_*.png"))[-1:]


def quality(model: Model) -> str:
    """What is known of how good a model is: what it saw, and how far its images are from real ones."""
    info = read_json(model.folder / "config.json")["info"]
    said = f"Trained on {info['data']['name']}"
    seen = info.get("settings", {}).get("training", {}).get("images")
    said += f", {seen:,} images seen. " if isinstance(seen, int) else ". "
    for content in measurements(model).values():
        kid = next((name for name in content if name.startswith("kid_") and f"{name}_difference" in content), None)
        if kid is None:
            continue
        ratio = content.get(f"fid_{kid.removeprefix('kid_')}_ratio")
        said += f"KID {content[kid]['value']:.2g} from real images (n = {content[kid]['n']:,})"
        if ratio is None or ratio["value"] <= FAR:
            return said + "."
        return said + f": not good yet, {ratio['value']:.1f} times as far from them as they are from each other."
    return said + "How good it is was not measured: `python evaluate.py stage=ldm bundle=NAME` does."


def collections() -> dict[str, Path]:
    """Complete prepared folders by name."""
    folders = sorted(path.parent for path in (outputs() / "prepared").glob(f"*/{RECORD}"))
    return {folder.name: folder for folder in folders if read_json(folder / RECORD)["complete"]}


def collection_of(model: Model) -> Path | None:
    """The prepared folder that a model was trained on, where it is still there with the same content."""
    wanted = read_json(model.folder / "config.json")["info"]["data"].get("fingerprint")  # a published model has none
    return naming.prepared_with(wanted, outputs())


def evaluations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of each metrics.json of an evaluation; one that breaks the contract is left out."""
    return facts.evaluations(outputs())


def measurements(model: Model) -> dict[str, dict[str, Any]]:
    """Evaluations of exactly these weights by name; of a model of the package also the one it was shipped with."""
    found = dict(facts.evaluations_of(bundle_sha256(model.folder), outputs()))
    shipped = facts.shipped_metrics(model.folder) if model.run is None else None
    return found if shipped is None else found | {"shipped with the package": shipped}
