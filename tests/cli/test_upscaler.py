"""stage=upscaler from phantoms to larger images by the commands."""

import json

import numpy as np
import pytest
from PIL import Image

DATA = ["data.reader.n=160", "data.size=32"]
TINY = [*DATA, "upscaler=tiny", "logger=csv"]
LENGTHS = [
    f"training.upscaler.{word}"
    for word in ("images=9600", "validate_every=9600", "side=16", "ema=0.98", "optimizer.lr=3e-3")
]


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    done = command("train.py", "stage=upscaler", "name=twice", *TINY, *LENGTHS, f"paths.outputs={folder}")
    (folder / "printed.txt").write_text(done.stdout)
    return folder


@pytest.mark.campaign
def test_it_learns_more_than_interpolation_knows_and_is_measured(outputs, command):
    short = ["metrics.n=20", "logger=csv", "name=u", f"paths.outputs={outputs}"]
    command("evaluate.py", "stage=upscaler", "split=test", *DATA, *short)
    found = json.loads((outputs / "evaluation" / "u" / "metrics.json").read_text())
    value = {name: entry["value"] for name, entry in found.items() if name != "run"}
    assert f"upscaler: {value['parameters'] / 1e6:.2f}M parameters" in (outputs / "printed.txt").read_text()
    assert value["psnr_of_mean"] > value["psnr_interpolated"] + 0.5
    assert value["psnr_of_mean"] > value["psnr"]
    assert value["consistency"] > 50 > value["consistency_interpolated"]
    real, drawn, soft = (value[f"fine_sharpness{end}"] for end in ("_of_real", "", "_interpolated"))
    assert abs(drawn - real) < abs(soft - real)
    assert 0.8 < value["square_step"] / value["square_step_of_real"] < 1.25
    assert (outputs / "evaluation" / "u" / "grid.png").exists()


def test_sample_draws_larger_images_that_say_how(outputs, command):
    where = [f"paths.outputs={outputs}", "bundle=phantom", "n=1", "sampler.steps=2"]
    prompt = "prompt=Normal chest X-ray."
    command("sample.py", prompt, "upscale=twice", "name=larger", *where)
    command("sample.py", prompt, "upscale=twice", "upscale_from=48", "name=crisp", *where)
    crisp = outputs / "samples" / "crisp" / "0000"
    assert Image.open(crisp.with_suffix(".png")).size == (96, 96)
    assert json.loads(crisp.with_suffix(".json").read_text())["upscale"]["from"] == 48
    command("sample.py", prompt, "resolution=128", "name=cubic", *where)
    command("sample.py", prompt, "name=own", *where)
    folders = (outputs / "samples" / name for name in ("larger", "cubic", "own"))
    larger, cubic, own = (np.asarray(Image.open(folder / "0000.png"), dtype=float) for folder in folders)
    assert larger.shape == cubic.shape == (128, 128)
    assert np.abs(larger - cubic).max() > 2
    averaged = larger.reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.abs(averaged - own).mean() < 0.5  # levels are rounded
    facts = json.loads((outputs / "samples" / "larger" / "0000.json").read_text())
    assert facts["upscale"]["name"] == "twice"
    assert len(facts["upscale"]["bundle_sha256"]) == 64


def test_what_cannot_be_is_refused(outputs, command):
    where = [f"paths.outputs={outputs}", "bundle=phantom", "n=1"]
    error = command("sample.py", "prompt=Normal.", "upscale=nothing", *where, code=2).stderr
    assert "upscale=nothing is no bundle" in error
    error = command("sample.py", "prompt=Normal.", "upscale=twice", "resolution=64", *where, code=2).stderr
    assert "is no more than the 64 pixels of this model" in error
    error = command("train.py", "stage=upscaler", *TINY, "training.upscaler.side=64", code=2).stderr
    assert "training.upscaler.side=64 must be at most 32" in error
    error = command("train.py", "stage=upscaler", *TINY, "training.upscaler.side=15", code=2).stderr
    assert "training.upscaler.side=15 must be a multiple of 2" in error
    assert (
        "stage=upscaler has its own start"
        in command("train.py", "stage=upscaler", *TINY, "init=phantom", code=2).stderr
    )
