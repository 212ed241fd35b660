"""WordPiece tokens, from a vocabulary learnt here or one that came with a pretrained encoder."""

from collections.abc import Iterable, Sequence

import torch
from tokenizers import BertWordPieceTokenizer
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.processors import BertProcessing
from torch import Tensor


class Tokenizer:
    """Texts to token ids.

    Args:
        definition: the tokenizer as JSON text, as the `tokenizers` library writes it.
        length: most tokens a text may have, the two special ones included; longer texts are cut.
    """

    def __init__(self, definition: str, length: int) -> None:
        self.definition, self.length = definition, length
        self._tokenizer = FastTokenizer.from_str(definition)
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(pad_id=self._tokenizer.token_to_id("[PAD]") or 0, length=None)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """`U` texts -> ids int64 `[U,L]` and mask bool `[U,L]` (False at padding), L that of the longest text."""
        encoded = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([entry.ids for entry in encoded])
        return ids, torch.tensor([entry.attention_mask for entry in encoded], dtype=torch.bool)

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than the window."""
        return sum(bool(entry.overflowing) for entry in self._tokenizer.encode_batch(list(texts)))

    @property
    def vocabulary(self) -> int:
        """Number of tokens, special ones included."""
        return self._tokenizer.get_vocab_size()


def learn_wordpiece(texts: Iterable[str], vocabulary: int) -> str:
    """Learn a lower-case WordPiece vocabulary (Wu et al. 2016) of at most `vocabulary` tokens; its JSON definition.

    The library breaks ties between equally frequent pieces at random, so two calls may differ: keep the result.
    """
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(texts, vocab_size=vocabulary, min_frequency=2, show_progress=False)
    # the ids of [SEP] and [CLS] exist only now; with them even the empty text has two tokens to attend to
    ends = {token: tokenizer.token_to_id(token) for token in ("[SEP]", "[CLS]")}
    tokenizer.post_processor = BertProcessing(*ends.items())
    return tokenizer.to_str()
