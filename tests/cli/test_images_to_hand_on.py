"""sample.py's files: enhanced, as DICOM, marked; and the command that looks for the mark."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from c2pa import Reader
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from cxr_ldm.assets import CONF, DEMO
from cxr_ldm.commands.checking import check
from cxr_ldm.commands.sample import read_prompts, sample
from cxr_ldm.commands.schema import Sample
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.dicom import read_provenance
from cxr_ldm.imaging.enhance import clahe
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.imaging.presets import apply, presets
from cxr_ldm.imaging.provenance import read_png
from cxr_ldm.imaging.verify import main
from cxr_ldm.pipeline import TextToCXR

# dciodvfy of 2022 is older than Synthetic Data (0008,001C); nothing else is excepted
UNKNOWN = "Attribute with an even group number is not a recognized standard attribute - (0x0008,0x001c)"
PROMPT = "Large right pleural effusion."
SETTINGS = ["bundle=phantom", "n=2", "sampler.steps=2"]
COMMON = ["sample.py", f"prompt={PROMPT}", *SETTINGS]


def composed(*options):
    """What the command line would make of these options."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("sample", [*SETTINGS, *options])


def levels(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    """Plain images, and the same ones enhanced and marked as DICOM."""
    folder = tmp_path_factory.mktemp("outputs")
    sample(composed(f"paths.outputs={folder}", "name=plain"), DEMO, PROMPT)
    options = ["name=handed", "enhance=balanced", "format=dicom", "watermark=true"]
    done = command(*COMMON, f"paths.outputs={folder}", *options)
    assert "0000.dcm" in done.stdout
    return folder


def test_a_model_in_int8_is_written_and_draws_by_command(command, outputs, tmp_path):
    """Half the bytes of float16, and nearly the same images of the same seeds."""
    where = f"paths.outputs={tmp_path}"
    printed = command("-m", "cxr_ldm.export", "bundle=phantom", "form=int8", f"out={tmp_path}/int8", where).stdout
    assert str(tmp_path / "int8") in printed
    sizes = [sum(path.stat().st_size for path in place.glob("*.safetensors")) for place in (DEMO, tmp_path / "int8")]
    assert sizes[1] < 0.56 * sizes[0]
    drawn = [f"bundle={tmp_path}/int8", "n=2", "sampler.steps=2", "name=small", where]
    command("sample.py", f"prompt={PROMPT}", *drawn)
    names = sorted(path.name for path in (tmp_path / "samples" / "small").glob("0*.png"))
    assert names == ["0000.png", "0001.png"]
    for name in names:
        plain, small = (
            levels(folder / name).astype(int)
            for folder in (outputs / "samples" / "plain", tmp_path / "samples" / "small")
        )
        assert 0 < np.abs(plain - small).max() < 26
        assert np.abs(plain - small).mean() < 3


def test_dicom_files_of_one_study_say_what_they_are(outputs):
    folder = outputs / "samples" / "handed"
    assert sorted(path.name for path in folder.iterdir()) == [
        "0000.dcm",
        "0000.json",
        "0001.dcm",
        "0001.json",
        "grid.png",
        "run.json",
    ]
    headers = [pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    assert len({header.StudyInstanceUID for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == 2
    for index, path in enumerate(sorted(folder.glob("*.dcm"))):
        facts = read_provenance(path)
        assert facts == json.loads(path.with_suffix(".json").read_text())
        assert (facts["synthetic"], facts["prompt"], facts["seed"]) == (True, PROMPT, index)
        assert facts["enhance"] == {"name": "balanced", "steps": presets()["balanced"].steps}
        assert facts["watermark"] is True
        said = subprocess.run([shutil.which("dciodvfy") or "dciodvfy", path], capture_output=True, text=True).stderr
        wrong = [line for line in said.splitlines() if "Error" in line and UNKNOWN not in line]
        assert wrong == []
        assert pydicom.dcmread(path).SyntheticData == "YES"
    assert read_png(folder / "grid.png")["enhance"]["name"] == "balanced"


def test_the_pixels_are_those_of_python(outputs):
    """The plain image through the preset; the command works on floats, the mark moves a pixel by a few levels."""
    plain = levels(outputs / "samples" / "plain" / "0000.png")
    header = pydicom.dcmread(outputs / "samples" / "handed" / "0000.dcm")
    by_hand = np.rint(apply(plain / 255, presets()["balanced"].steps)[-1].image * 255)
    difference = header.pixel_array - by_hand
    assert np.sqrt(np.square(difference).mean()) < 2
    assert "enhance" not in read_png(outputs / "samples" / "plain" / "0000.png")


def test_the_checker_tells_marked_from_plain(outputs, command):
    files = [outputs / "samples" / name for name in ("handed/0000.dcm", "handed/0001.dcm", "handed/grid.png")]
    assert main([str(file) for file in files]) == 0
    plain = outputs / "samples" / "plain" / "0000.png"
    done = command("-m", "cxr_ldm.imaging.verify", *map(str, [*files, plain]), code=1)
    *_, grid, last_file, last = done.stdout.splitlines()
    assert "provenance of cxr_ldm" in grid
    assert "seeds [0, 1]; watermark found" in grid
    assert "no watermark" in last_file
    assert last.startswith("4 of 4 files with provenance, 3 with the watermark, which 3 of these 3 keep")


def test_the_checkers_errors_are_one_sentence(command, tmp_path):
    (tmp_path / "a.png").write_text("hello")
    result = command("-m", "cxr_ldm.imaging.verify", str(tmp_path / "a.png"), code=2)
    assert result.stderr.count("\n") == 1
    assert "a.png: not a readable" in result.stderr


@pytest.mark.parametrize("sampler", sorted(path.stem for path in (CONF / "sampler").glob("*.yaml")))
def test_each_sampler_and_the_guidance_decide_the_pixels(outputs, sampler):
    """The command's picture is that of Python with the same options, and another than without them."""
    place, guided = [f"paths.outputs={outputs}", "sampler.steps=4"], ["guidance.scale=3", "guidance.rescale=0.5"]
    drawn = {}
    for name, options in (("plain", []), ("guided", guided)):
        sample(composed(*place, f"name={sampler}_{name}", f"sampler={sampler}", *options), DEMO, PROMPT)
        drawn[name] = outputs / "samples" / f"{sampler}_{name}" / "0001.png"
    pipeline = TextToCXR.from_bundle(DEMO)
    chosen = composed(f"sampler={sampler}").sampler
    by_hand = {
        name: pipeline([PROMPT], [1], 4, rule, instantiate(chosen.step), times=instantiate(chosen.times))
        for name, rule in (("plain", Guidance(1.0)), ("guided", Guidance(3.0, rescale=0.5)))
    }
    for name, path in drawn.items():
        for image in (by_hand[name], pipeline.again(read_png(path))):
            # a batch of two and one alone are rounded apart by a grey level at most
            np.testing.assert_allclose(levels(path), to_uint8(image[0, 0]).astype(float), atol=1)
    assert (levels(drawn["plain"]) != levels(drawn["guided"])).mean() > 0.5
    if sampler != "dpmpp_2m":  # the default
        assert (levels(drawn["plain"]) != to_uint8(pipeline([PROMPT], [1], 4)[0, 0])).mean() > 0.1


def test_order_and_parameters_are_free(outputs):
    """A chain of one's own, a parameter of one of its steps; the folder of other settings is not overwritten."""
    place = [f"paths.outputs={outputs}", "name=own", "enhance=balanced"]
    own = ["enhance.steps=[{step:clahe,clip_limit:3.0,tiles:2}]", "enhance.steps.0.tiles=4"]
    sample(composed(*place, *own), DEMO, PROMPT)
    facts = read_png(outputs / "samples" / "own" / "0000.png")["enhance"]
    assert facts == {"name": "balanced, changed", "steps": [{"step": "clahe", "clip_limit": 3.0, "tiles": 4}]}
    plain = levels(outputs / "samples" / "plain" / "0001.png")
    ours = levels(outputs / "samples" / "own" / "0001.png")
    assert np.abs(ours - np.rint(clahe(plain / 255, 3.0, 4) * 255)).max() <= 5
    with pytest.raises(UserError, match="was made by other settings: enhance"):
        sample(composed(*place), DEMO, PROMPT)


def test_a_mistyped_option_is_one_sentence_and_leaves_nothing(command, tmp_path):
    result = command(*COMMON, f"paths.outputs={tmp_path}", "enhance=balanced", "enhance.stpes=[]", code=2)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "did you mean 'enhance.steps'" in line
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def checked_and_sampled(cfg):
    check(cfg, Sample)
    sample(cfg, Path("/no/such/bundle"), "Normal.")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["format=jpg"], "format=jpg is not one of png or dicom."),
        (["watermark=maybe"], "watermark=maybe must be true or false."),
        (["enhance=balanced", "enhance.steps=clahe"], "enhance.steps=clahe must be a list such as"),
        (["enhance=balanced", "enhance.steps.0.clip_limit=99"], "clahe.clip_limit=99 must be a number from 0.5 to 10"),
        (["enhance=balanced", "enhance.steps=[{step:blur}]"], "enhance.steps: step 'blur' is none of window, clahe"),
        (
            ["enhance=balanced", "+enhance.steps.1.size=3"],
            "enhance.steps: edges has no parameter 'size'; it has radius",
        ),
        (["resolution=32", "watermark=true"], "resolution=32 must be a whole number of pixels from 64"),
        (["resolution=8"], "resolution=8 must be a whole number of pixels from 16 to 4096."),
    ],
)
def test_options_are_refused_before_a_model_is_loaded(options, sentence):
    with pytest.raises(UserError) as error:
        checked_and_sampled(composed(*options))
    assert str(error.value).startswith(sentence)


def test_a_prompt_that_is_no_text_is_refused():
    with pytest.raises(UserError, match="no valid UTF-8"):
        read_prompts("\udcff", None)


def test_what_was_asked_is_in_the_name_and_a_judge_in_the_record(tmp_path):
    """A long prompt gives its first forty letters; before and after a finding is judged where there is a classifier."""
    prompt = "Chest X-ray of a phantom with clear lungs and nothing else to be seen."
    once = ["n=1", "sampler.steps=1", f"paths.outputs={tmp_path}"]
    sample(composed(*once), DEMO, prompt)
    (folder,) = (tmp_path / "samples").iterdir()
    words = "Chest_X_ray_of_a_phantom_with_clear_lungs_and_nothing_else_to_be_seen"
    assert folder.name.partition("-n1")[0] == words[:40]
    sample(composed(*once, "add=right pleural effusion", "name=added"), DEMO, "Normal.")
    asked = json.loads((tmp_path / "samples" / "added" / "run.json").read_text())["settings"]
    assert asked["before"] == ["Normal."]
    assert "classifier" not in asked


def test_signed_files_are_read_back_by_c2pa_and_by_the_checker(command, tmp_path):
    words = ["sample.py", "prompt=Mass.", "n=1", "sampler.steps=1", "bundle=phantom", f"paths.outputs={tmp_path}"]
    done = command(*words, "name=signed", "c2pa=self")
    assert "signed by cxr_ldm, self-signed (C2PA)" in done.stdout
    for name in ("0000.png", "grid.png"):
        reader = Reader(tmp_path / "samples" / "signed" / name)
        assert reader.get_validation_state() == "Valid"
        assert "digitalsourcetype/trainedAlgorithmicMedia" in reader.json()
    file = str(tmp_path / "samples" / "signed" / "0000.png")
    assert "signed (C2PA) by cxr_ldm, self-signed, valid" in command("-m", "cxr_ldm", "verify", file, code=1).stdout
    for wrong in (["c2pa=self", "format=dicom"], ["c2pa=nowhere"]):
        said = command(*words, "name=wrong", *wrong, code=2).stderr
        assert "c2pa=" in said
        assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "samples" / "wrong").exists()
