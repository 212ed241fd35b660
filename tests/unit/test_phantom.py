"""The phantom: the picture, the findings and the text must tell the same story, on the right side."""

import dataclasses
import pickle
import re

import numpy as np
import pytest

from cxr_ldm.data.phantom import PhantomReader, _anatomy, _position, draw_findings, load_image, patient_of
from cxr_ldm.data.phantom_anatomy import Finding, draw
from cxr_ldm.errors import UserError

SIZE = 64
MIRROR = {"right": "left", "left": "right"}
NAMES = ("pleural effusion", "cardiomegaly", "consolidation", "nodule", "pneumothorax")


@pytest.fixture(scope="module")
def records():
    return list(PhantomReader(n=600, size=SIZE, seed=0).records())


def picture(findings: list[Finding], patient: int = 0) -> np.ndarray:
    """One patient in one position, with other findings, without noise, as float."""
    position = dataclasses.replace(_position(np.random.default_rng(patient)), noise=0.0, shift_x=0.0, rotation=0.0)
    return draw(_anatomy(0, patient), position, findings, SIZE, [0]).astype(float)


def halves(change: np.ndarray) -> dict[str, float]:
    """Total absolute change in each half of the picture, by the patient's side."""
    return {"right": np.abs(change[:, : SIZE // 2]).sum(), "left": np.abs(change[:, SIZE // 2 :]).sum()}


def test_same_seed_and_index_give_the_same_bytes_whatever_n_is():
    one, two = PhantomReader(5, SIZE, 3).record(4), PhantomReader(50, SIZE, 3).record(4)
    assert one.load().tobytes() == two.load().tobytes()
    assert dataclasses.replace(one, load=None) == dataclasses.replace(two, load=None)
    assert PhantomReader(5, SIZE, 4).record(4).load().tobytes() != one.load().tobytes()


def test_image_contract_and_load_in_another_process():
    record = PhantomReader(3, 48, 0).record(2)
    image = pickle.loads(pickle.dumps(record.load))()
    assert image.dtype == np.uint8
    assert image.shape == (48, 48)
    assert image.min() < 20  # air beside the patient
    assert image.max() > 170  # bone


def test_the_same_study_at_another_size_is_the_same_picture():
    small, large = load_image(0, 5, 32).astype(float), load_image(0, 5, 128).astype(float)
    assert np.corrcoef(small.ravel(), large.reshape(32, 4, 32, 4).mean(axis=(1, 3)).ravel())[0, 1] > 0.99


def test_studies_of_a_patient_share_the_anatomy_and_patients_differ():
    ids = [record.patient_id for record in PhantomReader(9, SIZE, 0).records()]
    assert [ids.count(patient) for patient in dict.fromkeys(ids)] == [2, 1, 2, 1, 2, 1]
    assert patient_of(0) == patient_of(1) != patient_of(2)
    assert _anatomy(0, 0) != _anatomy(0, 1)


def test_normal_anatomy_lies_on_the_right_side():
    for patient in range(8):
        image = picture([], patient)
        right, left = image[:, : SIZE // 2], image[:, SIZE // 2 :]
        heart_rows = slice(int(0.58 * SIZE), int(0.66 * SIZE))
        # Beside the spine the heart is brighter towards the patient's left, which is at image right.
        assert left[heart_rows, 6:14].mean() > right[heart_rows, ::-1][:, 6:14].mean() + 10
        # The dome at image left is higher: its bright rows start earlier.
        column = SIZE // 2 - int(0.25 * SIZE)
        floor = [np.argmax(np.diff(half[SIZE // 2 : SIZE - 4])) for half in (image[:, column], image[:, -1 - column])]
        assert floor[0] < floor[1]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("name", "severity", "extent", "x", "y", "zone"),
    [
        ("pleural effusion", "small", 0.15, 0.0, 0.0, None),
        ("pleural effusion", "large", 0.8, 0.0, 0.0, None),
        ("consolidation", "small", 0.1, 0.45, 0.2, "lower"),
        ("consolidation", "large", 0.9, 0.42, -0.35, "upper"),
        ("nodule", None, 0.2, 0.5, -0.2, None),
        ("pneumothorax", "small", 0.1, 0.0, 0.0, None),
    ],
)
def test_a_finding_changes_its_own_side_where_it_is_said_to_be(name, severity, extent, x, y, zone, side):
    change = picture([Finding(name, side, severity, extent, x, y, zone)]) - picture([])
    own, other = halves(change)[side], halves(change)[MIRROR[side]]
    assert own > 4 * other
    assert np.abs(change).max() > 25  # visible on a 64-pixel picture
    rows = np.abs(change).sum(1)
    height = (rows * (np.arange(SIZE) + 0.5)).sum() / rows.sum() / SIZE
    if name == "pleural effusion":
        assert height > 0.55
    if zone:
        assert (height > 0.5) == (zone == "lower")


def test_effusion_grows_with_its_severity_and_heart_with_cardiomegaly():
    normal = picture([])
    for name, side in (("pleural effusion", "right"), ("cardiomegaly", None)):
        added = [(picture([Finding(name, side, "", extent)]) - normal).sum() for extent in (0.15, 0.5, 0.9)]
        assert 0 < added[0] < added[1] < added[2]


def test_share_of_each_finding(records):
    names = [{finding["name"] for finding in record.findings} for record in records]
    share = {name: sum(name in each for each in names) / len(names) for name in NAMES}
    assert 0.30 < sum(not each for each in names) / len(names) < 0.40
    assert max(share, key=share.get) == "pleural effusion"
    assert share["pleural effusion"] > 0.22
    assert all(0.05 < value < 0.35 for value in share.values())
    sides = [f["side"] for record in records for f in record.findings if f["name"] == "pleural effusion"]
    assert 0.4 < sides.count("right") / len(sides) < 0.6


def test_record_agrees_with_what_was_drawn(records):
    for index, record in enumerate(records):
        drawn = draw_findings(0, index)
        assert record.findings == [
            {"name": f.name, "side": f.side, "severity": f.severity, "certainty": "present"} for f in drawn
        ]
        assert len(record.labels) == len(drawn)
        sides = [finding.side for finding in drawn if finding.side]
        assert len(sides) == len(set(sides))  # never two findings in one lung


# What each finding is called in a text, after its negations have been taken out.
WORDS = {
    "pleural effusion": r"effusion|fluid|costophrenic",
    "cardiomegaly": r"cardiomegaly|enlarge",
    "consolidation": r"consolidation",
    "nodule": r"nodule",
    "pneumothorax": r"pneumothorax",
}


def test_text_is_true_of_the_picture(records):
    for record in records:
        text = record.text.lower()
        assert 1 <= len(text.split()) <= 40, record.text
        positive = re.sub(r"\b(no|without)\b[^.]*|normal[^.]*|within normal limits", "", text)
        present = {finding["name"] for finding in record.findings}
        for name, pattern in WORDS.items():
            assert bool(re.search(pattern, positive)) == (name in present), record.text
        sides = {finding["side"] for finding in record.findings} - {None}
        assert {side for side in MIRROR if re.search(rf"\b{side}\b", text)} == sides, record.text
        if present:
            assert not re.search(r"clear|normal chest|no acute", text), record.text
        if "cardiomegaly" in present:
            assert not re.search(r"normal", text), record.text
        for sentence in re.findall(r"\b(?:no|without)\b[^.]*", text):
            assert not any(re.search(WORDS[name], sentence) for name in present), record.text
        for severity in ("small", "mild", "large", "severe"):
            if re.search(rf"\b{severity}\b", text):
                assert severity in {finding["severity"] for finding in record.findings}, record.text


def test_texts_are_varied_and_the_prompts_of_the_demo_occur(records):
    texts = [record.text for record in records]
    assert len(set(texts)) > 300
    assert {"Right pleural effusion.", "Left pleural effusion.", "Normal chest X-ray, clear lungs."} <= set(texts)


@pytest.mark.parametrize(("arguments", "word"), [((0, 64, 0), "data.reader.n"), ((5, 8, 0), "data.size")])
def test_bad_sizes_are_refused(arguments, word):
    with pytest.raises(UserError, match=word):
        PhantomReader(*arguments)
