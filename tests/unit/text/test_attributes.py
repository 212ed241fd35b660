"""View, age and sex as a condition: how they are read, what they become, how they are dropped."""

import math

import pytest
import torch

from cxr_ldm.errors import UserError
from cxr_ldm.text.attributes import PatientAttributes, with_tokens
from cxr_ldm.text.conditioner import Conditioner

NAMES = ["view", "age", "sex"]


@pytest.fixture
def attributes():
    torch.manual_seed(0)
    return PatientAttributes(NAMES, 16)


def test_patients_become_numbers_and_what_is_missing_is_nan(attributes):
    rows = attributes.encode([{"view": "AP", "age": 60, "sex": "male"}, {"age": None}, {"sex": "female"}])
    assert rows[0].tolist() == [1.0, 60.0, 1.0]
    assert rows[1].isnan().all()
    assert [math.isnan(value) for value in rows[2].tolist()] == [True, True, False]


def test_each_attribute_changes_its_own_token_and_no_other(attributes):
    known = {"view": "PA", "age": 60.0, "sex": "female"}
    changes = {"view": ["AP", "lateral", None], "age": [61.0, 30.0, 0.0, None], "sex": ["male", None]}
    before = attributes(attributes.encode([known]))
    for column, name in enumerate(NAMES):
        for value in changes[name]:
            change = (attributes(attributes.encode([known | {name: value}])) - before).abs().amax(dim=2)[0]
            assert change[column] > 1e-3
            assert change.sum() == change[column]


def test_every_part_receives_a_gradient(attributes):
    values = attributes.encode([{"view": "PA", "age": 60.0, "sex": "female"}, {}])
    (attributes(values) * torch.randn(2, 3, 16)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in attributes.parameters())


@pytest.mark.parametrize(
    ("patient", "message"),
    [
        ({"view": "ap"}, "patient.view=ap is none of PA, AP, frontal, lateral"),
        ({"age": 130}, "patient.age=130 must be a number of years from 0 to 120"),
        ({"age": "old"}, "patient.age=old must be a number"),
        ({"sex": 1}, "patient.sex=1 is none of female, male"),
    ],
)
def test_impossible_values_are_refused(attributes, patient, message):
    with pytest.raises(UserError, match=message):
        attributes.encode([patient])


def test_an_attribute_that_the_model_does_not_know_is_refused():
    with pytest.raises(UserError, match="patient.age is set, but this model was trained on view alone"):
        PatientAttributes(["view"], 16).encode([{"view": "PA", "age": 60}])
    with pytest.raises(UserError, match="must be some of view, sex, age"):
        PatientAttributes(["weight"], 16)


def test_tokens_stand_before_the_text_and_always_count(attributes):
    states, mask = torch.randn(2, 4, 16), torch.tensor([[True, True, False, False], [True] * 4])
    context, counts = with_tokens(attributes(attributes.encode([{}, {"age": 4}])), states, mask)
    assert torch.equal(context[:, 3:], states)
    assert torch.equal(counts, torch.cat([torch.ones(2, 3, dtype=torch.bool), mask], dim=1))


def test_attributes_are_dropped_with_the_text_and_each_on_its_own(attributes):
    known = attributes.encode([{"view": "PA", "age": 60.0, "sex": "female"}] * 4000)
    numbers, random = torch.arange(1, 4001), torch.Generator().manual_seed(0)
    text, kept = Conditioner(None, attributes).dropped(numbers, known, 0.25, random)
    dropped, unknown = text == 0, kept.isnan()
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(text[~dropped], numbers[~dropped])
    assert unknown[dropped].all()
    assert unknown[~dropped].float().mean(dim=0).tolist() == pytest.approx([0.25] * 3, abs=0.03)
    assert (unknown[~dropped].sum(dim=1) == 1).any()
    assert not known.isnan().any()


def test_a_model_of_the_text_alone_draws_the_same_numbers_whether_it_is_asked_for_patients_or_not():
    """Equal runs of before: attributes of no patient take no random number."""
    random, alone = (torch.Generator().manual_seed(1) for _ in range(2))
    text, kept = Conditioner(None).dropped(torch.ones(50, dtype=torch.long), torch.zeros(50, 0), 0.5, random)
    assert torch.equal(text == 0, torch.rand(50, generator=alone) < 0.5)
    assert torch.equal(torch.rand(3, generator=random), torch.rand(3, generator=alone))
    assert kept.shape == (50, 0)
