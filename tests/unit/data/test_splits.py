"""A patient's split is a function of the patient alone."""

import pytest

from cxr_ldm.data.prepared.splits import split_of
from cxr_ldm.errors import UserError

PATIENTS = [f"patient-{number}" for number in range(20_000)]


def test_shares_are_those_asked_for():
    splits = [split_of(patient, seed=3, val=0.1, test=0.2) for patient in PATIENTS]
    # Five standard errors of a binomial share at n = 20,000.
    assert splits.count("val") / len(splits) == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / 20_000) ** 0.5)
    assert splits.count("test") / len(splits) == pytest.approx(0.2, abs=5 * (0.2 * 0.8 / 20_000) ** 0.5)


def test_another_seed_is_an_independent_split():
    first = [split_of(patient, seed=0, val=0.0, test=0.5) for patient in PATIENTS]
    second = [split_of(patient, seed=1, val=0.0, test=0.5) for patient in PATIENTS]
    agreement = sum(a == b for a, b in zip(first, second, strict=True)) / len(PATIENTS)
    assert agreement == pytest.approx(0.5, abs=0.02)


def test_a_larger_test_share_keeps_every_earlier_test_patient():
    for patient in PATIENTS[:2000]:
        if split_of(patient, seed=0, val=0.1, test=0.1) == "test":
            assert split_of(patient, seed=0, val=0.1, test=0.2) == "test"


def test_known_values_hold_for_ever():
    ids = ["1", "2", "person1", "IM-0001", "nih/61", "", "ä"]
    splits = ["train", "val", "train", "train", "test", "train", "train"]
    assert [split_of(patient, seed=0, val=0.3, test=0.3) for patient in ids] == splits


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (-0.1, 0.1), (0.1, 1.0)])
def test_impossible_shares_are_refused(val, test):
    with pytest.raises(UserError, match="sum below 1"):
        split_of("p", seed=0, val=val, test=test)
