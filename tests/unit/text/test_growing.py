"""A learnt vocabulary takes up new words, and reads everything else as before."""

import torch

from cxr_ldm.text.encoders import scratch
from cxr_ldm.text.growing import grown, new_words

KNOWN = [
    "Spondy losis.",
    "Right pleural effusion.",
    "Left pleural effusion.",
    "The heart is normal.",
    "No pneumothorax is seen.",
] * 3
NEW = [
    "Spondylosis and right effusion.",
    "Mild spondylosis.",
    "Spondylosis.",
    "A hiatal hernia.",
    "The spondylo is seen.",
]
# `spondylosisx` begins like a new word, and is none
OLD = ["Right pleural effusion.", "spondylosisx", "", "The heart is normal, no hernia."]


def encoder():
    torch.manual_seed(0)
    return scratch(KNOWN, vocabulary=80, layers=1, width=16, heads=2, length=24).eval()


def test_frequent_words_become_tokens_and_rare_ones_stay_pieces():
    known = encoder()
    assert new_words(known.tokenizer, NEW) == ["spondylosis"]
    larger = grown(known, NEW, most=10)
    assert larger.tokenizer.vocabulary == known.tokenizer.vocabulary + 1
    assert larger.tokenizer.unknown_words("Spondylosis, mild.", pieces=True) == ["mild"]
    assert grown(known, NEW, most=0).tokenizer.vocabulary == known.tokenizer.vocabulary


def test_texts_without_new_words_have_the_states_that_they_had():
    known, larger = encoder(), grown(encoder(), NEW, most=10).eval()
    for one, other in zip(known.tokenizer(OLD), larger.tokenizer(OLD), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        for one, other in zip(known.encode(OLD), larger.encode(OLD), strict=True):
            assert torch.equal(one, other)


def test_a_new_word_begins_as_the_mean_of_its_pieces():
    known, larger = encoder(), grown(encoder(), NEW, most=10)
    ids = known.tokenizer.encoding("spondylosis").ids[1:-1]
    assert len(ids) > 1
    table = larger.transformer.embeddings.word_embeddings.weight
    assert torch.equal(table[-1], known.transformer.embeddings.word_embeddings.weight[ids].mean(dim=0))


def test_a_resumed_run_grows_its_own_vocabulary_again():
    once = grown(encoder(), NEW, most=10)
    again = grown(encoder(), ["Quite other words."] * 3, most=10, definition=once.tokenizer.definition)
    assert again.tokenizer.definition == once.tokenizer.definition
    for name, value in once.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
