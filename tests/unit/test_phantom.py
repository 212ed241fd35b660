"""The phantom: the picture, the findings and the text must tell the same story, on the right side."""

import dataclasses
import json
import pickle
import re

import numpy as np
import pytest

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.phantom.patient import (
    NAMES,
    Finding,
    Position,
    draw_anatomy,
    draw_findings,
    draw_position,
    first_study,
    patient_of,
)
from cxr_ldm.data.phantom.picture import Study, attenuation, expose, masks
from cxr_ldm.data.phantom.reader import READ_AS, PhantomReader, load_image, study_of, truth
from cxr_ldm.data.phantom.report import headings, write_sections
from cxr_ldm.errors import UserError

SIZE = 64
MIRROR = {"right": "left", "left": "right"}
# One finding of each name, as small as it is drawn.
SMALLEST = {
    "pleural effusion": Finding("pleural effusion", "right", "small", 0.14),
    "cardiomegaly": Finding("cardiomegaly", None, "mild", 0.20),
    "consolidation": Finding("consolidation", "right", "small", 0.0, 0.45, 0.2, "lower"),
    "nodule": Finding("nodule", "right", None, 0.0, 0.5, -0.2, "upper"),
    "pneumothorax": Finding("pneumothorax", "right", "small", 0.05),
    "atelectasis": Finding("atelectasis", "right", "mild", 0.0, 0.4, 0.14, "base"),
    "edema": Finding("edema", None, "mild", 0.15),
    "pacemaker": Finding("pacemaker", "right", None, 0.5, 0.5, -0.58),
}


@pytest.fixture(scope="module")
def records():
    return list(PhantomReader(n=600, size=SIZE, seed=0).records())


def upright(patient: int, **changes) -> Position:
    """A PA exposure in the middle of the picture."""
    position = dataclasses.replace(draw_position(0, first_study(patient)), view="PA", heart_magnification=1.0)
    return dataclasses.replace(position, shift_x=0.0, rotation=0.0, turn=0.0, inspiration=1.0, **changes)


def picture(findings: list[Finding], patient: int = 0, size: int = SIZE, **changes) -> np.ndarray:
    """One patient in one position, with other findings, without noise."""
    study = Study(draw_anatomy(0, patient), upright(patient, **changes), findings, [0])
    return expose(attenuation(study, size)[0], study.position, None)


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
    assert draw_anatomy(0, 0) != draw_anatomy(0, 1)
    assert [patient_of(first_study(patient)) for patient in range(20)] == list(range(20))


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
        ("atelectasis", "mild", 0.1, 0.4, 0.14, "lower"),
        ("atelectasis", "severe", 0.9, 0.4, 0.14, "lower"),
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


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("name", NAMES)
def test_every_finding_changes_the_picture_inside_its_mask(name, size):
    """Even the smallest, against the same study without it; and it changes the rest of the picture less."""
    finding = SMALLEST[name]
    study = Study(draw_anatomy(0, 0), upright(0), [finding], [0])
    (mask,) = masks(attenuation(study, size)[1], size)
    change = np.abs(picture([finding], size=size) - picture([], size=size))
    assert mask.any()
    assert change[mask].mean() > 4
    assert change[mask].mean() > 2.5 * change[~mask].mean()  # a lung that collapses gets denser
    assert change[mask].max() > 15


def test_no_finding_of_a_drawn_study_hides_another():
    """Taking one of two findings away must be seen where it was, so that the text names nothing that is not shown."""
    pairs = [study for index in range(500) if len((study := study_of(0, index)).findings) == 2][:60]
    assert len(pairs) == 60
    for study in pairs:
        total, covered = attenuation(study, SIZE)
        shown = expose(total, study.position, None)
        for finding, mask in zip(study.findings, masks(covered, SIZE), strict=True):
            others = [other for other in study.findings if other is not finding]
            without = expose(attenuation(dataclasses.replace(study, findings=others), SIZE)[0], study.position, None)
            assert np.abs(shown - without)[mask].mean() > 6, (finding, others)


def test_truth_is_json_and_lies_on_the_side_it_names():
    seen = set()
    for index in range(150):
        parameters, shapes = truth(0, index, 32)
        assert json.loads(json.dumps(parameters)) == parameters
        assert shapes.shape == (len(parameters["findings"]), 32, 32)
        assert shapes.dtype == bool
        shift = parameters["exposure"]["shift_x"] / 2
        for finding, mask in zip(parameters["findings"], shapes, strict=True):
            seen.add(finding["name"])
            assert 0 < mask.sum() < 0.5 * mask.size
            assert finding["area"] == mask.mean()
            if finding["side"] and finding["name"] != "pacemaker":  # its leads cross to the right
                assert (finding["centre"][0] - shift < 0.5) == (finding["side"] == "right")
    assert seen == set(NAMES)


