"""The whole path on real radiographs of both collections, at a tiny size."""

import json

import pytest


@pytest.mark.real
def test_prepare_train_sample_and_evaluate_on_real_radiographs(command, shared, tmp_path):
    data = ["experiment=real_small", f"data.root={shared}", "data.size=32", "data.limit=200", "logger=csv"]
    tiny = ["vae=tiny", "denoiser=tiny", "text_encoder.layers=1", "text_encoder.width=32"]
    lengths = [f"training.{stage}.{key}" for stage in ("vae", "ldm") for key in ("images=256", "validate_every=256")]
    everything = [*data, *tiny, *lengths, f"paths.outputs={tmp_path}"]
    command("train.py", "stage=vae", *everything)
    command("train.py", "stage=ldm", *everything)
    command("sample.py", "prompt=Frontal chest X-ray of a child. Bacterial pneumonia.", "n=2", *everything)
    command(
        "evaluate.py",
        "stage=ldm",
        "metrics.n=24",
        "metrics.cost_steps=[]",
        "sampler.steps=2",
        f"page={tmp_path}/page.md",
        *everything,
    )
    (path,) = tmp_path.glob("evaluation/*/metrics.json")
    metrics = json.loads(path.read_text())
    floor = metrics["fid_efficientnet_lite0_floor"]["value"]
    # barely trained images must be told from real ones, or the measure measures nothing
    assert metrics["fid_efficientnet_lite0"]["value"] > 1.5 * floor
    assert metrics["kid_efficientnet_lite0"]["value"] > metrics["kid_efficientnet_lite0_floor"]["value"]
    assert "near_copies" in metrics
    assert not any(name.startswith("adherence") for name in metrics)
    assert "kid_efficientnet_lite0" in (tmp_path / "page.md").read_text()
