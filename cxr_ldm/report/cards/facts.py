"""What a card is written from: a bundle, a metrics.json of exactly these weights, and the manifest behind them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cxr_ldm import naming
from cxr_ldm.artifacts import RECORD, read_json, read_record
from cxr_ldm.assets import CARDS, MODELS, UPSCALERS, VAES
from cxr_ldm.bundle import bundle_sha256, read_config
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import read_metrics
from cxr_ldm.register import named
from cxr_ldm.report.cards.people import people_of
from cxr_ldm.report.html import section_of, table

METRICS, PEOPLE, WORST, READERS = "metrics.json", "people.json", "worst.png", "readers"
PACKAGED = MODELS | UPSCALERS | VAES
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Facts:
    """All that a card says comes from here.

    Attributes:
        name: of the model.
        config_json: content of the bundle's config.json.
        sha256: of the bundle.
        content: of the metrics.json that measured these weights; None where none is at hand.
        evaluation: what it is called; None as above.
        people: in the collection that the model was trained on, as of `people_of`; None where that is not here.
        record: of the training run; None where its folder is not here.
        readers: quizzes of these weights by name, with the content of their metrics.json (see `cxr_ldm.quiz`).
        worst: a picture of the images that are least like a real one; None where there is none to be shown.
    """

    name: str
    config_json: Mapping[str, Any]
    sha256: str
    content: Mapping[str, Any] | None = None
    evaluation: str | None = None
    people: Mapping[str, Any] | None = None
    record: Mapping[str, Any] | None = None
    worst: Path | None = None
    readers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """As of a bundle: "vae", "ldm", "classifier" or "upscaler"."""
        return str(self.config_json["kind"])

    @property
    def info(self) -> Mapping[str, Any]:
        """`info` of config.json."""
        return self.config_json["info"]

    @property
    def run(self) -> Mapping[str, Any]:
        """The entry "run" of metrics.json; empty where nothing was measured."""
        return self.content["run"] if self.content else {}

    @property
    def sampling(self) -> Mapping[str, Any]:
        """How the measured images were sampled; empty where nothing was measured, or nothing drawn."""
        found = [entry["settings"] for name, entry in (self.content or {}).items() if name != "run"]
        drawn: Mapping[str, Any] = next((each["sampling"] for each in found if "sampling" in each), {})
        return named(drawn)

    @cached_property
    def figures(self) -> list[dict[str, Any]]:
        """Rows of text of all that was measured, those of real images in the column `real`; see `report.html.table`."""
        return table(self.content) if self.content else []

    def of_section(self, *titles: str) -> list[dict[str, Any]]:
        """The rows that stand in these sections of a report."""
        return [row for row in self.figures if section_of(row["name"]) in titles]


def facts_of(bundle: Path, outputs: Path, evaluation: Path | None = None, prepared: Path | None = None) -> Facts:
    """Gather the facts of a bundle.

    Args:
        outputs: below which evaluations and prepared folders are looked for.
        evaluation: folder of one; None takes that of these weights with the most figures, test before validation,
            or the one that came with the package.
        prepared: folder of the training collection; None looks for the one of the fingerprint in the bundle.

    Raises:
        UserError: the evaluation is of other weights, or the prepared folder is another collection.
    """
    sha256, read = bundle_sha256(bundle), read_config(bundle)
    folder = bundle.parent if bundle.name == "bundle" else None
    record = read_record(folder) if folder is not None and (folder / RECORD).is_file() else None
    name = next((name for name, place in PACKAGED.items() if place.resolve() == bundle.resolve()), None)
    called, place, content = measured(bundle, sha256, outputs, evaluation)
    return Facts(
        name or str(read["info"].get("run", read["kind"])),
        read,
        sha256,
        content,
        called,
        people_in(read["info"].get("data", {}), outputs, prepared, name),
        record,
        worst_of(place if place is not None or name is None else CARDS / name, content),
        dict(evaluations_of(sha256, outputs, READERS)),
    )


def measured(
    bundle: Path, sha256: str, outputs: Path, evaluation: Path | None
) -> tuple[str | None, Path | None, dict[str, Any] | None]:
    """Name, folder and content of the measurement that a card shows; None for each where there is none."""
    if evaluation is not None:
        content = read_metrics(evaluation / METRICS)
        if content["run"].get("bundle_sha256") != sha256:
            raise UserError(f"evaluation={evaluation} measured other weights than those of bundle={bundle}.")
        return evaluation.name, evaluation, content
    found: list[tuple[str, Path | None, dict[str, Any]]] = [
        (name, outputs / "evaluation" / name, content) for name, content in evaluations_of(sha256, outputs)
    ]
    shipped = shipped_metrics(bundle)
    if shipped is not None:
        found.append(("shipped with the package", None, shipped))
    if not found:
        return None, None, None
    return max(found, key=lambda each: (each[2]["run"].get("split", "test") == "test", len(each[2])))


def evaluations(outputs: Path, kind: str = "evaluation") -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of each metrics.json of an evaluation; one that breaks the contract is left out.

    Args:
        kind: of the folder below `outputs`: evaluations, or READERS.
    """
    for path in sorted((outputs / kind).glob(f"*/{METRICS}")):
        try:
            yield path.parent.name, read_metrics(path)
        except UserError:
            continue


def evaluations_of(sha256: str, outputs: Path, kind: str = "evaluation") -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of exactly these weights."""
    return (each for each in evaluations(outputs, kind) if each[1]["run"].get("bundle_sha256") == sha256)


def shipped_metrics(bundle: Path) -> dict[str, Any] | None:
    """The measurement that came with a model of the package; None for any other bundle, or where none came."""
    path = bundle.parent / f"{bundle.name}_{METRICS}"
    packaged = bundle.resolve() in {place.resolve() for place in PACKAGED.values()}
    return read_metrics(path) if packaged and path.is_file() else None


def people_in(
    data: Mapping[str, Any], outputs: Path, prepared: Path | None, packaged: str | None
) -> dict[str, Any] | None:
    """Who is in the collection that `data` of a bundle names; None where neither it nor its counts are here.

    Args:
        packaged: name of the bundle where it is one of the package, whose counts came with it.
    """
    wanted = data.get("fingerprint")
    shipped = CARDS / str(packaged) / PEOPLE
    if prepared is None:
        found = naming.prepared_with(wanted, outputs)
        if found is None:
            return read_json(shipped) if packaged is not None and shipped.is_file() else None
        prepared = found
    opened = Prepared(prepared)
    if opened.fingerprint != wanted:
        raise UserError(f"prepared={prepared} is not the collection that the model was trained on.")
    return people_of(opened.manifest)


def worst_of(place: Path | None, content: Mapping[str, Any] | None) -> Path | None:
    """The picture of the worst images, where it shows generated ones alone and none is a copy: cards are published.

    Args:
        place: folder of the evaluation; for a model of the package, that of its cards, with which the picture came.
    """
    picture = None if place is None else place / WORST
    if picture is None or content is None or not picture.is_file():
        return None
    only_made = content["run"].get("stage") == "ldm" and content.get("near_copies", {}).get("value") == 0
    return picture if only_made else None
