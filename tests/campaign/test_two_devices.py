"""Runs on two processes: what one device trains, two do."""

import json

import pytest

from cxr_ldm.bundle import load_bundle

pytestmark = pytest.mark.campaign
TINY = ["data.reader.n=160", "data.size=32", "vae=tiny", "logger=csv"]
LENGTHS = ["training.vae.images=128", "training.vae.validate_every=64", "training.vae.batch_size=8"]
ADVERSARY = [
    "+vae.adversary._target_=cxr_ldm.stages.adversary.Adversary",
    "+vae.adversary.network._target_=cxr_ldm.networks.discriminator.PatchDiscriminator",
    "+vae.adversary.network.channels=[8,8]",
    "+vae.adversary.network.groups=4",
    "+vae.adversary.weight=0.5",
    "+vae.adversary.start=0.5",
]


def test_a_vae_whose_adversary_sets_in_later_trains_on_two(command, tmp_path):
    where = f"paths.outputs={tmp_path}"
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.log_every=1", "name=two"]
    command("train.py", "stage=vae", *TINY, *ADVERSARY, *LENGTHS, *two, where)
    run = tmp_path / "vae" / "two"
    assert json.loads((run / "run.json").read_text())["complete"]
    assert load_bundle(run / "bundle", "vae").info["size"] == 32
    names = {line.split(",")[1] for line in (run / "history.csv").read_text().splitlines()[1:]}
    assert {"train/adversary", "train/discriminator"} <= names
