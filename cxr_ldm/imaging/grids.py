"""Many images as one picture, with captions."""

import json
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from cxr_ldm.imaging.watermark import mark

KEY = "cxr_ldm"  # of the text chunk that says what a PNG is
LINE = 13  # height in pixels of a caption's line
LARGEST_CELL = 512  # pixels; eight images of 4096 side by side would make a picture that nobody can open


def to_uint8(pixels: Tensor) -> np.ndarray:
    """float `[...]` in [-1, 1] -> uint8 `[...]`, rounded and clamped, never wrapped.

    >>> import torch
    >>> to_uint8(torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5])).tolist()
    [0, 0, 128, 255, 255]
    """
    return ((pixels.float() + 1.0) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def grid(pixels: Tensor, columns: int, captions: Sequence[str] | None = None, cell: int = 160) -> Image.Image:
    """Images `[N,1,H,W]` or `[N,3,H,W]` in [-1, 1], row by row, each scaled to `cell` to 512 pixels, captions below.

    Raises:
        ValueError: another number of captions than of images, which would stand below the wrong ones.
    """
    if captions is not None and len(captions) != len(pixels):
        raise ValueError(f"{len(captions)} captions for {len(pixels)} images")
    scale = max(1, math.ceil(cell / pixels.shape[-1]))
    side = min(scale * pixels.shape[-1], LARGEST_CELL)
    texts = [textwrap.wrap(caption, side // 6)[:3] for caption in captions or [""] * len(pixels)]
    below = LINE * max(len(lines) for lines in texts) + 4
    rows = math.ceil(len(pixels) / columns)
    mode, paper = ("L", 255) if pixels.shape[1] == 1 else ("RGB", (255, 255, 255))
    sheet = Image.new(mode, (columns * (side + 4), rows * (side + below)), paper)
    drawing, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for index, image in enumerate(np.moveaxis(to_uint8(pixels), 1, -1).squeeze(-1 if mode == "L" else ())):
        left, top = index % columns * (side + 4), index // columns * (side + below)
        sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), (left, top))
        for number, line in enumerate(texts[index]):
            drawing.text((left + 2, top + side + LINE * number), line, fill="black", font=font)
    return sheet


def cells(sheet: np.ndarray, columns: int) -> list[np.ndarray]:
    """The pictures uint8 `[side,side]` of a grey `grid` with captions of one line, row by row, without empty places.

    >>> import torch
    >>> sheet = np.asarray(grid(torch.zeros(3, 1, 160, 160), 2, ["a", "b", "c"]))
    >>> [(each.shape, each.min(), each.max()) for each in cells(sheet, 2)] == [((160, 160), 128, 128)] * 3
    True
    """
    side = sheet.shape[1] // columns - 4
    pitch = side + LINE + 4
    tops, lefts = range(0, sheet.shape[0] - side, pitch), range(0, columns * (side + 4), side + 4)
    found = [sheet[top : top + side, left : left + side] for top in tops for left in lefts]
    return [each for each in found if each.min() < 255]


def animate(frames: Sequence[Path], path: Path, milliseconds: int = 600) -> Path:
    """Join pictures of one size into an animated GIF that loops and rests on its last frame; returns its path."""
    pictures = [Image.open(frame).convert("L") for frame in frames]
    durations = [milliseconds] * (len(pictures) - 1) + [4 * milliseconds]
    partial = path.with_name(f".{path.name}.partial")
    pictures[0].save(partial, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    os.replace(partial, path)
    return path


def save_grid(
    path: Path,
    pixels: Tensor,
    columns: int,
    captions: Sequence[str] | None = None,
    facts: Mapping[str, Any] | None = None,
    watermark: bool = False,
) -> Path:
    """Write a grid as PNG that carries `facts` where given, and the invisible mark if it is grey; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chunk = PngInfo()
    if facts is not None:
        chunk.add_itxt(KEY, json.dumps(facts, ensure_ascii=False))
    sheet = grid(pixels, columns, captions)
    if watermark and sheet.mode == "L":
        sheet = Image.fromarray(mark(np.asarray(sheet)))
    sheet.save(path, pnginfo=chunk)
    return path
