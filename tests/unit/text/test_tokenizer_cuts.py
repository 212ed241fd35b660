"""Reports longer than the window are cut behind the last sentence that fits, and counted."""

import pytest
import torch

from cxr_ldm.errors import UserError
from cxr_ldm.text.encoders import TextEncoder
from cxr_ldm.text.tokenizer import Tokenizer, learn_wordpiece

WORDS = ["a nodule of 2.5 cm . ! ? in the left lung approx no effusion heart is normal size what now"] * 3
DEFINITION = learn_wordpiece(WORDS, 300)


def kept(text: str, length: int) -> list[str]:
    """Tokens of the text as the window leaves it."""
    tokenizer = Tokenizer(DEFINITION, length)
    ids, mask = tokenizer([text])
    return [tokenizer._tokenizer.id_to_token(number) for number in ids[0][mask[0]].tolist()]


@pytest.mark.parametrize(
    ("text", "length", "rest"),
    [
        ("No effusion. Heart is normal. A nodule.", 11, "no effusion . heart is normal ."),
        ("No effusion. Heart is normal. A nodule.", 9, "no effusion . heart is normal ."),  # to the token
        ("No effusion. Heart is normal. A nodule.", 8, "no effusion ."),
        ("No effusion! Heart is normal? A nodule.", 10, "no effusion ! heart is normal ?"),
        ("No effusion.\nHeart is normal.", 7, "no effusion ."),
        # the point of a decimal ends nothing
        ("Normal. A nodule of 2.5 cm in the left lung. What now?", 11, "normal ."),
        # an abbreviation counts as an end
        ("No effusion. A nodule of approx. 2.5 cm in the left lung.", 12, "no effusion . a nodule of approx ."),
        # one sentence that is too long by itself is cut at the window
        ("A nodule of 2.5 cm in the left lung.", 7, "a nodule of 2 ."),
        ("No effusion in the lung no nodule. Normal.", 6, "no effusion in the"),
        # what fits stays, a last sentence without a point included
        ("No effusion. Heart is normal", 8, "no effusion . heart is normal"),
        ("", 4, ""),
    ],
)
def test_a_long_text_ends_with_a_whole_sentence(text, length, rest):
    assert kept(text, length) == ["[CLS]", *rest.split(), "[SEP]"]


def test_long_texts_are_counted_and_neighbours_are_not_changed():
    tokenizer = Tokenizer(DEFINITION, 8)
    texts = ["No effusion. Heart is normal. A nodule.", "Normal.", "No effusion. Heart is normal"]
    assert tokenizer.cut(texts) == 1
    ids, mask = tokenizer(texts)
    assert mask.sum(dim=1).tolist() == [5, 4, 8]
    assert ids[1][mask[1]].tolist() == tokenizer(["Normal."])[0][0].tolist()


def test_texts_in_blocks_have_the_ids_of_all_at_once(monkeypatch):
    texts = ["Normal.", "", "No effusion. Heart is normal.", "A nodule.", "No effusion. Heart is normal. A nodule."]
    together = Tokenizer(DEFINITION, 8)(texts)
    monkeypatch.setattr("cxr_ldm.text.tokenizer.AT_ONCE", 2)
    for whole, apart in zip(together, Tokenizer(DEFINITION, 8)(texts), strict=True):
        assert torch.equal(whole, apart)
    assert Tokenizer(DEFINITION, 8).cut(texts) == 2


@pytest.mark.parametrize("length", [-1, 2, 513, 10.0])
def test_a_window_that_the_encoder_does_not_have_is_refused(length):
    architecture = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    with pytest.raises(UserError, match=r"text_encoder\.length=.* must be a whole number from 3 to 512"):
        TextEncoder(DEFINITION, architecture | {"max_position_embeddings": 512}, length, 0)
