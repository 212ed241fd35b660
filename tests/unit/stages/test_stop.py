"""SIGTERM and Ctrl-C in a training: a checkpoint at the next step, from which the run ends as if nothing had been."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from miniature import LOGGER, MACHINE, RECIPE, ldm_stage

from cxr_ldm.callbacks.history import read_history
from cxr_ldm.errors import Paused
from cxr_ldm.training import fit as training

# 8 batches of 4 in two stretches, a validation at the end
LENGTHS = {"images": 32, "validate_every": 32, "checkpoint_every": 16}

OF_PROCESS = {"train/images_per_second", "train/memory_gb"}  # which are its own each time


def run(tmp_path, folder, accumulate=1, stop_at=None, number=signal.SIGTERM):
    """Fit in a folder; a signal comes while batch `stop_at`, counted from 1, is fetched."""
    stage, data = ldm_stage(tmp_path, images_per_epoch=16)
    fetch = data.fetch

    def interrupted(rows, positions=None):
        if positions is not None and stop_at is not None and positions[0] == 4 * (stop_at - 1):
            os.kill(os.getpid(), number)
        return fetch(rows, positions)

    data.fetch = interrupted
    recipe = replace(RECIPE, **LENGTHS, accumulate=accumulate)
    return stage, training.fit(stage, data, folder, recipe, MACHINE, ("val/loss", "min"), LOGGER, 0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Stage and folder of a run that nobody stopped, by the batches of a step."""
    made = {}
    for accumulate in (1, 2):
        folder = tmp_path_factory.mktemp("undisturbed")
        made[accumulate] = run(folder, folder / "whole", accumulate)[0], folder / "whole"
    return made


@pytest.mark.parametrize(
    ("accumulate", "stop_at", "step", "number"),
    [
        pytest.param(1, 1, 1, signal.SIGTERM, marks=pytest.mark.campaign),
        (1, 2, 2, signal.SIGINT),
        # the last batch of a stretch, which has a checkpoint of its own
        pytest.param(1, 4, 4, signal.SIGTERM, marks=pytest.mark.campaign),
        pytest.param(1, 7, 7, signal.SIGTERM, marks=pytest.mark.campaign),
        (1, 8, 8, signal.SIGTERM),
        (2, 5, 3, signal.SIGTERM),  # half a step is finished first
    ],
)
def test_stopped_and_started_again_ends_with_the_same_weights(undisturbed, tmp_path, accumulate, stop_at, step, number):
    before = signal.getsignal(number)
    whole, folder = undisturbed[accumulate]
    with pytest.raises(Paused, match=f"stopped by {number.name} at step {step}, with a checkpoint there"):
        run(tmp_path, tmp_path / "parts", accumulate, stop_at, number)
    assert signal.getsignal(number) == before
    kept = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == step
    resumed, fitter = run(tmp_path, tmp_path / "parts", accumulate)
    assert fitter.global_step == 8 // accumulate
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    curves = [
        [row for row in read_history(place / "history.csv") if row["name"] not in OF_PROCESS]
        for place in (tmp_path / "parts", folder)
    ]
    assert curves[0] == curves[1]
