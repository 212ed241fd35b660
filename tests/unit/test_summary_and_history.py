"""The blocks of a model as they ran, their drawing, and the curves of a run."""

import pandas as pd
import pytest
import torch

from cxr_ldm.app.drawing import architecture
from cxr_ldm.assets import DEMO
from cxr_ldm.callbacks.history import HEADER, History, checksum, lines, read_history
from cxr_ldm.errors import UserError
from cxr_ldm.inspection.layers import layers
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.pipeline import TextToCXR


def test_layers_of_the_demo_model():
    pipeline = TextToCXR.from_bundle(DEMO, "cpu")
    network = pipeline.denoiser.network
    found = layers({"network": network}, lambda: pipeline([""], [0], steps=1, guidance=1.0))
    assert sum(layer.parameters for layer in found) == parameter_count(network)
    by_name = {layer.name: layer for layer in found}
    assert by_name["conv_in"].shape == (64, 8, 8)
    assert by_name["down_blocks.1"].shape[0] == 128
    assert by_name["down_blocks.0"].attends
    assert not by_name["conv_in"].attends
    order = [layer.name for layer in found]
    assert order.index("conv_in") < order.index("down_blocks.0") < order.index("mid_block") < order.index("conv_out")
    drawing = architecture(found, pipeline.latent_shape)
    assert drawing.count("->") == len(found) - 1
    assert all(layer.name in drawing for layer in found)


class Trainer:
    """What History asks of a trainer."""

    is_global_zero, sanity_checking = True, False

    def __init__(self):
        self.global_step, self.callback_metrics = 0, {}
        self.state = type("State", (), {"fn": "fit"})()


def run(folder, trainer, steps, start=0):
    """Steps of a training that logs its own step as loss, validated every 4."""
    history = History(folder, every=2)
    trainer.global_step = start
    history.on_train_start(trainer, None)
    for step in range(start + 1, steps + 1):
        trainer.global_step = step
        trainer.callback_metrics = {"train/loss": torch.tensor(float(step)), "val/loss": torch.tensor(100.0 + step)}
        history.on_train_batch_end(trainer, None, None, None, 0)
        if step % 4 == 0:
            history.on_validation_end(trainer, None)


def test_history_of_a_resumed_run_has_each_step_once(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    run(whole, Trainer(), 12)
    run(parts, Trainer(), 7)
    with open(parts / "history.csv", "a") as file:
        file.write("8,train/lo")  # killed while it wrote
    run(parts, Trainer(), 12, start=4)  # from the checkpoint at step 4
    assert read_history(parts / "history.csv") == read_history(whole / "history.csv")
    rows = read_history(whole / "history.csv")
    assert [row["step"] for row in rows if row["name"] == "train/loss"] == [2, 4, 6, 8, 10, 12]
    assert [row["value"] for row in rows if row["name"] == "val/loss"] == [104.0, 108.0, 112.0]


def test_no_history_is_no_rows(tmp_path):
    assert read_history(tmp_path / "history.csv") == []


def test_a_name_with_a_comma_is_read_back_also_as_it_was_written_before(tmp_path):
    row, before = {"step": 8, "name": 'val/auroc_aorta,_"thoracic"', "value": 0.5}, "8,val/auroc_aorta,_thoracic,0.5"
    path = tmp_path / "history.csv"
    path.write_text(f"{HEADER}\n{lines([row])}{before},{checksum(before)}\n")
    assert read_history(path) == [row, {"step": 8, "name": "val/auroc_aorta,_thoracic", "value": 0.5}]
    assert pd.read_csv(path, nrows=1)["name"].tolist() == [row["name"]]
    path.write_text(f"{HEADER}\n{before},{checksum(before + '0')}\n")
    with pytest.raises(UserError, match="is not what was written"):
        read_history(path)
