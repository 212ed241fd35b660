"""Names of folders, and finding what an earlier command left."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_ldm import hub
from cxr_ldm.artifacts import RECORD, fingerprint, read_json
from cxr_ldm.assets import ALIASES, KNOWS, MODELS, UPSCALERS, VAES
from cxr_ldm.errors import UserError
from cxr_ldm.register import named

# Already part of a name, or without influence on the result.
SILENT = (
    "stage",
    "data",
    "vae",
    "denoiser",
    "classifier_network",
    "upscaler",
    "paths",
    "name",
    "logger",
    "prepared",
    "vae_bundle",
    "init",
    "classifier",
    "bundle",
    "page",
    "sweep",
    "evaluate",
    "split",
)
# Groups that no training depends on.
UNTRAINED = ("paths", "logger", "hydra", "metrics", "features", "sampler", "guidance", "precision", "compile")
# Any number of processes trains the same run.
SILENT_CHOICES = ("trainer=cpu", "trainer=ddp", "trainer=fsdp")
SILENT_VALUES = (
    "data.root",
    "data.size",
    "workers",
    "verify",
    "prepare.dry_run",
    "trainer.accelerator",
    "trainer.devices",
    "format",
    "trainer.max_minutes",
    "trainer.memory_gb",
    "trainer.checkpointing",
    "trainer.compile",
    "trainer.log_every",
    "training.vae.workers",
    "training.ldm.workers",
    "training.classifier.workers",
    "training.upscaler.workers",
)


def slug(words: Sequence[str], made_by: Any) -> str:
    """Readable words joined by dashes, and six digits of the settings' fingerprint, so that no two settings share it.

    >>> slug(["phantom", "64", "trainer.precision=16"], {"a": 1})
    'phantom-64-precision16-015abd'
    """
    short = [re.sub(r"^[a-z_.]+\.(?=[a-z_]+=)", "", word).replace("=", "") for word in words if word]
    safe = [re.sub(r"[^A-Za-z0-9_.]+", "_", word.rsplit("/", 1)[-1]).strip("_") for word in short]
    # a name must be typeable as name=…, so it holds nothing that Hydra's grammar or a shell would read
    return "-".join(safe)[:80].strip("-._") + "-" + fingerprint(made_by)[:6]


def place(root: Path, name: str) -> Path:
    """The folder of a name below `root`.

    Raises:
        UserError: the name leads out of it, or is none.
    """
    path = root / name
    inner = os.path.relpath(os.path.abspath(path), os.path.abspath(root))
    if inner.split(os.sep)[0] in (os.curdir, os.pardir):
        raise UserError(
            f"name={name} leads out of {root}; give a name, and the place of all outputs by paths.outputs=."
        )
    return path


def override_words(overrides: Sequence[str]) -> list[str]:
    """The overrides of a command line that are worth showing in a name.

    >>> override_words(["stage=ldm", "denoiser=tiny", "trainer.precision=16", "data.root=/x", "experiment=deck"])
    ['deck', 'trainer.precision=16']
    """
    words = []
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~")
        silent = key in SILENT or key in SILENT_VALUES or override in SILENT_CHOICES
        if silent or key.split(".")[0] in UNTRAINED:
            continue
        words.append(override.partition("=")[2] if key == "experiment" else override)
    return sorted(words)  # the same settings have the same name, however they were typed


def complete_runs(folder: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    """Complete runs below `folder` that hold a bundle, with their records, newest first, arms of sweeps behind them."""
    records = [(path.parent, read_json(path)) for path in folder.glob(f"*/{RECORD}")]
    done = [(run, record) for run, record in records if record["complete"] and (run / "bundle").is_dir()]
    done.sort(key=lambda entry: entry[1].get("finished", ""), reverse=True)
    return sorted(done, key=lambda entry: bool(entry[1].get("arm")))


@dataclass(frozen=True)
class Chosen:
    """A bundle that a command or the page takes.

    Attributes:
        words: what is said about it, such as why it was taken.
    """

    folder: Path
    words: str

    def said(self) -> Path:
        """The folder, once the words are printed."""
        print(f"using {self.words}")
        return self.folder


def bundle_named(chosen: str, outputs: Path, *stages: str, key: str = "bundle") -> Chosen:
    """A bundle by a name of the package or of the hub, by its folder or its run's, or by the name of a run.

    Args:
        stages: of which a run may be.
        key: of the setting that names it.

    Raises:
        UserError: it is none of these.
    """
    if chosen.startswith(hub.PREFIX):
        return Chosen(hub.fetched(chosen), f"{chosen} of the hub")
    name = ALIASES.get(chosen, chosen)
    packaged = MODELS | VAES | UPSCALERS
    if name in packaged:
        return Chosen(packaged[name], f"{name} of the package: {KNOWS[name]}")
    places = [Path(chosen), Path(chosen) / "bundle", *(outputs / stage / chosen / "bundle" for stage in stages)]
    found = next((place for place in places if (place / "SHA256SUMS").is_file()), None)
    if found is None:
        raise UserError(
            f"{key}={chosen} is no bundle: it holds no SHA256SUMS; give a run's name, its folder, or bundle/ in that."
        )
    return Chosen(found, str(found))


def model_bundle(chosen: str | None, outputs: Path, data: str | None = None, key: str = "bundle") -> Chosen:
    """The model that is taken: the one named; else the newest run, arms of sweeps last; else the package's.

    Commands, the page and Python choose by this one rule.

    Args:
        chosen, key: as of `bundle_named`.
        data: name or kind of the data that the model must have been trained on; None for any.

    Raises:
        UserError: what was chosen is no bundle, or no run is on these data.
    """
    if chosen is not None:
        return bundle_named(chosen, outputs, "ldm", key=key)
    if data is not None or complete_runs(outputs / "ldm"):
        return newest_bundle(outputs, "ldm", data)
    name = next(iter(MODELS))
    return Chosen(MODELS[name], f"{name} of the package, as {outputs} holds no trained model yet: {KNOWS[name]}")


def newest_bundle(outputs: Path, stage: str, data: str | None, needed: Mapping[str, Any] | None = None) -> Chosen:
    """As `newest`, where there must be one.

    Raises:
        UserError: there is none; names the command that makes it.
    """
    found = newest(outputs, stage, data, needed)
    if found is not None:
        return found
    folder, on = outputs / stage, f" on {data}" if data else ""
    others = {
        record["data"] + ("" if fits(record, needed) else f" with other {' and '.join(needed or {})} settings")
        for _, record in complete_runs(folder)
    }
    there = f" (there are runs on {', '.join(sorted(others))})" if others else ""
    raise UserError(
        f"no complete run of stage {stage}{on} in {folder}{there}; make it by `python train.py stage={stage}` "
        "with the same data=…, experiment=… and model options, or name a bundle."
    )


def newest(outputs: Path, stage: str, data: str | None, needed: Mapping[str, Any] | None = None) -> Chosen | None:
    """Bundle of the newest complete run of `stage`; None without one.

    Args:
        data: name or kind of the data that it was trained on; None for any.
        needed: settings that the run must have been made with, e.g. the VAE that the command line chose.
    """
    for run, record in complete_runs(outputs / stage):
        bundle = run / "bundle"
        if fits(record, needed) and (data in (None, record["data"]) or data == kind_of(bundle)):
            return Chosen(bundle, f"{bundle} (the newest complete run of stage {stage} on {record['data']})")
    return None


def fits(record: Mapping[str, Any], needed: Mapping[str, Any] | None) -> bool:
    """Whether a run was made with these settings."""
    return all(named(record["settings"].get(key)) == named(value) for key, value in (needed or {}).items())


def kind_of(bundle: Path) -> str | None:
    """Kind of the data that a bundle was trained on, as `data=` names them."""
    kind: str | None = read_json(bundle / "config.json")["info"].get("data", {}).get("kind")
    return kind


def prepared_with(fingerprint: str | None, outputs: Path) -> Path | None:
    """The prepared folder of exactly this content below `outputs`; None where there is none, or nobody knows which.

    The original comes before one that was packed, which has no test images.
    """
    if fingerprint is None:
        return None
    records = ((path.parent, read_json(path)) for path in sorted((outputs / "prepared").glob(f"*/{RECORD}")))
    same = (
        ("packed" in record, folder)
        for folder, record in records
        if record["complete"] and record["fingerprint"] == fingerprint
    )
    return min(same, default=(False, None))[1]
