"""Names of folders, and finding what an earlier command left."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_ldm.artifacts import RECORD, fingerprint, read_json
from cxr_ldm.assets import KNOWS, MODELS, VAES
from cxr_ldm.errors import UserError
from cxr_ldm.register import named

# Already part of a name, or without influence on the result.
SILENT = (
    "stage",
    "data",
    "vae",
    "denoiser",
    "classifier_network",
    "paths",
    "name",
    "logger",
    "prepared",
    "vae_bundle",
    "classifier",
    "bundle",
    "page",
    "sweep",
    "evaluate",
    "split",
)
# Groups that no training depends on.
UNTRAINED = ("paths", "logger", "hydra", "metrics", "features", "sampler", "guidance")
SILENT_VALUES = (
    "data.root",
    "data.size",
    "workers",
    "verify",
    "prepare.dry_run",
    "trainer.accelerator",
    "format",
    "trainer.max_minutes",
    "trainer.compile",
    "trainer.log_every",
    "training.vae.workers",
    "training.ldm.workers",
    "training.classifier.workers",
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
        if key in SILENT or key in SILENT_VALUES or key.split(".")[0] in UNTRAINED:
            continue
        words.append(override.partition("=")[2] if key == "experiment" else override)
    return sorted(words)  # the same settings have the same name, however they were typed


def complete_runs(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Complete runs below `folder` with their records, newest first."""
    records = [(path, read_json(path)) for path in folder.glob(f"*/{RECORD}")]
    done = [(path.parent, record) for path, record in records if record["complete"]]
    yield from sorted(done, key=lambda entry: entry[1].get("finished", ""), reverse=True)


def bundle_named(chosen: str, outputs: Path, *stages: str, key: str = "bundle") -> Path:
    """A bundle by a name of the package, by its folder or its run's, or by the name of a run of these stages.

    Args:
        key: of the setting that names it.

    Raises:
        UserError: it is none of these.
    """
    if chosen in MODELS | VAES:
        return (MODELS | VAES)[chosen]
    places = [Path(chosen), Path(chosen) / "bundle", *(outputs / stage / chosen / "bundle" for stage in stages)]
    found = next((place for place in places if (place / "SHA256SUMS").is_file()), Path(chosen))
    if not (found / "SHA256SUMS").is_file():
        raise UserError(
            f"{key}={chosen} is no bundle: it holds no SHA256SUMS; give a run's name, its folder, or bundle/ in that."
        )
    if found != Path(chosen):
        print(f"using {found}")
    return found


def sampling_bundle(chosen: str | None, outputs: Path, data: str, kind: str) -> Path:
    """The bundle to sample from: the one chosen, by path or by a name of MODELS, or the newest run on this data.

    Where there is no run yet and no data were named, a model of the package draws; prints what was taken.

    Raises:
        UserError: nothing was chosen, there is no run, and the data are not phantoms.
    """
    trained = any(record["data"] == data for _, record in complete_runs(outputs / "ldm"))
    if chosen is None and kind == "phantom" and not trained:
        chosen = next(iter(MODELS))
    if chosen in MODELS:
        print(f"using {chosen}, a model that comes with the package: {KNOWS[chosen]}")
        return MODELS[chosen]
    if chosen is not None:
        return bundle_named(chosen, outputs, "ldm")
    return newest_bundle(outputs, "ldm", data)


def newest(outputs: Path, stage: str, data: str) -> Path | None:
    """Bundle of the newest complete run of `stage` on the data set named `data`, which is printed; None without one."""
    for run, record in complete_runs(outputs / stage):
        if record["data"] == data:
            print(f"using {run / 'bundle'} (the newest complete run of stage {stage} on {data})")
            return run / "bundle"
    return None


def newest_bundle(outputs: Path, stage: str, data: str, needed: Mapping[str, Any] | None = None) -> Path:
    """Bundle of the newest complete run of `stage` on the data set named `data`; prints which.

    Args:
        needed: settings that the run must have been made with, e.g. the VAE that the command line chose.

    Raises:
        UserError: there is none; names the command that makes it.
    """
    folder = outputs / stage
    others = set()
    for run, record in complete_runs(folder):
        fits = all(named(record["settings"].get(key)) == named(value) for key, value in (needed or {}).items())
        if record["data"] == data and fits:
            print(f"using {run / 'bundle'} (the newest complete run of stage {stage} on {data})")
            return run / "bundle"
        others.add(record["data"] if fits else f"{record['data']} with other {' and '.join(needed or {})} settings")
    there = f" (there are runs on {', '.join(sorted(others))})" if others else ""
    raise UserError(
        f"no complete run of stage {stage} on {data} in {folder}{there}; make it by `python train.py stage={stage}` "
        "with the same data=…, experiment=… and model options, or name a bundle."
    )
