"""CLIP's text encoder as models of Stable Diffusion's family have it: whole, frozen, and padded to its window."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cxr_ldm.errors import UserError
from cxr_ldm.text.encoders import TextEncoder
from cxr_ldm.text.tokenizer import Tokenizer

FAMILY = "clip_text_model"


class ClipTextEncoder(TextEncoder):
    """Texts to the last states `[N,L,width]` of CLIP's text transformer (Radford et al. 2021), of which nothing trains.

    Padding is attended to, since models of this family were trained so: the mask is all ones.

    Args:
        tokenizer: definition of the tokenizer (JSON text).
        architecture: the transformer's configuration as transformers writes it, `model_type` included.
        length: window in tokens; each text is padded to it, a longer one is cut.
        pad: the token of padding.

    Raises:
        UserError: it is another transformer, or its tokenizer does not know `pad`.
    """

    def __init__(self, tokenizer: str, architecture: Mapping[str, Any], length: int, pad: str) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        nn.Module.__init__(self)
        if architecture.get("model_type") != FAMILY:
            raise UserError(f"a text encoder of kind {architecture.get('model_type')} is not {FAMILY}.")
        self.arguments = {"tokenizer": tokenizer, "architecture": dict(architecture), "length": length, "pad": pad}
        self.tokenizer = Tokenizer(tokenizer, length, pad)
        self.transformer = CLIPTextModel(CLIPTextConfig(**architecture)).requires_grad_(False)
        self.width = self.transformer.config.hidden_size
        self.top, self.top_trains, self.lr_scale, self.from_ids = nn.ModuleList(), False, 1.0, False
        self.projection = nn.Sequential()
        self.train()

    @torch.no_grad()
    def frozen(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 `[U,L]` -> states `[U,L,width]`."""
        return self.transformer(ids).last_hidden_state  # type: ignore[no-any-return]

    def forward(self, cached: Tensor, mask: Tensor) -> Tensor:
        """The states as they are."""
        return cached.to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the transformer's weights."""
        return self.transformer.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.transformer.device  # type: ignore[no-any-return]
