"""Pictures of one grey level are left out of a prepared folder, and counted."""

import json

import numpy as np
from PIL import Image

from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.table import TableReader


def test_a_blank_picture_is_rejected_and_counted(table_root, table_options, tmp_path):
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(table_root / "images" / "03.png")
    splits = {"seed": 0, "val": 0.1, "test": 0.1}
    prepared = prepare(TableReader(table_root, **table_options), tmp_path / "out", Target(16), name="x", splits=splits)
    assert len(prepared) == 23
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["rejected"] == {"image is blank: one grey level": 1}
