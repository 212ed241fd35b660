"""sample.py's files: enhanced, as DICOM, at a size, marked; and the command that finds the mark."""

import json

import numpy as np
import pydicom
from PIL import Image

from cxr_ldm.imaging.dicom import read_provenance
from cxr_ldm.imaging.presets import apply, presets
from cxr_ldm.imaging.provenance import read_png

COMMON = ["sample.py", "prompt=Large right pleural effusion.", "bundle=demo", "n=2", "sampler.steps=3"]


def test_enhanced_dicom_is_the_plain_image_through_the_preset(command, tmp_path):
    """The same pixels from the command line and from Python; the plain PNG stays as it was."""
    outputs = f"paths.outputs={tmp_path}"
    command(*COMMON, outputs, "name=plain")
    command(*COMMON, outputs, "name=film", "enhance=radiographic_film", "format=dicom")
    steps = presets()["radiographic_film"].steps
    uids = set()
    for index in range(2):
        plain = np.asarray(Image.open(tmp_path / "samples" / "plain" / f"{index:04d}.png"))
        path = tmp_path / "samples" / "film" / f"{index:04d}.dcm"
        header = pydicom.dcmread(path)
        uids.add(header.StudyInstanceUID)
        by_hand = np.rint(apply(plain / 255, steps)[-1].image * 255)
        # the command enhances the model's floats, the other way their 8 bits
        assert np.abs(header.pixel_array - by_hand).max() <= 3
        facts = read_provenance(path)
        assert facts == json.loads(path.with_suffix(".json").read_text())
        assert facts["enhance"] == {"name": "radiographic_film", "steps": steps}
        assert facts["prompt"] == "Large right pleural effusion."
        assert "enhance" not in read_png(tmp_path / "samples" / "plain" / f"{index:04d}.png")
    assert len(uids) == 1


def test_size_and_watermark(command, tmp_path):
    arguments = [*COMMON, f"paths.outputs={tmp_path}", "name=big", "resolution=256", "watermark=true"]
    command(*arguments)
    files = [str(tmp_path / "samples" / "big" / f"{index:04d}.png") for index in range(2)]
    assert Image.open(files[0]).size == (256, 256)
    assert read_png(files[0])["resolution"] == 256
    said = command("-m", "cxr_ldm.imaging.verify", *files).stdout
    assert "2 with the watermark, which 2 of these 2 keep after JPEG at quality 80" in said
    # other settings do not overwrite the folder
    done = command(*arguments[:-1], code=2)
    assert "was made by other settings: watermark" in done.stderr


def test_a_step_of_ones_own_from_the_command_line(command, tmp_path):
    own = "enhance.steps=[{step:window,center:0.4,width:0.5}]"
    command(*COMMON, f"paths.outputs={tmp_path}", "name=own", "enhance=balanced", own)
    facts = read_png(tmp_path / "samples" / "own" / "0000.png")
    assert facts["enhance"]["steps"] == [{"step": "window", "center": 0.4, "width": 0.5}]
