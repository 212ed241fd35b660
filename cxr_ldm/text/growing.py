"""New words for an encoder that learnt its vocabulary: appended, so that what it knew keeps its tokens and its rows."""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from cxr_ldm.text.encoders import TextEncoder
from cxr_ldm.text.tokenizer import Tokenizer

FEWEST = 3  # texts that hold a word


def grown(encoder: TextEncoder, texts: Sequence[str], most: int, definition: str | None = None) -> TextEncoder:
    """A copy of an encoder that knows the words of `texts` as whole words, and any text without them as before.

    A new word begins as the mean of the pieces that it was read by. A pretrained encoder keeps its vocabulary.

    Args:
        most: new words, the most frequent first.
        definition: of the tokenizer that an earlier part of the same run grew, in place of a new one.
    """
    if not encoder.from_ids:
        return copy.deepcopy(encoder)
    if definition is None:
        definition, words = with_words(encoder.tokenizer, new_words(encoder.tokenizer, texts)[:most])
    else:
        words = added(definition)[encoder.tokenizer.vocabulary :]
    old: dict[str, Any] = dict(encoder.arguments)
    architecture = old["architecture"] | {"vocab_size": Tokenizer(definition, old["length"]).vocabulary}
    larger = TextEncoder(definition, architecture, old["length"], old["trained_layers"])
    weights = encoder.state_dict()
    for name, value in larger.state_dict().items():
        if value.shape != weights[name].shape:  # the table of word embeddings, the one thing that is longer
            rows = [weights[name][pieces(encoder.tokenizer, word)].mean(dim=0) for word in words]
            weights[name] = torch.cat([weights[name], torch.stack(rows)])
    larger.load_state_dict(weights, strict=True)
    return larger


def new_words(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Words that the vocabulary holds in pieces or not at all, of FEWEST texts or more, the most frequent first."""
    found = Counter(word for text in texts for word in {w.lower() for w in tokenizer.unknown_words(text, pieces=True)})
    return sorted((word for word, count in found.items() if count >= FEWEST), key=lambda word: (-found[word], word))


def with_words(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[str, list[str]]:
    """The definition with these words behind all others, and those that were not there.

    They are matched as whole words, before the rest is cut into pieces, so that no other word is read otherwise.
    """
    fast = FastTokenizer.from_str(tokenizer.definition)
    missing = [word for word in words if fast.token_to_id(word) is None]
    fast.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in missing])
    return fast.to_str(), missing


def added(definition: str) -> list[str]:
    """All tokens of a definition in the order of their numbers."""
    vocabulary = FastTokenizer.from_str(definition).get_vocab(with_added_tokens=True)
    return sorted(vocabulary, key=vocabulary.__getitem__)


def pieces(tokenizer: Tokenizer, word: str) -> list[int]:
    """Ids of the pieces that a word is read by, without the two ends."""
    return tokenizer.encoding(word).ids[1:-1]
