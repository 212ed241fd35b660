"""The guidance suite on a stand-in model whose images follow the prompt from a known scale on."""

import pytest
import torch

from cxr_ldm.benchmark import guidance
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.folder import to_pixels
from cxr_ldm.pipeline import TextToCXR


class FollowsFromTwo:
    """Draws a right effusion, a left one or a normal chest as asked from scale 2 on, and a normal chest below."""

    size, sha256 = 64, "0" * 64

    def __init__(self):
        self.shown = {}
        for record in PhantomReader(400, self.size, 7).records():
            effusions = [entry for entry in record.findings if entry["name"] == "pleural effusion"]
            if len(record.findings) == len(effusions) and len(self.shown) < 3:
                side = effusions[0]["side"] if effusions else "normal"
                self.shown.setdefault(side, to_pixels(record.load()[None])[0])

    def __call__(self, prompts, seeds, steps, guidance, sampler):
        sides = [prompt.split()[0].lower() if guidance >= 2 else "normal" for prompt in prompts]
        return torch.stack([self.shown[side] for side in sides])


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.setattr(TextToCXR, "from_bundle", lambda bundle: FollowsFromTwo())
    return guidance.run(None, [1, 2, 3], 12, 300, sampler=None, steps=2, seed=0)


def test_rates_and_movement_are_of_each_scale(metrics):
    assert metrics["adherence_finding_at_1"].value == pytest.approx(1 / 3)
    assert metrics["adherence_side_at_1"].value == 0.0
    assert metrics["adherence_finding_at_3"].value == metrics["adherence_side_at_2"].value == 1.0
    assert metrics["adherence_finding_at_3"].n == 12
    assert metrics["adherence_side_at_3"].n == 8
    assert metrics["moved_at_2"].value > 0.01
    assert metrics["moved_at_3"].value == 0.0
    assert "moved_at_1" not in metrics


def test_the_page_has_a_row_for_each_scale_and_the_real_ones(metrics):
    content = {name: metric.entry() for name, metric in metrics.items()} | {"run": {"seed": 0}}
    text = guidance.page(content)
    assert "| 1 | 0.3333 (" in text
    assert text.count("| real phantoms with ") == 2
