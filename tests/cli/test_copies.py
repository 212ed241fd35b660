"""python train.py with looks for copies: what stands in the history, beside a run without them."""

import json

import pytest

from cxr_ldm.artifacts import fingerprint
from cxr_ldm.callbacks.history import read_history

COMMON = ["data.reader.n=160", "data.size=32", "vae=tiny", "denoiser=tiny", "logger=csv"]
LDM = [f"training.ldm.{value}" for value in ("images=64", "batch_size=8", "checkpoint_every=32", "validate_every=32")]


@pytest.mark.campaign
def test_looks_stand_in_the_history_and_change_neither_weights_nor_the_name_of_a_run_without(command, tmp_path):
    where = f"paths.outputs={tmp_path}"
    command("train.py", "stage=vae", *COMMON, "training.vae.images=32", "training.vae.batch_size=8", where)
    command("train.py", "stage=ldm", *COMMON, *LDM, "name=plain", where)
    command(
        "train.py", "stage=ldm", *COMMON, *LDM, "name=looks", "training.ldm.copies.samples=20", "stop=copies", where
    )
    plain, looks = tmp_path / "ldm" / "plain", tmp_path / "ldm" / "looks"
    names = {row["name"] for row in read_history(looks / "history.csv")}
    assert {"val/copies_excess", "val/copies_excess_features", "val/copies_p", "val/kid", "val/loss"} <= names
    for expected in (plain / "bundle").glob("*.safetensors"):
        assert (looks / "bundle" / expected.name).read_bytes() == expected.read_bytes(), expected.name
    settings = json.loads((plain / "run.json").read_text())["settings"]
    assert "copies" not in json.dumps(settings)
    assert "stop" not in settings
    others = json.loads((looks / "run.json").read_text())["settings"]
    assert others["stop"] == "copies"
    assert fingerprint(settings) == fingerprint({k: v for k, v in others.items() if k not in ("copies", "stop")})
