"""A folder of BioBERT's full size loads, caches and trains its top layers; its weights are random."""

import pytest
import torch

from cxr_ldm.benchmark.text_encoder import write_bert
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.stages.caches import text_table
from cxr_ldm.text.encoders import counts, pretrained
from cxr_ldm.text.unfreezing import Unfreezing

TEXTS = ["normal chest.", "effusion.", "normal chest."]


@pytest.fixture(scope="module")
def biobert(tmp_path_factory):
    """12 layers, 768 wide, a vocabulary of 28,996."""
    folder = tmp_path_factory.mktemp("biobert")
    write_bert(folder, {"vocab_size": 28_996})
    return folder


def test_it_loads_caches_below_its_top_layers_and_steps_before_and_after_they_are_freed(biobert, tmp_path):
    unfreezing = Unfreezing(2, 1, 0.1)
    encoder = pretrained([], str(biobert), 256, unfreezing)
    assert counts(encoder, unfreezing) == (
        "108,313,344 parameters, 593,664 train from the start and 14,769,408 from step 1"
    )
    assert parameter_count(encoder) - parameter_count(encoder.projection) == 107_719_680
    table = text_table(
        encoder, [[text] for text in TEXTS], tmp_path, {"weights": encoder.frozen_sha256()}, torch.device("cpu")
    )
    assert table.cached.dtype == "float16"
    assert table.cached.shape == (3, 5, 768)
    batch = table.batch(torch.arange(3).numpy())
    with torch.no_grad():
        whole, mask = encoder.encode(["", "effusion.", "normal chest."])
        cached = encoder(batch["cached"], batch["mask"])
        torch.testing.assert_close(cached[mask], whole[mask], rtol=0, atol=2e-2)  # the cache holds float16
    for frees in (False, True):
        encoder.top_trains = frees
        states = encoder(batch["cached"], batch["mask"])
        (states * torch.randn(states.shape)).sum().backward()
        assert all((weight.grad.abs().sum() > 0) == frees for weight in encoder.top.parameters())
        assert all(weight.grad.abs().sum() > 0 for weight in encoder.projection.parameters())
        assert all(weight.grad is None for weight in encoder.transformer.parameters())
        encoder.zero_grad()
