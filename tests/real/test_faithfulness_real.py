"""Prompts that were shuffled must be ranked worse on real radiographs too: a brief classifier of children's chests."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr_ldm.data.findings.targets import all_targets, learnable
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.metrics.faithfulness.judged import Judged, faithfulness
from cxr_ldm.networks.classifier import Classifier
from cxr_ldm.stages.classifier import masked_cross_entropy

PATTERN = r"/(?P<label>NORMAL|PNEUMONIA)/(?P<patient>person\d+|(?:NORMAL2-)?IM-\d+)(?:_(?P<cause>bacteria|virus))?"
TEXTS = {"bacteria": "Bacterial pneumonia.", "virus": "Viral pneumonia.", "": "Normal, clear lungs."}


def children(shared, folder):
    reader = TableReader(
        shared / "kermany_cxr",
        text="Frontal chest X-ray of a child. {cause}",
        files="*/*/*.jpeg",
        pattern=PATTERN,
        values={"cause": TEXTS},
        patient="patient",
        view="frontal",
        labels=["label", "cause"],
        source="kermany",
    )
    splits = {"seed": 0, "val": 0.1, "test": 0.3}
    return prepare(reader, folder, Target(64, "crop"), name="children", kind="kermany", splits=splits, limit=900)


@pytest.mark.real
@pytest.mark.campaign
def test_a_brief_classifier_sees_pneumonia_and_shuffled_prompts_are_ranked_worse(shared, tmp_path):
    prepared = children(shared, tmp_path / "prepared")
    train, test = prepared.rows("train"), prepared.rows("test")
    targets = learnable(all_targets(prepared.manifest), train, 20)
    torch.manual_seed(0)
    network = Classifier(targets.classes, channels=[8, 16, 32], blocks=1, groups=4)
    optimizer, random = torch.optim.AdamW(network.parameters(), lr=3e-3), np.random.default_rng(0)
    for _ in range(300):
        rows = random.choice(train, 32)
        loss = masked_cross_entropy(network(prepared.pixels(rows)), torch.from_numpy(targets.values[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = Judged(
        targets.classes,
        network.eval().probabilities(prepared.pixels(test)).numpy(),
        targets.values[test],
        np.asarray(targets.prevalence(train)),
        prepared.texts(test),
        prepared.patients(test),
        prepared.manifest["source"].to_numpy(dtype=str)[test],
    )
    order = np.random.default_rng(1).permutation(len(test))
    wrong = faithfulness(replace(right, probabilities=right.probabilities[order]), {})
    metrics = faithfulness(right, {})
    assert metrics["auroc_pneumonia"].value > 0.85
    for name in ("auroc_pneumonia", "auroc_mean", "prompt_retrieval_top1"):
        assert metrics[name].ci95[0] > wrong[name].ci95[1], name
    assert wrong["auroc_pneumonia"].value == pytest.approx(0.5, abs=0.15)