def test_the_smallest_picture_still_shows_every_finding():
    for index in range(150):
        assert all(mask.any() for mask in truth(1, index, 16)[1])


def test_a_pacemaker_has_its_case_on_its_side_and_its_leads_in_the_right_heart():
    for side, sign in (("right", -1), ("left", 1)):
        study = Study(draw_anatomy(0, 0), upright(0), [Finding("pacemaker", side, None, 0.5, 0.5, -0.58)], [0])
        (mask,) = masks(attenuation(study, 128)[1], 128)
        case = mask[20:34].sum(0)
        assert case.argmax() == pytest.approx(64 + sign * 0.5 * 64, abs=9)
        assert mask[40:70, 50:63].any()
        assert not mask[40:70, 64:].any()  # the superior vena cava lies at the patient's right


def test_stomach_bubble_lies_under_the_left_dome():
    for patient in range(8):
        anatomy = draw_anatomy(0, patient)
        change = picture([], patient) - expose(
            attenuation(Study(dataclasses.replace(anatomy, bubble=1e-3), upright(patient), [], [0]), SIZE)[0],
            upright(patient),
            None,
        )
        assert change.min() < -8  # darker than the abdomen
        rows, columns = np.nonzero(change < -4)
        assert columns.min() > SIZE // 2
        assert rows.min() > SIZE // 2


def test_sex_age_and_projection_show():
    anatomy, position = draw_anatomy(0, 1), upright(1)

    def shown(anatomy, position):
        return expose(attenuation(Study(anatomy, position, [], [0]), SIZE)[0], position, None)

    plain = shown(anatomy, position)
    breasts = shown(dataclasses.replace(anatomy, breast=1.0), position) - shown(
        dataclasses.replace(anatomy, breast=0.0), position
    )
    assert breasts.max() > 8
    assert np.nonzero(breasts > 4)[0].min() > 0.45 * SIZE
    ages = {age: [draw_anatomy(0, p) for p in range(300) if abs(draw_anatomy(0, p).age - age) < 8] for age in (25, 80)}
    for trait, older_is_more in (("aorta", True), ("bone", False)):
        young, old = (np.mean([getattr(each, trait) for each in ages[age]]) for age in (25, 80))
        assert (old > young) == older_is_more
    supine = dataclasses.replace(position, view="AP", inspiration=0.3, heart_magnification=1.1)
    heart_row = int(0.62 * SIZE)
    assert (shown(anatomy, supine)[heart_row] > 150).sum() > (plain[heart_row] > 150).sum() + 2
    positions = [draw_position(0, index) for index in range(300)]
    assert 0.1 < np.mean([each.view == "AP" for each in positions]) < 0.3
    assert all((each.heart_magnification > 1) == (each.view == "AP") for each in positions)


