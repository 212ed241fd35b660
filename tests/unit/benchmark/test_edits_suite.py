"""The suite of edits on stand-in models whose edits are known."""

import pytest
import torch

from cxr_ldm.benchmark import edits
from cxr_ldm.benchmark.guidance import real
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.faithfulness.adherence import PhantomAdherence
from cxr_ldm.pipeline import TextToCXR


class Pastes:
    """Draws a real phantom that shows what is asked, in the hole; a whole image that ignores what is asked."""

    size, sha256, sampling, device = 64, "0" * 64, Sampling(), torch.device("cpu")

    def __init__(self):
        pixels, findings = real(400, 64, 1000)
        alone = [row for row, found in enumerate(findings) if len(found) == 1 and found[0]["name"] == edits.EFFUSION]
        shown = {findings[row][0]["side"]: pixels[row] for row in alone}
        self.shown = shown | {"normal": pixels[next(row for row, found in enumerate(findings) if not found)]}

    def encode(self, pixels):
        return pixels

    def decode(self, latents):
        return (latents + 0.01).clamp(-1, 1)

    def draw(self, prompts, seeds, sampling, original):
        asked = torch.stack([self.shown[prompt.split()[0].lower()] for prompt in prompts])
        given = self.decode(original.pixels)
        return given if original.hole is None else torch.where(original.hole, asked, given)


@pytest.fixture(scope="module")
def metrics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TextToCXR, "from_bundle", lambda folder: Pastes())
        return edits.run("outputs", {"held": "phantom"}, None, 24, 600, 2, 0)


def test_what_is_drawn_changes_and_what_is_kept_does_not(metrics):
    assert metrics["changed_held"].value > 0.9
    assert metrics["changed_whole"].value < 0.1
    assert metrics["added_held"].n == metrics["removed_held"].n == 12
    assert metrics["another_whole"].value == 0.0
    assert metrics["outside_held"].value == pytest.approx(1.0)
    assert metrics["seam_held"].value > 1.0, "pasted without a rim"
    assert "outside_whole" not in metrics


def test_an_effusion_of_the_other_side_is_counted():
    pixels, findings = real(600, 64, 1000)
    measure = PhantomAdherence()
    measure.calibrate(pixels, findings)
    chosen = edits.chosen_edits(pixels, findings, 24)
    left = torch.stack([Pastes().shown["left"]] * 24)
    found = edits.measured("x", chosen, chosen.pixels, left, None, measure, None, {})
    wrong = [side == "right" for side in chosen.sides]
    assert found["another_x"].value == pytest.approx(sum(wrong) / 24, abs=0.05)


def test_too_few_phantoms_are_refused():
    pixels, findings = real(50, 64, 1000)
    with pytest.raises(UserError, match=r"raise suite\.run\.phantoms"):
        edits.chosen_edits(pixels, findings, 400)


def test_the_page_has_a_row_for_each_way(metrics):
    content = {name: metric.entry() for name, metric in metrics.items()} | {"run": {"seed": 0}}
    text = edits.page(content)
    assert "| held | " in text
    assert "| inverted | " in text
    assert "24 edits a row" in text
