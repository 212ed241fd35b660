"""Keys and values of a text, computed once for all steps of an image."""

import torch

from cxr_ldm import TextToCXR
from cxr_ldm.networks.blocks import Attention, TransformerLayer, texts_once
from cxr_ldm.networks.unet import UNet

SHAPE = {"channels": [8, 16], "blocks": 1, "attention_levels": [0, 1], "middle_attention": True, "groups": 4}


def calls(network):
    """How often each cross-attention projects a text, counted from now on."""
    counted = []
    for layer in network.modules():
        if isinstance(layer, TransformerLayer):
            layer.attn2.to_k.register_forward_hook(lambda *_: counted.append(1))
    return counted


def test_each_text_is_projected_once_and_the_result_is_the_same():
    torch.manual_seed(0)
    network = UNet(2, 12, heads=4, **SHAPE).eval()
    layers = sum(isinstance(module, TransformerLayer) for module in network.modules())
    texts = [torch.randn(1, 3, 12) for _ in range(2)]
    mask, label = torch.ones(1, 3, dtype=torch.bool), torch.tensor([500.0])
    noise = [torch.randn(1, 2, 8, 8) for _ in range(3)]
    with torch.no_grad():
        plain = [network(x, label, text, mask) for x in noise for text in texts]
        counted = calls(network)
        with texts_once(network):
            once = [network(x, label, text, mask) for x in noise for text in texts]
        assert len(counted) == 2 * layers
        assert all(torch.equal(one, other) for one, other in zip(once, plain, strict=True))
        network(noise[0], label, texts[0], mask)
    assert len(counted) == 3 * layers  # nothing is kept afterwards
    assert {layer.known for layer in network.modules() if isinstance(layer, Attention)} == {None}


def test_an_image_is_the_same_and_its_text_projected_once():
    pipeline = TextToCXR.from_bundle("phantom")
    layers = sum(isinstance(module, TransformerLayer) for module in pipeline.denoiser.network.modules())
    counted = calls(pipeline.denoiser.network)
    image = pipeline("Left effusion.", seeds=3, steps=4, guidance=2.0)
    assert len(counted) == layers
    again = pipeline(["Left effusion.", "Normal."], seeds=[3, 4], steps=4, guidance=2.0)
    assert torch.allclose(image[0], again[0], atol=1e-5)
