"""sample.py with an image, and with a finding that is added or taken away."""

import hashlib
import json

import numpy as np
import pydicom
import pytest
from PIL import Image

from cxr_ldm.bundle import save_bundle
from cxr_ldm.imaging.dicom import read_provenance
from cxr_ldm.imaging.provenance import read_png
from cxr_ldm.imaging.verify import examine
from cxr_ldm.networks.classifier import Classifier

COMMON = ["sample.py", "bundle=phantom", "sampler.steps=4"]


@pytest.fixture(scope="module")
def given(command, tmp_path_factory):
    """A folder with phantoms as DICOM and as PNG, that name a person who must not come through."""
    folder = tmp_path_factory.mktemp("given")
    command("-m", "cxr_ldm.data.phantom", f"out={folder / 'phantoms'}", "n=1", "size=150", "seed=3", "workers=1")
    source = next((folder / "phantoms").rglob("*.dcm"))
    header = pydicom.dcmread(source)
    header.PatientName, header.PatientID = "Doe^Jane", "MRN-12345"
    header.save_as(folder / "jane.dcm")
    pixels = header.pixel_array.astype(float)
    grey = (255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    Image.fromarray(grey).save(folder / "jane.png")
    mask = np.zeros(grey.shape, np.uint8)
    mask[70:140, 5:75] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


def test_dicom_in_dicom_out_and_nobodys_name_in_it(command, given, tmp_path):
    options = ["prompt=Right pleural effusion, large.", "region=right_lung", "n=2", "format=dicom", "name=edited"]
    done = command(*COMMON, f"image={given / 'jane.dcm'}", *options, f"paths.outputs={tmp_path}")
    assert "draws 37% of the image anew, by a model that never learnt it" in done.stdout
    assert "no classifier of these data was found" in done.stdout
    folder = tmp_path / "samples" / "edited"
    before = pydicom.dcmread(given / "jane.dcm")
    for index in (0, 1):
        path = folder / f"{index:04d}.dcm"
        header = pydicom.dcmread(path)
        assert str(header.PatientName) == "SYNTHETIC^CXR_LDM"
        assert header.DerivationDescription.startswith("Drawn anew from another image")
        for key in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
            assert header[key].value != before.get(key), key
        facts = read_provenance(path)
        assert facts["edit"] == {"strength": 1.0, "hole": 0.3691, "filled": "held", "pasted": False}
        assert (facts["watermark"], facts["label"]) == (True, "SYNTHETIC")
        assert examine(path).marked
    for path in folder.iterdir():
        content = path.read_bytes()
        assert b"Doe" not in content, path
        assert b"MRN-12345" not in content, path
        assert b"jane" not in content, path
        assert content.find(hashlib.sha256((given / "jane.dcm").read_bytes()).hexdigest().encode()) < 0, path
    assert read_png(folder / "grid.png")["synthetic"].startswith("in part")
    assert "watermark" not in read_png(folder / "grid.png")
    assert read_png(folder / "0001_difference.png")["seeds"] == [1]
    assert Image.open(folder / "0001_difference.png").mode == "RGB"
    assert Image.open(folder / "grid.png").size[0] == 3 * (192 + 4)


def test_a_mask_says_what_is_drawn_and_the_rest_is_put_back(command, given, tmp_path):
    image = f"image={given / 'jane.png'}"
    options = [f"mask={given / 'mask.png'}", "paste=true", "n=1", "prompt=Right pleural effusion."]
    command(*COMMON, image, *options, "name=masked", f"paths.outputs={tmp_path}")
    folder = tmp_path / "samples" / "masked"
    change = np.asarray(Image.open(folder / "0000_difference.png")).astype(int)
    still = np.asarray(Image.open(folder / "0000_difference.png"))[2, 60]
    outside = (change[:, 34:] == still).all() and (change[:28] == still).all()
    assert outside, "nothing changed outside the mask"
    assert (change[34:58, 4:30] != still).mean() > 0.3
    assert read_png(folder / "0000.png")["edit"]["pasted"] is True
    again = command(*COMMON, image, *options, "name=masked", f"paths.outputs={tmp_path}")
    assert "complete already" in again.stdout
    sides = [["prompt=Nodule.", "n=1", f"region={side}_lung"] for side in ("left", "right")]
    for other in sides:  # of equal area
        assert "complete" not in command(*COMMON, image, *other, f"paths.outputs={tmp_path}").stdout


def test_an_image_that_is_followed_back_is_drawn_in_the_same_steps(command, given, tmp_path):
    options = ["prompt=Normal.", "source=Normal.", "sampler=dpmpp_2m", "guidance.scale=1", "n=1", "name=back"]
    command(*COMMON, f"image={given / 'jane.png'}", *options, f"paths.outputs={tmp_path}")
    assert read_png(tmp_path / "samples" / "back" / "0000.png")["sampler"] == "euler"


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """One that was never trained; what it says is beside the point."""
    folder = tmp_path_factory.mktemp("classifier") / "bundle"
    arguments = {"channels": [4, 8], "blocks": 1, "groups": 4}
    classes = ["cardiomegaly", "pleural effusion"]
    spec = {"classifier": {"part": "Classifier", "classes": classes, **arguments}}
    info = {"size": 64, "data": {"name": "x", "kind": "x", "fingerprint": "y"}, "run": "x", "prevalence": [0.5, 0.5]}
    save_bundle(folder, "classifier", spec, {"classifier": Classifier(classes, **arguments)}, info)
    return folder


def test_before_and_after_are_of_one_seed_and_the_judge_speaks_of_both(command, classifier, tmp_path):
    options = [f"classifier={classifier}", "n=2", "seed=5", f"paths.outputs={tmp_path}"]
    done = command(*COMMON, "prompt=Normal chest X-ray.", "add=left pleural effusion, small", *options, "name=added")
    assert "pleural effusion" in done.stdout.partition("the classifier says")[2]
    folder = tmp_path / "samples" / "added"
    after, before = (json.loads((folder / f"0001{end}.json").read_text()) for end in ("", "_before"))
    assert (before["prompt"], after["prompt"]) == ("Normal chest X-ray.", "Left pleural effusion, small.")
    assert before["seed"] == after["seed"] == 6
    assert set(after["judged"]) == {"cardiomegaly", "pleural effusion"}
    assert set(after["judged"]["cardiomegaly"]) == {"before", "after"}
    command(*COMMON, "prompt=Normal chest X-ray.", "n=2", "seed=5", f"paths.outputs={tmp_path}", "name=plain")
    plain = np.asarray(Image.open(tmp_path / "samples" / "plain" / "0001.png"))
    assert np.array_equal(plain, np.asarray(Image.open(folder / "0001_before.png")))
    command(*COMMON, "prompt=Edema. Left effusion.", "remove=effusion", *options, "name=removed")
    assert json.loads((tmp_path / "samples/removed/0000.json").read_text())["prompt"] == "Edema."


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["strength=0.4"], "strength= is for an image that is given"),
        (["paste=true"], "paste= is for an image that is given"),
        (["image=missing.png"], "missing.png: image file is missing"),
        (["image=JANE", "strength=1"], "keeps nothing of the image"),
        (["image=JANE", "strength=0"], "strength=0"),
        (["image=JANE", "box=[0,0,10,400]"], "150 × 150"),
        (["image=JANE", "box=[1,2,3]"], "box"),
        (["image=JANE", "box=[0,0,10,10]", "region=heart"], "give one"),
        (["image=JANE", "region=liver"], "region=liver"),
        (["image=JANE", "mask=JANE", "paste=true", "add=nodule"], "add= and remove= change a prompt"),
        (["image=JANE", "paste=true"], "say which by box="),
        (["add=nodule", "remove=nodule"], "give one"),
        (["remove=pneumothorax"], "no sentence of the prompt names it"),
        (["add="], "add="),
        (["add=nodule", "classifier=nowhere"], "classifier=nowhere is no bundle"),
        (["add=\udcff"], "add is no valid UTF-8 text"),
    ],
)
def test_what_cannot_be_meant_gets_a_sentence_and_nothing_is_written(command, given, tmp_path, options, words):
    options = [option.replace("JANE", str(given / "jane.png")) for option in options]
    done = command(*COMMON, "prompt=Edema.", *options, f"paths.outputs={tmp_path}", code=2)
    assert words in done.stderr
    assert not (tmp_path / "samples").exists()
