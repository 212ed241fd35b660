"""A folder of real images is prepared by its content: one that has changed is not taken for what it was."""

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from cxr_ldm.commands.scoring import collection


def test_a_folder_that_has_changed_is_prepared_anew(tmp_path):
    folder, random = tmp_path / "real", np.random.default_rng(0)
    folder.mkdir()

    def add(name):
        Image.fromarray(random.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / name)

    for number in range(3):
        add(f"{number}.png")
    cfg = OmegaConf.create(
        {"paths": {"outputs": str(tmp_path / "out")}, "size": 32, "fit": "pad", "workers": 1, "verify": "stat"}
    )
    first = collection(cfg, str(folder), "test", "real")
    assert collection(cfg, str(folder), "test", "real").folder == first.folder
    add("3.png")
    second = collection(cfg, str(folder), "test", "real")
    assert (len(first), len(second)) == (3, 4)
    assert first.folder != second.folder
