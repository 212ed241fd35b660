"""Three stages, each trained for twenty steps by all processes that run this script: `together.py FOLDER PRECISION`."""

import os
import sys
from pathlib import Path

import numpy as np
import test_classifier_stage
import test_unfreezing
import torch
from miniature import adversarial_stage, fit

from cxr_ldm import ranks

LENGTHS = {"images": 80, "validate_every": 40, "checkpoint_every": 40}


def vae(folder):
    """With noise on its latents, and an adversary from the tenth step on."""
    module, data = adversarial_stage()
    module.latent_noise = 0.3
    return module, data


def ldm(folder):
    """With layers that train from the tenth step on."""
    return test_unfreezing.make(folder, at_step=10)


def classifier(folder):
    """Whose images know different numbers of classes."""
    module, data = test_classifier_stage.stage()
    data.targets.values[::5, 1] = np.nan
    return module, data


STAGES = {"vae": vae, "ldm": ldm, "classifier": classifier}


def train(name: str, folder: Path, precision: str) -> None:
    """Leaves the weights as NAME/weights.pt, and the curves as NAME/history.csv."""
    module, data = STAGES[name](folder / name)
    data.images_per_epoch = LENGTHS["checkpoint_every"]
    if precision == "64-true":
        module.double()  # before the average is made of it
    fit(module, data, folder / name, changes={"further": {"precision": precision}}, **LENGTHS)
    if ranks.number() == 0:
        torch.save(module.state_dict(), folder / name / "weights.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        torch.distributed.init_process_group("gloo")
    for stage in STAGES:
        train(stage, Path(sys.argv[1]), sys.argv[2])
