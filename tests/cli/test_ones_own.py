"""A stage, a metric and a dataset of one's own: one Python file and one YAML file each, outside the package."""

import json
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[1] / "toylab"
OWN = ["stage=toy", "data=toy", "metrics=toy", "bundle_packages=[toylab]", f"hydra.searchpath=[file://{LAB}/conf]"]


def test_they_train_and_measure_by_the_commands_that_are_there(command, tmp_path):
    where = [f"paths.outputs={tmp_path}", "logger=csv"]
    short = ["training.vae.images=2048", "training.vae.optimizer.lr=0.05"]
    command("train.py", *OWN, *short, "evaluate=true", *where, PYTHONPATH=str(LAB.parent))
    (run,), (evaluation,) = tmp_path.glob("toy/*"), tmp_path.glob("evaluation/*")
    assert json.loads((run / "run.json").read_text())["complete"]
    config = json.loads((run / "bundle/config.json").read_text())
    assert (config["kind"], config["parts"]) == ("toy", {"grey": {"part": "toylab.stage.Grey"}})
    metrics = json.loads((evaluation / "metrics.json").read_text())
    # dark squares lie near -0.47 and bright ones near 0.47: the grey between them is about that far from all,
    # and brighter than the dark ones alone
    assert metrics["mae"]["value"] == pytest.approx(0.47, abs=0.06)
    assert 0.2 < metrics["brighter"]["value"] < 0.8
    printed = command("evaluate.py", *OWN, "split=val", *where, PYTHONPATH=str(LAB.parent)).stdout
    assert "complete already" in printed
    assert "brighter" in printed


def test_a_key_of_lightnings_trainer_and_a_callback_reach_it(command, tmp_path):
    arguments = ["train.py", "stage=vae", "vae=tiny", "data.reader.n=60", "data.size=32", "logger=csv"]
    arguments += ["training.vae.images=64", "training.vae.batch_size=8", f"paths.outputs={tmp_path}"]
    kept = "_target_: lightning.pytorch.callbacks.ModelCheckpoint, filename: mine, monitor: val/psnr"
    kept = f"+callbacks.kept={{{kept}, dirpath: {tmp_path}/kept}}"
    command(*arguments, kept, "+trainer.limit_val_batches=1")
    assert (tmp_path / "kept" / "mine.ckpt").is_file()
    (run,) = tmp_path.glob("vae/*")
    settings = json.loads((run / "run.json").read_text())["settings"]
    assert settings["callbacks"]["kept"]["filename"] == "mine"
    error = command(*arguments, "+trainer.limit_val_batchs=1", code=2).stderr
    assert error == (
        "error: trainer.limit_val_batchs is no setting of ours and no argument of Lightning's Trainer; "
        "did you mean trainer.limit_val_batches?\n"
    )
