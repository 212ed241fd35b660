"""Small collections on disk, written in the layouts that the readers read."""

from pathlib import Path

import pytest
from PIL import Image
from small_pictures import picture


@pytest.fixture
def table_root(tmp_path: Path) -> Path:
    """A CSV of 24 images of 8 patients: root/list.csv and root/images/NN.png."""
    root = tmp_path / "raw"
    (root / "images").mkdir(parents=True)
    lines = ["file,note,person,kind,projection"]
    for number in range(24):
        Image.fromarray(picture(number)).save(root / "images" / f"{number:02d}.png")
        side = "pa" if number % 2 else "ap"
        lines.append(f'{number:02d},"Note  number {number}, with a comma.",p{number // 3},A|B,{side}')
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def table_options() -> dict:
    """Arguments of a TableReader over `table_root`, but for the root."""
    return {
        "csv": "list.csv",
        "image": "images/{file}.png",
        "text": "note",
        "patient": "person",
        "view": "projection",
        "labels": ["kind"],
    }
