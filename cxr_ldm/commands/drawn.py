"""What a call of sample.py drew, as files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional

import cxr_ldm
from cxr_ldm import artifacts
from cxr_ldm.imaging.dicom import Study, write_dicom
from cxr_ldm.imaging.differences import coloured, difference
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.grids import KEY, save_grid, to_uint8
from cxr_ldm.imaging.provenance import provenance, save_png
from cxr_ldm.imaging.signature import Signer
from cxr_ldm.text.reading import Reading

DIFFERENCE = "red: brighter, blue: darker"
SUFFIXES = {"png": "png", "dicom": "dcm"}


@dataclass(frozen=True)
class Pairs:
    """What images are compared with: as the given image was, or as the same seeds drew another prompt.

    Attributes:
        images: `[N,1,H,W]`.
        words: for each.
        drawn: whether a model drew them, so that they are written, too.
    """

    images: Tensor
    words: list[str]
    drawn: bool


@dataclass(frozen=True)
class Batch:
    """What a call drew, `[N,1,H,W]`, of which prompt and seed, what a judge says of each, and what stands beside it."""

    images: Tensor
    prompts: list[str]
    seeds: list[int]
    judged: list[dict[str, Any]]
    pairs: Pairs | None


def write(
    folder: Path,
    batch: Batch,
    finish: Finish,
    common: dict[str, Any],
    settings: dict[str, Any],
    columns: int,
    form: str,
    readings: Mapping[str, Reading],
    signer: Signer | None = None,
) -> None:
    """One file and one JSON for each image, and grid.png; the folder appears when all of it is there.

    DICOM files of one call share a study. A difference is a PNG always. A signer signs every PNG.
    """
    images, pairs = finish(batch.images), batch.pairs
    befores = finish(pairs.images) if pairs is not None and pairs.drawn else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with artifacts.building(folder) as partial:
        study = Study.new()
        number = 0

        def save(name: str, image: Tensor, facts: dict[str, Any]) -> None:
            nonlocal number
            path, number = partial / f"{name}.{SUFFIXES[form]}", number + 1
            if form == "dicom":
                write_dicom(path, image, facts, study, number)
            else:
                save_png(path, image, facts)

        rows = zip(images, batch.prompts, batch.seeds, batch.judged, strict=True)
        for index, (image, prompt, seed, judged) in enumerate(rows):
            facts = provenance(prompt=prompt, seed=seed, **readings[prompt].facts(), **common, **judged)
            save(f"{index:04d}", image, facts)
            if befores is not None and pairs is not None:
                facts = provenance(prompt=pairs.words[index], seed=seed, **common)
                save(f"{index:04d}_before", befores[index], facts)
        captions = [f"{prompt} (seed {seed})" for prompt, seed in zip(batch.prompts, batch.seeds, strict=True)]
        software = f"cxr_ldm {cxr_ldm.__version__}"
        facts = {"synthetic": True, "prompts": batch.prompts, "seeds": batch.seeds, **common, "software": software}
        if pairs is None:
            # marked as a whole: the marks of its images are lost where the grid enlarges them
            save_grid(partial / "grid.png", images, min(columns, 8), captions, facts, common.get("watermark", False))
        else:
            unmarked = {key: value for key, value in facts.items() if key not in ("watermark", "label")}
            save_comparison(partial, images, pairs, batch.images, captions, unmarked)
        if signer is not None:
            for path in sorted(partial.glob("*.png")):
                signer.sign(path)
        artifacts.write_record(partial, settings, complete=True)


def save_comparison(
    folder: Path, images: Tensor, pairs: Pairs, raw: Tensor, captions: list[str], facts: dict[str, Any]
) -> None:
    """A picture of each difference, and grid.png with a row for each image: before, after, difference.

    The grid bears no mark, and says so: where an image was given, it shows that as it is.

    Args:
        images: as they are written; `raw`: as they were drawn, whose difference is the model's alone.
    """
    changes = difference(pairs.images, raw)
    for index, change in enumerate(changes):
        chunk = PngInfo()
        stated = facts | {"prompts": [facts["prompts"][index]], "seeds": [facts["seeds"][index]], "difference": True}
        chunk.add_itxt(KEY, json.dumps(stated, ensure_ascii=False))
        picture = Image.fromarray(np.moveaxis(to_uint8(change), 0, -1))
        picture.save(folder / f"{index:04d}_difference.png", pnginfo=chunk)
    if not pairs.drawn:
        facts = facts | {"synthetic": "in part: the first column is the image that was given"}
    side = raw.shape[-1]
    shown = functional.interpolate(images, (side, side), mode="area") if images.shape[-1] != side else images
    cells = torch.stack([coloured(pairs.images), coloured(shown), changes], dim=1).flatten(0, 1)
    words = [word for place, caption in enumerate(captions) for word in (pairs.words[place], caption, DIFFERENCE)]
    save_grid(folder / "grid.png", cells, 3, words, facts)
