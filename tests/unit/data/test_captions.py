"""Wordings of a report: what it denies left out, its order, its findings in a few words."""

import numpy as np
import pytest

from cxr_ldm.data.batches.captions import NORMAL, Wording, caption, parts
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.errors import UserError

REPORT = (
    "The heart is enlarged. Lungs are clear without pneumothorax. Small left pleural effusion. Sternotomy wires. "
    "No acute fracture."
)


def test_the_report_itself_comes_first_and_the_rest_is_a_function_of_the_image():
    wording = Wording(6, short=0.5, drop_denied=True)
    texts = wording.of(REPORT, "a")
    assert (len(texts), texts[0]) == (6, REPORT)
    assert wording.of(REPORT, "a") == texts != wording.of(REPORT, "b")
    assert wording.of_all([REPORT, "Normal."], ["a", "c"])[0] == texts
    assert Wording().of(REPORT, "a") == [REPORT]


def test_denied_sentences_go_and_the_others_stay_in_every_order():
    texts = Wording(60, drop_denied=True).of(REPORT, "a")[1:]
    kept = {"The heart is enlarged.", "Small left pleural effusion.", "Sternotomy wires."}
    assert {frozenset(parts(text)) for text in texts} == {frozenset(kept)}
    assert len(set(texts)) == 6  # of three sentences
    whole = Wording(9).of(REPORT, "a")[1:]
    assert {frozenset(parts(text)) for text in whole} == {frozenset(parts(REPORT))}


def test_a_caption_names_what_is_not_denied_and_reads_back_the_same():
    texts = set(Wording(40, short=1.0).of(REPORT.replace("Sternotomy wires. ", ""), "a")[1:])
    assert texts == {
        "Cardiomegaly. Small left pleural effusion.",
        "Small left pleural effusion. Cardiomegaly.",
    }
    for text in texts:
        found = {(each["name"], each["side"], each["certainty"]) for each in read_findings(text)}
        assert found == {("cardiomegaly", None, "present"), ("pleural effusion", "left", "present")}


def test_a_normal_report_gets_words_for_it():
    random = np.random.default_rng(0)
    assert {caption("Heart size is normal. No effusion.", random) for _ in range(30)} == set(NORMAL)
    texts = Wording(30, drop_denied=True).of("No effusion. Heart size is normal.", "a")[1:]
    assert set(texts) == set(NORMAL)


def test_the_share_of_captions_is_what_was_asked():
    texts = [Wording(101, short=0.3).of(REPORT, str(number))[1:] for number in range(20)]
    captions = np.mean(["Cardiomegaly" in text for wordings in texts for text in wordings])
    assert 0.26 < captions < 0.34


@pytest.mark.parametrize(("options", "words"), [({"count": 0}, "count=0"), ({"short": 1.5}, "short=1.5")])
def test_impossible_wordings_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        Wording(**options)
