"""A machine that is lent by the minute: data come packed, and what training does not need is not installed."""

import json

import numpy as np
import pytest

from cxr_ldm.data.prepared.folder import Prepared

ABSENT = ("pydicom", "gdcm", "streamlit", "wandb", "albumentations", "defusedxml")
SHORT = ["batch_size=4", "images=8", "validate_every=8", "checkpoint_every=4", "warmup_steps=1"]


@pytest.mark.campaign
def test_a_packed_collection_trains_without_what_training_does_not_need(command, tmp_path):
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ABSENT:
        (stubs / f"{name}.py").write_text("raise ModuleNotFoundError('not on this machine')\n")
    where, pack = f"paths.outputs={tmp_path}/here", tmp_path / "data.pack"
    command("-m", "cxr_ldm.prepare", "data.reader.n=60", "data.size=32", "name=p", where)
    here = tmp_path / "here" / "prepared" / "p"
    command("-m", "cxr_ldm.data.pack", f"folder={here}", f"out={pack}", "limit_mb=5")

    def there(*arguments: str) -> str:
        return command(*arguments, fresh=True, PYTHONPATH=str(stubs)).stdout

    data = tmp_path / "there" / "prepared" / "p"
    there("-m", "cxr_ldm.data.pack", f"file={pack}", f"out={data}")
    common = [f"prepared={data}", f"paths.outputs={tmp_path}/there", "logger=csv", "vae=tiny", "denoiser=tiny"]
    there("train.py", "stage=vae", *common, *(f"training.vae.{length}" for length in SHORT), "name=v")
    there("train.py", "stage=ldm", *common, *(f"training.ldm.{length}" for length in SHORT), "name=l")
    info = json.loads((tmp_path / "there" / "ldm" / "l" / "bundle" / "config.json").read_text())["info"]
    assert info["data"]["fingerprint"] == Prepared(here).fingerprint
    assert len(np.load(data / "images.npy")) < 60
    # and back: what was trained there is measured here, on the test images that stayed
    bundle = tmp_path / "there" / "vae" / "v" / "bundle"
    printed = command(
        "evaluate.py", "stage=vae", f"bundle={bundle}", f"prepared={here}", where, "logger=csv", "metrics.n=8"
    )
    assert "psnr" in printed.stdout
