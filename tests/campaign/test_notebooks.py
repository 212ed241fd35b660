"""The notebooks run from their first cell to their last, and show what they say."""

import io
from base64 import b64decode
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

pytestmark = pytest.mark.campaign
NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"


def executed(name):
    """The cells of a notebook after a run, and the pictures below them."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=1800, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [b64decode(output["data"]["image/png"]) for output in outputs if "image/png" in output.get("data", {})]
    texts = ["".join(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs]
    return "\n".join(texts), [np.asarray(Image.open(io.BytesIO(picture)).convert("L"), float) for picture in pictures]


@pytest.mark.timeout(3600)
def test_one_can_sample_and_look_inside():
    said, pictures = executed("sample_and_look_inside")
    assert [picture.shape[1] for picture in pictures] == [4 * 260, 3 * 260, 5 * 260, 256]
    assert min(picture.std() for picture in pictures) > 20  # none is blank
    assert "findings it knows" in said
    assert "'prompt': 'Cardiomegaly.'" in said
    assert "up_blocks.0" in said


@pytest.mark.timeout(3600)
def test_one_can_train_on_a_csv():
    said, pictures = executed("train_on_a_csv")
    assert "data.reader.patient=patient" in said  # what the columns seem to mean
    assert "600 images of 64 x 64" in said
    assert "kid_efficientnet_lite0_floor" in said
    side = 192 + 4  # of a cell of the grid that the model drew: normal chests above, right effusions below
    normal, effusion = pictures[-1][:192, : 3 * side], pictures[-1][-220:-28, : 3 * side]
    bases = [slice(110, 150), np.r_[20:80, 20 + side : 80 + side, 20 + 2 * side : 80 + 2 * side]]
    assert effusion[bases[0]][:, bases[1]].mean() > normal[bases[0]][:, bases[1]].mean() + 20
