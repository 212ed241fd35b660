"""python evaluate.py images=…: images from any generator against real ones, by the same measures as our own models."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cxr_ldm import artifacts, naming
from cxr_ldm.bundle import bundle_sha256
from cxr_ldm.commands.measuring import (
    cache_of,
    collection_of,
    extractors_recorded,
    feature_sets_of,
    judge_of,
    measures_of,
    with_classifier,
)
from cxr_ldm.commands.settings import filled, overrides, plain
from cxr_ldm.data.pictures import Pictures, listed, read_pictures, with_prompts
from cxr_ldm.data.prepared.folder import MANIFEST, Prepared
from cxr_ldm.data.prepared.making import prepare as prepare_folder
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers import raw_files
from cxr_ldm.data.readers.files import FilesReader
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation import judge as judging
from cxr_ldm.evaluation.scoring import Scoring, Training, bench_row, difference
from cxr_ldm.evaluation.splits import measured_split, recorded
from cxr_ldm.metrics import results
from cxr_ldm.metrics.distances.paired import corrected
from cxr_ldm.report import html as report_html
from cxr_ldm.report import markdown as report_page
from cxr_ldm.report import terminal as report

PREFIX = "prepared:"
SIZE = 256  # of real images that are a folder, where size= says nothing else
EVERY = 10**9  # metrics.n where the command line says nothing: all images
BENCH, TABLE = "chexgenbench.json", "generators.md"
NO_TRAINING = "trained_on=FOLDER|prepared:NAME, the images that the generator was trained on, and they are looked for"
NO_PROMPTS = "prompts=FILE.csv, or a column of them in the CSV of images"


def score(cfg: DictConfig) -> Path:
    """Measure each set of images; the folder of the last, or of the comparison where there are several.

    Raises:
        UserError: a set cannot be read, `real` is not named, or something is asked for that needs a model.
    """
    refuse(cfg)
    prepared = collection(cfg, str(cfg.real), "test", "real")
    cfg = filled(cfg, split=measured_split(cfg.split, False))
    if not len(prepared.rows(cfg.split)):
        raise UserError(f"{prepared.folder} has no image in the split {cfg.split}; choose another by split=val.")
    cfg = with_classifier(cfg, "ldm", prepared)
    training = None
    if cfg.trained_on is not None:
        source = collection(cfg, str(cfg.trained_on), "train", "trained_on")
        training = Training(source, "train")
    measures = measures_of(cfg)
    if not any(word.startswith(("metrics.n=", "metrics=")) for word in overrides()):
        measures = replace(measures, n=EVERY)
    data = collection_of(cfg, prepared)
    scoring = Scoring(data, feature_sets_of(cfg, prepared), measures, training, judge_of(cfg))
    sets = {name: pictures_of(cfg, source, prepared) for name, source in sources(cfg).items()}
    folders = {name: scored(cfg, scoring, name, pictures, len(sets) > 1) for name, pictures in sets.items()}
    return compared(cfg, scoring, sets, folders) if len(sets) > 1 else next(iter(folders.values()))


def refuse(cfg: DictConfig) -> None:
    """Raises UserError where `real` is not there, or a key is of models."""
    if cfg.real is None:
        raise UserError("images= needs real=prepared:NAME or real=FOLDER, the real images that they are compared with.")
    for key in ("bundle", "compare", "stage"):
        if cfg.get(key) is not None:
            raise UserError(f"{key}= is of a model, and images= are measured without one; leave {key}= out.")
    if cfg.metrics.curves is not None or cfg.metrics.references or cfg.metrics.synthetic:
        raise UserError("metrics=full, guidance and page draw images by a model; images= takes metrics=default.")


def sources(cfg: DictConfig) -> dict[str, Path]:
    """Names of the sets and where they are: one path, a list of them, or a mapping of names."""
    given = plain(cfg.images) if OmegaConf.is_config(cfg.images) else cfg.images
    if isinstance(given, Mapping) and given:
        return {str(name): Path(place) for name, place in given.items()}
    places = [Path(place) for place in (given if isinstance(given, list) else [given])]
    if not places:
        raise UserError("images=[] names no set of images.")
    names = [place.stem or place.name for place in places]
    if len(set(names)) < len(names):
        raise UserError(f"images= names {', '.join(names)}; give sets of one name others by images={{NAME: PATH, …}}.")
    return dict(zip(names, places, strict=True))


def collection(cfg: DictConfig, named: str, split: Split, key: str) -> Prepared:
    """A prepared folder by its name or place, or a folder of images, prepared with all of them in one split.

    Raises:
        UserError: it is neither.
    """
    root = Path(cfg.paths.outputs) / "prepared"
    if named.startswith(PREFIX):
        name = named.removeprefix(PREFIX)
        place = next((each for each in (Path(name), root / name) if (each / MANIFEST).is_file()), None)
        if place is None:
            raise UserError(f"{key}={named}: neither {name} nor {root / name} is a prepared folder.")
        return Prepared(place, cfg.verify)
    folder = Path(named)
    if (folder / MANIFEST).is_file():
        return Prepared(folder, cfg.verify)
    if not folder.is_dir():
        raise UserError(f"{key}={named} is no folder; give a folder of images, or {PREFIX}NAME of a prepared one.")
    reader = FilesReader(folder, split, folder.name)
    target = Target(cfg.size or SIZE, cfg.fit)
    # a folder that has changed since is prepared anew, beside what it was
    made_by = {**reader.settings(), "root": str(folder.resolve()), "files": raw_files.stat(reader.files())}
    name = naming.slug([folder.name, str(target.size), split], made_by)
    made = prepare_folder(
        reader,
        naming.place(root, name),
        target,
        name=name,
        kind="files",
        splits={"seed": 0, "val": 0.0, "test": 0.0},
        workers=cfg.workers,
        verify=cfg.verify,
    )
    left_out = len(reader.files()) - len(made)
    if left_out:
        print(f"{key}: {left_out} of {len(made) + left_out} images were left out; {made.folder}/rejected.csv says why")
    return made


def pictures_of(cfg: DictConfig, source: Path, prepared: Prepared) -> Pictures:
    """One set of images, at the size of the real ones and fitted into a square as they were."""
    cache = cache_of(cfg)
    items = listed(source, cache)
    if cfg.prompts is not None:
        items = with_prompts(items, Path(cfg.prompts))
    fit = artifacts.read_record(prepared.folder)["settings"].get("fit", "pad")
    return read_pictures(items, prepared.size, fit, cache, cfg.unreadable == "skip", cfg.workers)


def scored(cfg: DictConfig, scoring: Scoring, name: str, pictures: Pictures, several: bool) -> Path:
    """Measure one set into a folder of its own, which is returned; print the table and the paths."""
    prepared, training = scoring.data.prepared, scoring.training
    settings = stated(cfg, scoring) | known(pictures)
    chosen = f"{cfg.name}-{name}" if cfg.name and several else cfg.name
    words = ["images", *recorded(cfg.split).values(), name, prepared.name]
    folder = naming.place(Path(cfg.paths.outputs) / "evaluation", str(chosen or naming.slug(words, settings)))
    if artifacts.state(folder, settings) == "complete":
        print(f"complete already: {folder}")
    else:
        print(f"{name}: {len(pictures.images)} images against {len(scoring.data.rows)} real ones of {prepared.name}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with artifacts.building(folder) as partial:
            metrics = scoring.measure(pictures, partial)
            run = results.run_entry(
                composed=OmegaConf.to_container(cfg, resolve=False),
                bundle_sha256=None,
                seed=cfg.seed,
                stage=f"images ({name})",
                data={"name": prepared.name, "images": len(prepared), "size": prepared.size},
                split=cfg.split,
                images={"count": len(pictures.images), "sizes": pictures.sizes, "fingerprint": pictures.fingerprint},
                unreadable=pictures.skipped,
                trained_on=None if training is None else training.prepared.name,
                not_measured=not_measured(scoring, pictures),
            )
            results.write_metrics(partial / "metrics.json", metrics, run)
            captions = "given" if pictures.prompts is not None else "none"
            content = results.read_metrics(partial / "metrics.json")
            row = bench_row(content, list(scoring.sets.extractors), name, captions)
            artifacts.write_json(partial / BENCH, [row])
            report_html.write_html(partial)
            artifacts.write_record(partial, settings, complete=True, finished=artifacts.now())
    report.print_table(results.read_metrics(folder / "metrics.json"))
    if cfg.page and not several:
        print(f"  {report_page.write_page(folder, Path(cfg.page))}")
    for file in ("metrics.json", "report.html", "grid.png", BENCH):
        print(f"  {folder / file}")
    return folder


def compared(cfg: DictConfig, scoring: Scoring, sets: Mapping[str, Pictures], folders: Mapping[str, Path]) -> Path:
    """All sets in one table, and for each pair of them the difference of their KID; the folder of both."""
    rows = {name: results.read_metrics(folder / "metrics.json") for name, folder in folders.items()}
    settings = stated(cfg, scoring) | {"sets": {name: known(pictures) for name, pictures in sets.items()}}
    words = ["images", *recorded(cfg.split).values(), f"{len(sets)}_sets", scoring.data.prepared.name]
    folder = naming.place(Path(cfg.paths.outputs) / "evaluation", str(cfg.name or naming.slug(words, settings)))
    names = list(sets)
    if artifacts.state(folder, settings) != "complete":
        differences: dict[str, results.Metric] = {}
        for place, one in enumerate(names):
            for two in names[place + 1 :]:
                found = difference(scoring, sets[one], sets[two])
                differences |= {f"{key}_{one}_less_{two}": metric for key, metric in found.items()}
        with artifacts.building(folder) as partial:
            run = results.run_entry(
                composed=OmegaConf.to_container(cfg, resolve=False),
                bundle_sha256=None,
                seed=cfg.seed,
                stage="several sets of images",
                data={"name": scoring.data.prepared.name, "size": scoring.data.prepared.size, "images": 0},
                split=cfg.split,
                evaluations={name: place.name for name, place in folders.items()},
                not_measured={},
            )
            results.write_metrics(partial / "metrics.json", corrected(differences), run)
            table = [artifacts.read_json(place / BENCH)[0] for place in folders.values()]
            artifacts.write_json(partial / BENCH, table)
            artifacts.write_text(partial / TABLE, generators(rows, list(scoring.sets.extractors)))
            artifacts.write_record(partial, settings, complete=True, finished=artifacts.now())
    print((folder / TABLE).read_text(encoding="utf-8"))
    report.print_table(results.read_metrics(folder / "metrics.json"))
    for file in ("metrics.json", TABLE, BENCH):
        print(f"  {folder / file}")
    return folder


def generators(rows: Mapping[str, Mapping[str, Any]], extractors: list[str]) -> str:
    """A Markdown table with a row for each set."""
    first = extractors[0]
    keys = [f"{kind}_{name}" for name in extractors for kind in ("kid", "fid")]
    keys += [f"{kind}_{first}" for kind in ("precision", "recall", "density", "coverage")]
    keys += [f"copies_excess_{first}", "near_copies", "auroc_mean", "pairwise_ssim", "sharpness_ratio"]
    keys = [key for key in keys if any(key in content for content in rows.values())]
    lines = [f"| images | n | {' | '.join(keys)} |", "| --- |" + " ---: |" * (len(keys) + 1)]
    for name, content in rows.items():
        cells = " | ".join(report.cell(content.get(key)) for key in keys)
        lines.append(f"| {name} | {content['run']['images']['count']} | {cells} |")
    return "\n".join(lines) + "\n"


def stated(cfg: DictConfig, scoring: Scoring) -> dict[str, Any]:
    """What decides every figure beside the images."""
    training = scoring.training
    judge = {"classifier": bundle_sha256(Path(cfg.classifier))} if cfg.get("classifier") else {}
    return {
        "real": scoring.data.prepared.identity,
        "training": None if training is None else training.prepared.identity,
        "features": extractors_recorded(cfg),
        "n": scoring.measures.n,
        "floor_repeats": scoring.measures.floor_repeats,
        "neighbours": scoring.measures.neighbours,
        "seed": cfg.seed,
        **recorded(cfg.split),
        **judge,
    }


def known(pictures: Pictures) -> dict[str, Any]:
    """By what a set is found again: its files and its prompts."""
    return {
        "images": pictures.fingerprint,
        "prompts": None if pictures.prompts is None else digest(pictures.prompts),
    }


def digest(prompts: list[str]) -> str:
    """Of texts in their order."""
    return hashlib.sha256("\0".join(prompts).encode()).hexdigest()[:16]


def not_measured(scoring: Scoring, pictures: Pictures) -> dict[str, str]:
    """What the report could hold and does not, and why."""
    missing = {}
    if scoring.training is None:
        missing["copies of training images"] = f"name them by {NO_TRAINING}"
    if pictures.prompts is None:
        missing["AUROC by finding"] = f"no prompts are known: {NO_PROMPTS}"
    elif scoring.judge is None:
        missing["AUROC by finding"] = judging.NONE
    return missing
