"""Where the denoiser looks for a word: its cross-attention while it draws, as maps over the image.

Tang et al. 2023 ("What the DAAM", section 3): attention probabilities of a word, averaged over heads, layers and
sampling steps, at the size of the image. They show what the text's tokens contributed to, which is evidence of what the
model used and no proof of what it understood.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import Attention, TransformerLayer
from cxr_ldm.pipeline import TextToCXR


@dataclass(frozen=True)
class AttentionMaps:
    """One image with the share of attention that each word of its prompt got.

    Attributes:
        image: float32 `[1,H,W]` in [-1, 1].
        words: W words of the prompt in order, as they are written there.
        maps: float32 `[W,H,W]` in [0, 1], nearest neighbour up from the layers' own sizes: for each place the share of
            attention on this word. Over all words, the two special tokens and any attributes they sum to 1.
    """

    image: Tensor
    words: list[str]
    maps: Tensor


def attention_maps(
    pipeline: TextToCXR, prompt: str, seed: int, patient: Mapping[str, Any] | None = None, **sampling: Any
) -> AttentionMaps:
    """Draw one image and record its cross-attention.

    Args:
        patient: view, age and sex, as in the pipeline's call.
        sampling: steps, guidance, sampler, times, as in the pipeline's call.

    Raises:
        UserError: the prompt holds no word, or the denoiser has no cross-attention of this project's blocks.
    """
    encoded = pipeline.conditioner.text_encoder.tokenizer.encoding(prompt)
    numbers = sorted({number for number in encoded.word_ids if number is not None})
    if not numbers:
        raise UserError("the prompt holds no word to look for; write at least one.")
    with recorded(pipeline.denoiser.network) as steps:
        image = pipeline.uncompiled()([prompt], [seed], patients=None if patient is None else [patient], **sampling)[0]
    if not steps:
        raise UserError("this model's denoiser has no cross-attention layer that can be read.")
    size = (pipeline.size, pipeline.size)
    mean = torch.stack([functional.interpolate(each[None], size)[0] for each in steps]).mean(0)  # [tokens, H, W]
    first = (
        len(mean) - len(encoded.ids) if pipeline.conditioner.takes_patients else 0
    )  # attributes stand before the text
    tokens = {number: [i for i, owner in enumerate(encoded.word_ids) if owner == number] for number in numbers}
    spans = [(encoded.offsets[places[0]][0], encoded.offsets[places[-1]][1]) for places in tokens.values()]
    maps = [mean[[first + place for place in places]].sum(0) for places in tokens.values()]
    return AttentionMaps(image, [prompt[start:end] for start, end in spans], torch.stack(maps))


@contextmanager
def recorded(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, while the block runs, the probabilities `[L,h,w]` of each cross-attention layer in a row of the batch.

    It is the last row, since guidance puts the text's half of the batch behind that of the empty text.
    """
    maps: list[Tensor] = []

    def record(module: nn.Module, arguments: Sequence[Tensor]) -> None:
        assert isinstance(module, Attention)
        maps.append(squares(probabilities(module, *arguments)[-1].mean(0)))

    hooks = [
        layer.attn2.register_forward_pre_hook(record)
        for layer in network.modules()
        if isinstance(layer, TransformerLayer)
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def probabilities(attention: Attention, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
    """softmax(Q Kᵀ / sqrt(d)) over the tokens that may be attended to, `[N,heads,Q,L]` (Vaswani et al. 2017, eq. 1)."""
    query, key = (
        projected.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for projected in (attention.to_q(x), attention.to_k(context))
    )
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1).float().cpu()


def squares(weights: Tensor) -> Tensor:
    """`[Q,L]` over the places of a square feature map, row by row -> `[L,h,w]`.

    >>> squares(torch.arange(8.0).view(4, 2))[1].tolist()
    [[1.0, 3.0], [5.0, 7.0]]
    """
    side = round(len(weights) ** 0.5)
    return weights.T.unflatten(1, (side, side))
