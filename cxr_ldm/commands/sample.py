"""python sample.py: prompts to a folder of images that say what they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from cxr_ldm import artifacts, naming
from cxr_ldm.assets import UPSCALERS
from cxr_ldm.bundle import load_bundle
from cxr_ldm.commands import editing
from cxr_ldm.commands.drawn import Batch, Pairs, write
from cxr_ldm.commands.schema import Sample
from cxr_ldm.commands.settings import (
    asked_data,
    check_values,
    device_of,
    guidance_of,
    plain,
    sampling_of,
    say_precision,
    with_own_sampler,
)
from cxr_ldm.diffusion.samplers import euler
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.editing import Original, pasted
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.judge import Judge
from cxr_ldm.imaging.enlarging import Enlarger
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.presets import presets
from cxr_ldm.imaging.signature import signer_of
from cxr_ldm.pipeline import TextToCXR


def main(cfg: DictConfig, prompt: str | None = None) -> None:
    """Sample from the bundle that the config means."""
    check_values(cfg, Sample)
    bundle = naming.model_bundle(cfg.bundle, Path(cfg.paths.outputs), asked_data(cfg)).said()
    sample(cfg, bundle, cfg.prompt if prompt is None else prompt)


def sample(cfg: DictConfig, bundle: Path, prompt: str | None) -> None:
    """Generate `cfg.n` images for each prompt, with seeds `cfg.seed`, `cfg.seed + 1`, …"""
    finish = finish_of(cfg)
    signer = signer_of(cfg.c2pa)
    if signer is not None and cfg.format != "png":
        raise UserError("c2pa= signs PNG files; leave it out, or write format=png.")
    for key in ("add", "remove", "source"):
        check_text(key, cfg[key])
    texts = read_prompts(prompt, cfg.prompts_file)
    plain_texts, changed = texts, editing.changed(cfg, texts)
    texts = texts if changed is None else changed
    loaded = load_bundle(bundle, "ldm", cfg.bundle_packages)
    pipeline, cfg = TextToCXR.of(loaded, str(device_of(cfg))), with_own_sampler(cfg, loaded.info)
    if cfg.compile is not None:
        pipeline.compile(cfg.compile)
    prompts = [text for text in texts for _ in range(cfg.n)]
    given = editing.given_image(cfg, pipeline.size, len(prompts))
    if given is not None:  # an invented finding must not pass for a patient's
        finish = replace(finish, watermark=True, label=True)
        print(given.said(pipeline))
    finish.check_size(pipeline.size)
    seeds = [cfg.seed + index for _ in texts for index in range(cfg.n)]
    say_precision(cfg)
    patient = {name: value for name, value in cfg.patient.items() if value is not None}
    sampling = replace(sampling_of(cfg), guidance=guidance_of(cfg, pipeline.guidance))
    if given is not None and given.original.source is not None:
        sampling = replace(sampling, sampler=euler)  # whose steps were followed back
    common = {**sampling.facts(), "bundle_sha256": pipeline.sha256}
    if patient:
        common["patient"] = patient
    common |= finish.facts()
    if given is not None:
        common |= given.facts(pipeline)
    settings = {"prompts": texts, "n": cfg.n, "seed": cfg.seed, **common, "sampler": plain(cfg.sampler)}
    if cfg.format != "png":
        settings["format"] = cfg.format
    if signer is not None:
        settings["c2pa"] = signer.name
        print(f"signed by {signer.name} (C2PA)")
    if given is not None:
        settings["given"] = given.digest()
    judge = None
    if changed is not None:
        settings["before"] = plain_texts
    if changed is not None or given is not None:
        judge = editing.judge_for(cfg, loaded)  # before anything is drawn, which a name mistyped would lose
        settings |= {} if judge is None else {"classifier": judge.sha256}
    words = [texts[0][:40] if len(texts) == 1 else f"{len(texts)}_prompts", f"n={cfg.n}", f"seed={cfg.seed}"]
    folder = naming.place(Path(cfg.paths.outputs) / "samples", str(cfg.name or naming.slug(words, settings)))
    readings = {text: pipeline.reading(text) for text in texts}
    for text, reading in readings.items():
        for sentence in reading.sentences():
            print(sentence if len(texts) == 1 else f'"{text[:40]}": {sentence}')
    if artifacts.state(folder, settings) == "complete":
        print(f"complete already: {folder}")
    else:
        befores = None if changed is None else [text for text in plain_texts for _ in range(cfg.n)]
        batch = drawn_batch(pipeline, prompts, seeds, sampling, patient, given, befores, judge, cfg.batch_size)
        write(folder, batch, finish, common, settings, cfg.n, cfg.format, readings, signer)
        for line in editing.table(batch.judged):
            print(line)
    for name in sorted(path.name for path in folder.iterdir() if path.suffix in (".png", ".dcm")):
        print(f"  {folder / name}")


def drawn_batch(
    pipeline: TextToCXR,
    prompts: list[str],
    seeds: list[int],
    sampling: Sampling,
    patient: dict[str, Any],
    given: editing.Given | None,
    befores: list[str] | None,
    judge: Judge | None,
    at_once: int,
) -> Batch:
    """All images of a call, and what they are compared with: the given image, or those of `befores` by their seeds."""
    people = [patient] * len(prompts)
    images = drawn(pipeline, prompts, seeds, sampling, people, at_once, None if given is None else given.original)
    pairs = None
    if given is not None:
        images, pairs = beside_given(given, images)
    elif befores is not None:
        pairs = Pairs(drawn(pipeline, befores, seeds, sampling, people, at_once), befores, drawn=True)
    judged = editing.judgements(judge, images if pairs is None else pairs.images, images)
    return Batch(images, prompts, seeds, judged, pairs)


def beside_given(given: editing.Given, images: Tensor) -> tuple[Tensor, Pairs]:
    """Images that were drawn from a given one, its own pixels put back where that was asked for, and what it was."""
    pixels, hole = given.original.pixels, given.original.hole
    if given.paste and hole is not None:
        images = pasted(images, pixels, hole)
    return images, Pairs(pixels.expand(len(images), -1, -1, -1), ["as it was given"] * len(images), drawn=False)


def finish_of(cfg: DictConfig) -> Finish:
    """What happens to the images before they are written; raises UserError where it cannot.

    Only the result is written: what it was made from is the same command without these options.
    """
    enhance = plain(cfg.enhance) if cfg.get("enhance") else {"name": None, "steps": []}
    name, steps = enhance["name"], enhance["steps"]
    finish = Finish(name, steps, cfg.resolution, cfg.watermark, enlarger=enlarger_of(cfg))
    preset = presets().get(str(name))
    if preset is not None and preset.steps != steps:  # another chain does not go by the preset's name
        finish = replace(finish, enhance=f"{name}, changed")
    return finish


def enlarger_of(cfg: DictConfig) -> Enlarger | None:
    """The network that upscale= names; raises UserError where it is none."""
    if cfg.upscale is None:
        if cfg.upscale_from is not None:
            raise UserError("upscale_from= is of upscale=; add upscale=model, or leave it out.")
        return None
    name = next(iter(UPSCALERS)) if cfg.upscale == "model" else cfg.upscale
    folder = naming.bundle_named(name, Path(cfg.paths.outputs), "upscaler", key="upscale").said()
    return Enlarger.load(folder, name, sampling_of(cfg).precision, cfg.upscale_from)


def read_prompts(prompt: str | None, file: str | None) -> list[str]:
    """The prompt, or the lines of a file that are not empty, without the byte order mark that Windows puts first.

    A line ends at a line feed, a carriage return or both, and at nothing else, such as a form feed within it.

    Raises:
        UserError: neither or both are given, or there is no prompt in them.
    """
    if (prompt is None) == (file is None):
        raise UserError('give either prompt="…" or prompts_file=FILE.')
    if prompt is not None:
        check_text("prompt", prompt)
        return [str(prompt)]
    try:
        lines = Path(str(file)).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompts_file={file} cannot be read as text ({error}).") from None
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise UserError(f"prompts_file={file} holds no prompt; write one a line.")
    return prompts


def check_text(key: str, text: str | None) -> None:
    """Raises UserError where what was typed is no text."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        raise UserError(f"{key} is no valid UTF-8 text, which the files' provenance could not keep.") from None


def drawn(
    pipeline: TextToCXR,
    prompts: list[str],
    seeds: list[int],
    sampling: Sampling,
    patients: list[dict[str, Any]],
    at_once: int,
    original: Original | None = None,
) -> Tensor:
    """Images `[N,1,H,W]` with a progress bar."""
    with tqdm(total=len(prompts) * sampling.steps, desc="sampling", unit="image-step") as bar:
        images = pipeline.draw(
            prompts,
            seeds,
            sampling,
            patients,
            batch_size=at_once,
            progress=lambda done: bar.update(done) and None,
            original=original,
        )
        bar.update(bar.total - bar.n)  # an image that is given may need fewer steps
        return images
