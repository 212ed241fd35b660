"""WordPiece tokens, from a vocabulary learnt here or one that came with a pretrained encoder."""

import re
from collections.abc import Iterable, Sequence

import torch
from tokenizers import BertWordPieceTokenizer, Encoding
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.processors import BertProcessing
from torch import Tensor
from torch.nn import functional

from cxr_ldm.errors import UserError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# A mark with space or nothing behind it, so not the point of 2.5; abbreviations such as "approx. " count as ends.
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


AT_ONCE = 4096  # texts whose encodings are in memory: they take a hundred times the room of their ids


class Tokenizer:
    """Texts to token ids.

    A text that does not fit the window is cut behind the last sentence that fits whole; where not even the first
    does, at the window.

    Args:
        definition: the tokenizer as JSON text, as the `tokenizers` library writes it.
        length: most tokens a text may have, the two special ones included.
        pad: a token by which every text is brought to `length`, and which counts as one of its tokens; None: texts are
            as long as the longest, and padding is masked.

    Raises:
        UserError: the vocabulary has no `pad`.
    """

    def __init__(self, definition: str, length: int, pad: str | None = None) -> None:
        self.definition, self.length, self.masked = definition, length, pad is None
        self._tokenizer = FastTokenizer.from_str(definition)
        self._tokenizer.enable_truncation(length)
        number = self._tokenizer.token_to_id("[PAD]" if pad is None else pad)
        if pad is not None and number is None:
            raise UserError(f"the tokenizer has no token {pad!r} to pad with; copy it again.")
        self._tokenizer.enable_padding(pad_id=number or 0, length=None if pad is None else length)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """`U` texts -> ids int64 `[U,L]` and mask bool `[U,L]` (False at padding), L that of the longest text."""
        parts = [self._encoded(part) for part in blocks(texts)]
        longest = max(ids.shape[1] for ids, _ in parts)
        room = [(0, longest - ids.shape[1]) for ids, _ in parts]
        filling = self._tokenizer.padding["pad_id"]
        ids = torch.cat([functional.pad(ids, more, value=filling) for (ids, _), more in zip(parts, room, strict=True)])
        mask = torch.cat([functional.pad(mask, more) for (_, mask), more in zip(parts, room, strict=True)])
        return ids, mask

    def _encoded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        encoded = self._tokenizer.encode_batch(list(texts))
        if any(entry.overflowing for entry in encoded):
            pairs = zip(texts, encoded, strict=True)
            encoded = self._tokenizer.encode_batch([whole_sentences(text, entry) for text, entry in pairs])
        ids = torch.tensor([entry.ids for entry in encoded])
        if not self.masked:
            return ids, torch.ones_like(ids, dtype=torch.bool)
        return ids, torch.tensor([entry.attention_mask for entry in encoded], dtype=torch.bool)

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than the window."""
        encoded = (entry for part in blocks(texts) for entry in self._tokenizer.encode_batch(list(part)))
        return sum(bool(entry.overflowing) for entry in encoded)

    def kept(self, text: str) -> str:
        """The beginning of a text that its tokens stand for: all of it where it fits."""
        (whole,) = self._tokenizer.encode_batch([text])
        return text[: max(end for _, end in self.encoding(text).offsets)] if whole.overflowing else text

    def unknown_words(self, text: str, *, pieces: bool) -> list[str]:
        """Words that the vocabulary does not have, in order; marks such as quotes do not count.

        Args:
            pieces: whether a word that it has in pieces only counts as well.
        """
        encoded, found = self.encoding(text), []
        spans: dict[int, list[int]] = {}
        for place, word in enumerate(encoded.word_ids):
            if word is not None:
                spans.setdefault(word, []).append(place)
        for places in spans.values():
            word = text[encoded.offsets[places[0]][0] : encoded.offsets[places[-1]][1]]
            missing = any(encoded.tokens[place] == "[UNK]" for place in places) or (pieces and len(places) > 1)
            if missing and any(letter.isalnum() for letter in word):
                found.append(word)
        return found

    def encoding(self, text: str) -> Encoding:
        """One text without padding: its ids, which word each belongs to, and where that stands in the text."""
        (encoded,) = self._tokenizer.encode_batch([text])
        if encoded.overflowing:
            (encoded,) = self._tokenizer.encode_batch([whole_sentences(text, encoded)])
        return encoded

    @property
    def vocabulary(self) -> int:
        """Number of tokens, special ones included."""
        return self._tokenizer.get_vocab_size()


def blocks(texts: Sequence[str]) -> list[Sequence[str]]:
    """Texts in order, AT_ONCE at a time; one block where there are none."""
    return [texts[start : start + AT_ONCE] for start in range(0, max(1, len(texts)), AT_ONCE)]


def whole_sentences(text: str, encoded: Encoding) -> str:
    """The text up to its last sentence that was encoded whole; all of it where it fits, or where no sentence does."""
    if not encoded.overflowing:
        return text
    reach = max(end for _, end in encoded.offsets)  # in characters; special tokens stand at 0
    return text[: max((mark.end() for mark in SENTENCE_END.finditer(text) if mark.end() <= reach), default=None)]


def learn_wordpiece(texts: Iterable[str], vocabulary: int) -> str:
    """Learn a lower-case WordPiece vocabulary (Wu et al. 2016) of at most `vocabulary` tokens; its JSON definition.

    A function of the texts. Left alone, the library numbers single characters as its hash table happens to hold them
    and breaks ties between equally frequent pieces by these numbers, so they are numbered beforehand.
    """
    texts = list(texts)
    learner = BertWordPieceTokenizer(lowercase=True)
    numbered = [*SPECIAL, *_single_characters(learner, texts)]
    learner.train_from_iterator(
        texts, vocab_size=vocabulary, min_frequency=2, show_progress=False, special_tokens=numbered
    )
    # built anew: in the learner the characters are special, which would keep them from joining into words
    tokenizer = BertWordPieceTokenizer(vocab=learner.get_vocab(), lowercase=True)
    # with both ends even the empty text has two tokens to attend to
    ends = {token: tokenizer.token_to_id(token) for token in ("[SEP]", "[CLS]")}
    tokenizer.post_processor = BertProcessing(*ends.items())
    return tokenizer.to_str()


def _single_characters(tokenizer: BertWordPieceTokenizer, texts: Sequence[str]) -> list[str]:
    """The characters of all words, and with ## those that stand behind another one."""
    texts = [tokenizer.normalizer.normalize_str(text) for text in texts]
    words = {word for text in texts for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)}
    return sorted(
        {letter for word in words for letter in word} | {f"##{letter}" for word in words for letter in word[1:]}
    )