def test_noise_follows_the_exposure_and_scatter_veils():
    study = study_of(0, 0)
    total = attenuation(study, SIZE)[0]

    def deviation(quanta):
        position = dataclasses.replace(study.position, quanta=quanta)
        noisy = [expose(total, position, np.random.default_rng(i)) for i in range(30)]
        return np.std(noisy, axis=0)[SIZE // 4 : 3 * SIZE // 4, SIZE // 4 : 3 * SIZE // 4].mean()

    assert deviation(2000) / deviation(8000) == pytest.approx(2, rel=0.1)  # Poisson: one over the root of the count
    open_air, veiled = (expose(total, dataclasses.replace(study.position, scatter=s), None) for s in (0.0, 0.07))
    assert (veiled <= open_air + 1e-3).all()
    spine, lung = (slice(40, 60), slice(30, 34)), (slice(24, 40), slice(14, 20))
    assert (open_air[spine] - veiled[spine]).mean() > (open_air[lung] - veiled[lung]).mean()


def test_effusion_grows_with_its_severity_and_heart_with_cardiomegaly():
    normal = picture([])
    for name, side in (("pleural effusion", "right"), ("cardiomegaly", None), ("edema", None)):
        added = [(picture([Finding(name, side, "", extent)]) - normal).sum() for extent in (0.15, 0.5, 0.9)]
        assert 0 < added[0] < added[1] < added[2]


def test_share_of_each_finding(records):
    names = [{finding["name"] for finding in record.findings} for record in records]
    share = {name: sum(READ_AS[name] in each for each in names) / len(names) for name in NAMES}
    assert 0.30 < sum(not each for each in names) / len(names) < 0.40
    assert max(share, key=share.get) == "pleural effusion"
    assert share["pleural effusion"] > 0.22
    assert all(0.03 < value < 0.35 for value in share.values())
    sides = [f["side"] for record in records for f in record.findings if f["name"] == "pleural effusion"]
    assert 0.4 < sides.count("right") / len(sides) < 0.6


def test_record_agrees_with_what_was_drawn(records):
    for index, record in enumerate(records):
        drawn = draw_findings(0, index)
        assert record.findings == [
            {"name": READ_AS[f.name], "side": f.side, "severity": f.severity, "certainty": "present"} for f in drawn
        ]
        assert len(record.labels) == len(drawn)
        sides = [finding.side for finding in drawn if finding.side and finding.name != "pacemaker"]
        assert len(sides) == len(set(sides))  # never two findings in one lung
        assert record.view == draw_position(0, index).view


# What each finding is called in a text, after its negations have been taken out.
WORDS = {
    "pleural effusion": r"effusion|fluid|costophrenic",
    "cardiomegaly": r"cardiomegaly|enlarge",
    "consolidation": r"consolidation",
    "nodule": r"nodule",
    "pneumothorax": r"pneumothorax",
    "atelectasis": r"atelecta",
    "edema": r"edema|congest|haze",
    "pacemaker": r"pacemaker",
}


def check_text(text: str, findings: list[dict]) -> None:
    """Names, sides and severities of `findings`, and no others, are in the text; what it denies is not there."""
    text = text.lower()
    positive = re.sub(r"\b(no|without)\b[^.]*|normal[^.]*|within normal limits", "", text)
    present = {next(name for name in NAMES if finding["name"] in (name, READ_AS[name])) for finding in findings}
    for name, pattern in WORDS.items():
        assert bool(re.search(pattern, positive)) == (name in present), text
    sides = {finding["side"] for finding in findings} - {None}
    assert {side for side in MIRROR if re.search(rf"\b{side}\b", text)} == sides, text
    if present - {"pacemaker"}:
        assert not re.search(r"clear|normal chest|no acute (cardio|disease)", text), text
    assert "normal chest" not in text or not present, text
    if "cardiomegaly" in present:
        assert not re.search(r"normal", text.replace("abnormal", "")), text
    for sentence in re.findall(r"\b(?:no|without)\b[^.]*", text):
        assert not any(re.search(WORDS[name], sentence) for name in present), text
    for severity in ("small", "mild", "large", "severe"):
        if re.search(rf"\b{severity}\b", text):
            assert severity in {finding["severity"] for finding in findings}, text


def test_text_is_true_of_the_picture(records):
    for record in records:
        assert 1 <= len(record.text.split()) <= 40, record.text
        check_text(record.text, record.findings)


def test_sections_are_true_of_the_picture_and_headings_name_every_finding():
    texts, agreed = set(), []
    for index in range(400):
        findings = draw_findings(0, index)
        sections = write_sections(findings, np.random.default_rng(index))
        texts.update(sections)
        for section in sections:
            check_text(section, [vars(finding) for finding in findings])
        read = [each for each in read_findings(" ".join(sections)) if each["certainty"] == "present"]
        wanted = {READ_AS[finding.name] for finding in findings} or {"no finding"}
        agreed.append({each["name"] for each in read} - {"no finding"} == wanted - {"no finding"})
        assert len(headings(findings)) == max(len(findings), 1)
        assert (headings(findings) == ["normal"]) == (not findings)
    assert len(texts) > 300
    assert all(agreed)


def test_texts_are_varied_and_the_prompts_of_the_demo_occur(records):
    texts = [record.text for record in records]
    assert len(set(texts)) > 300
    assert {"Right pleural effusion.", "Left pleural effusion.", "Normal chest X-ray, clear lungs."} <= set(texts)


@pytest.mark.parametrize(("arguments", "word"), [((0, 64, 0), "data.reader.n"), ((5, 8, 0), "data.size")])
def test_bad_sizes_are_refused(arguments, word):
    with pytest.raises(UserError, match=word):
        PhantomReader(*arguments)
