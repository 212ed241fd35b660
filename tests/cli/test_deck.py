"""The slides' own settings, composed and stepped at 256x256 through the command line."""

import json

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

PHANTOMS = [
    "experiment=deck",
    "data=phantom",
    "data.size=256",
    "data.reader.n=24",
    "data.splits.val=0.15",
    "logger=csv",
    "trainer.precision=32",  # the recipe's 16 means bf16 here, which takes minutes an image on a CPU without AVX-512
]
LENGTHS = ["images=2", "validate_every=2", "batch_size=2", "accumulate=1"]


@pytest.fixture(scope="module")
def biobert(tmp_path_factory):
    """A BERT folder of BioBERT's width with random weights and two layers."""
    folder = tmp_path_factory.mktemp("biobert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "right", "left", "pleural", "effusion", "normal", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    BertModel(BertConfig(vocab_size=len(words), num_hidden_layers=2)).save_pretrained(folder)
    return folder


@pytest.mark.campaign
def test_both_stages_take_a_step(command, tmp_path, biobert):
    where = f"paths.outputs={tmp_path}"
    vae = [f"training.vae.{length}" for length in LENGTHS[:3]]
    printed = command("train.py", "stage=vae", *PHANTOMS, *vae, where).stdout
    assert "VAE: 3.42M parameters, 8 times smaller" in printed
    ldm = [f"training.ldm.{length}" for length in LENGTHS]
    printed = command("train.py", "stage=ldm", f"text_encoder.source={biobert}", *PHANTOMS, *ldm, where).stdout
    assert "denoiser: 42.2" in printed  # a VAE of one step has fewer live channels than eight
    assert "15,174,144 parameters, 593,664 of them train" in printed
    (bundle,) = tmp_path.glob("ldm/*/bundle")
    config = json.loads((bundle / "config.json").read_text())
    assert config["parts"]["network"]["attention_levels"] == [0, 1, 2]
    assert config["parts"]["scaling"] == {"part": "Epsilon"}
    (checkpoint,) = tmp_path.glob("ldm/*/checkpoints/last.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
