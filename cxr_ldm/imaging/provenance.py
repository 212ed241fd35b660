"""Synthetic images say that they are: provenance beside each image and inside it."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

import cxr_ldm
from cxr_ldm.artifacts import write_json
from cxr_ldm.imaging.grids import KEY, to_uint8


def provenance(
    *, prompt: str, seed: int, steps: int, guidance: float, sampler: str, bundle_sha256: str, **more: Any
) -> dict[str, Any]:
    """What made an image, as DESIGN.md's contract lists it, with `more`, e.g. other settings of the guidance."""
    return {
        "synthetic": True,
        "prompt": prompt,
        "seed": seed,
        "steps": steps,
        "guidance": guidance,
        "sampler": sampler,
        **more,
        "bundle_sha256": bundle_sha256,
        "software": f"cxr_ldm {cxr_ldm.__version__}",
    }


def save_png(path: Path, pixels: Tensor, facts: dict[str, Any]) -> None:
    """Write `png_bytes` to a file, and a JSON of the facts beside it."""
    path.write_bytes(png_bytes(pixels, facts))
    write_json(path.with_suffix(".json"), facts)


def png_bytes(pixels: Tensor, facts: dict[str, Any]) -> bytes:
    """An image `[1,H,W]` in [-1, 1] as an 8-bit PNG that carries `facts`."""
    chunk, buffer = PngInfo(), BytesIO()
    chunk.add_itxt(KEY, json.dumps(facts, ensure_ascii=False))
    Image.fromarray(to_uint8(pixels[0])).save(buffer, "PNG", pnginfo=chunk)
    return buffer.getvalue()


def read_png(file: Path | BytesIO) -> dict[str, Any]:
    """The facts inside a PNG that `save_png` wrote."""
    with Image.open(file) as image:
        return json.loads(image.info[KEY])
