"""cxr-ldm quiz: a quiz as one HTML file with its key, and what the answers of its readers say."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig
from tqdm import tqdm

from cxr_ldm import artifacts, naming
from cxr_ldm.artifacts import read_json, write_json, write_text
from cxr_ldm.bundle import load_bundle
from cxr_ldm.commands.schema import Quiz as Declared
from cxr_ldm.commands.settings import check_values, device_of, guidance_of, plain, sampling_of, with_own_sampler
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import run_entry, write_metrics
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.quiz.page import markdown, render
from cxr_ldm.quiz.questions import Kind, Quiz
from cxr_ldm.quiz.score import Scores, read_answers
from cxr_ldm.quiz.sources import Draw, drawing, of_collection, of_phantoms

PAGE, KEY = "quiz.html", "key.json"
REPORT, METRICS = "readers.md", "metrics.json"
NO_MODEL = "none"  # of bundle=: real images alone


def main(cfg: DictConfig) -> None:
    """Write a quiz, or score the answers to one."""
    check_values(cfg, Declared)
    if (cfg.answers is None) != (cfg.key is None):
        raise UserError(f"answers=[FILE,…] and key={KEY} go together; the quiz's folder holds the key.")
    if cfg.answers is not None:
        return score(cfg)
    folder, settings = place(cfg)
    if artifacts.state(folder, settings) == "complete":
        print(f"complete already: {folder}")
    else:
        made = quiz_of(cfg)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with artifacts.building(folder) as partial:
            write_text(partial / PAGE, render(made))
            write_json(partial / KEY, made.key())
            artifacts.write_record(partial, settings, complete=True)
        print(made.facts["images"])
    print(f"  {folder / PAGE}")
    print(f"  {folder / KEY}: the right answers; keep it from the readers")


def place(cfg: DictConfig) -> tuple[Path, dict[str, Any]]:
    """Where the quiz goes, and all that decides it."""
    names = ("kind", "ask", "n", "seed", "teach", "prepared", "bundle", "split", "phantom_size", "guidance", "sampler")
    settings = {name: plain(cfg[name]) if hasattr(cfg[name], "keys") else cfg[name] for name in names}
    settings |= {"ask": list(cfg.ask), "precision": cfg.precision}
    words = ["teach" if cfg.teach else kind_of(cfg), f"n={cfg.n}", f"seed={cfg.seed}"]
    folder = Path(cfg.paths.outputs) / "quiz"
    return naming.place(folder, str(cfg.name or naming.slug(words, settings))), settings


def kind_of(cfg: DictConfig) -> Kind:
    """The kind that is asked for; where none is, single images to teach or without a model, else pairs."""
    if cfg.kind is not None:
        return cast(Kind, cfg.kind)
    return "single" if cfg.teach or cfg.bundle == NO_MODEL else "pair"


def quiz_of(cfg: DictConfig) -> Quiz:
    """Phantoms where the quiz teaches and no collection is named; else real images, and synthetic ones of a model."""
    asked = list(cfg.ask)
    if cfg.teach and cfg.prepared is None:
        told = [each for each in asked if each != "real"]  # no phantom is real
        if cfg.kind == "pair" or not told:
            raise UserError("of phantoms none is real; ask=[finding,side] of them, or name prepared= and a bundle.")
        return of_phantoms(cfg.n, cfg.phantom_size, cfg.seed, told)
    model = None
    if cfg.bundle != NO_MODEL:
        bundle = naming.model_bundle(cfg.bundle, Path(cfg.paths.outputs)).said()
        model = load_bundle(bundle, "ldm", cfg.bundle_packages)
    prepared = collection(cfg, None if model is None else model.info)
    draw: Draw | None = None
    facts: dict[str, Any] = {}
    if model is not None:
        pipeline, cfg = TextToCXR.of(model, str(device_of(cfg))), with_own_sampler(cfg, model.info)
        draw, facts = drawn_by(cfg, pipeline, prepared)
    else:
        asked = [each for each in asked if each != "real"]
    return of_collection(prepared, cfg.split, draw, kind_of(cfg), asked, cfg.n, cfg.seed, cfg.teach, facts)


def collection(cfg: DictConfig, info: Any) -> Prepared:
    """The prepared folder that is named, or that the model was trained on."""
    if cfg.prepared is not None:
        return Prepared(Path(cfg.prepared))
    wanted = (info or {}).get("data", {}).get("fingerprint")
    found = naming.prepared_with(wanted, Path(cfg.paths.outputs))
    if found is None:
        raise UserError("a quiz with real images needs prepared=FOLDER; teach=true shows phantoms and needs none.")
    print(f"real images of {found}, on which the model was trained; split {cfg.split}")
    return Prepared(found)


def drawn_by(cfg: DictConfig, pipeline: TextToCXR, prepared: Prepared) -> tuple[Draw, dict[str, Any]]:
    """Draws by the model as sample.py would, and what the key says of it."""
    sampling = replace(sampling_of(cfg), guidance=guidance_of(cfg, pipeline.guidance))
    bars: list[Any] = []

    def progress(done: int) -> None:
        if not bars:  # only once there is something to draw
            bars.append(tqdm(desc="sampling", unit="image-step"))
        bars[0].update(done)

    how = {"steps": sampling.steps, "sampler": sampling.sampler, "times": sampling.times}
    how |= {"guidance": sampling.guidance, "precision": sampling.precision, "progress": progress}
    facts = {"bundle_sha256": pipeline.sha256, **sampling.facts()}
    return drawing(pipeline, prepared, cfg.seed, **how), facts


def score(cfg: DictConfig) -> None:
    """What the answers say, printed and in a folder beside the key."""
    key = read_json(Path(cfg.key))
    if not isinstance(key, dict) or not {"quiz", "choices", "questions"} <= key.keys():
        raise UserError(f"key={cfg.key} is not the key of a quiz; the quiz's folder holds {KEY}.")
    scores = Scores.of(key, read_answers([Path(path) for path in cfg.answers], key))
    if not scores.answers:
        raise UserError("the files hold no first answer to a question of this quiz.")
    text, metrics = markdown(scores), scores.metrics()
    folder = naming.place(Path(cfg.paths.outputs) / "readers", str(cfg.name or f"quiz-{key['quiz']}"))
    run = run_entry(composed=plain(cfg), bundle_sha256=key.get("bundle_sha256"), seed=cfg.seed, quiz=key["quiz"])
    write_metrics(folder / METRICS, metrics, run)
    write_text(folder / REPORT, text)
    print(text)
    print(f"  {folder / REPORT}\n  {folder / METRICS}")
