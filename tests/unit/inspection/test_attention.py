"""Cross-attention maps: they are the probabilities that the layer itself uses, and belong to the right word."""

import pytest
import torch

from cxr_ldm.assets import DEMO
from cxr_ldm.errors import UserError
from cxr_ldm.inspection.attention import attention_maps, probabilities
from cxr_ldm.networks.blocks import Attention
from cxr_ldm.pipeline import TextToCXR


@pytest.fixture(scope="module")
def pipeline():
    return TextToCXR.from_bundle(DEMO, "cpu")


def test_the_probabilities_give_the_layers_own_output():
    torch.manual_seed(0)
    attention = Attention(16, heads=4, context_width=12)
    x, context = torch.randn(2, 9, 16), torch.randn(2, 5, 12)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    weights = probabilities(attention, x, context, mask)
    values = attention.to_v(context).unflatten(-1, (4, -1)).transpose(1, 2)
    output = attention.to_out[0]((weights @ values).transpose(1, 2).flatten(2))
    assert torch.allclose(output, attention(x, context, mask), atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 4, 9), atol=1e-6)
    assert weights[1, ..., 3:].max() == 0, "padding gets nothing"


def test_words_get_the_shares_of_their_tokens(pipeline):
    prompt = "Large right pleural effusion, cardiomegaly."
    maps = attention_maps(pipeline, prompt, seed=0, steps=2)
    assert maps.words == ["Large", "right", "pleural", "effusion", ",", "cardiomegaly", "."]
    assert maps.maps.shape == (7, 64, 64)
    assert maps.maps.min() >= 0
    total = maps.maps.sum(0)
    assert total.max() < 1, "the two special tokens have the rest"
    assert total.min() > 0.2
    again = pipeline([prompt], [0], steps=2)[0]
    assert torch.equal(maps.image, again), "looking changes nothing"


def test_guidance_does_not_mix_in_the_empty_text(pipeline):
    """The recorded half is the text's: the scale changes the path, not whose attention is read at the first step."""
    one, three = (attention_maps(pipeline, "Left pneumothorax.", 1, steps=1, guidance=g) for g in (1.0, 3.0))
    assert torch.allclose(one.maps, three.maps, atol=1e-5)


def test_a_prompt_without_words_is_refused(pipeline):
    with pytest.raises(UserError, match="holds no word"):
        attention_maps(pipeline, "  ", 0, steps=1)


def test_previews_end_in_the_image(pipeline):
    seen = []
    images = pipeline(["Normal.", "Nodule."], [0, 1], steps=3, preview=lambda step, pixels: seen.append((step, pixels)))
    assert [step for step, _ in seen] == [1, 2, 3]
    assert all(pixels.shape == images.shape and pixels.abs().max() <= 1 for _, pixels in seen)
    # the last step of a flow ends on the estimate of the data itself
    assert torch.allclose(seen[-1][1], images, atol=1e-5)
    assert not torch.allclose(seen[0][1], images, atol=1e-2)
    assert torch.equal(images, pipeline(["Normal.", "Nodule."], [0, 1], steps=3)), "watching changes nothing"
