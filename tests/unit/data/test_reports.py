"""Cleaning keeps the meaning of a report and counts what it removes; the steps of the join are counted."""

from collections import Counter

import pytest

from cxr_ldm.data.findings.cleaning import REMOVED, clean
from cxr_ldm.data.findings.reports import Report, join_steps


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("No XXXX of   effusion .", "No of effusion."),
        ("Lungs clear.. XXXX, XXXX.", "Lungs clear."),
        ("Chest X-XXXX and CTA XXXX.", "Chest x-ray and CTA."),
        ("XXXX", ""),
        ("T8-T9 3.5 cm, right/left.", "T8-T9 3.5 cm, right/left."),
    ],
)
def test_marks_go_and_the_rest_stays(given, cleaned):
    assert clean(given) == cleaned


@pytest.mark.parametrize(
    ("given", "cleaned", "numbers"),
    [
        ("1. Clear lungs. 2. No effusion.", "Clear lungs. No effusion.", 2),
        ("1) Clear lungs\n2) No effusion", "Clear lungs. No effusion", 2),
        ("1.Clear lungs. 2.No effusion.", "Clear lungs. No effusion.", 2),
        ("1. 8 mm nodule. 2. 3 cm mass.", "8 mm nodule. 3 cm mass.", 2),
        ("Summary: 1. Scar at T1. 2. Normal heart.", "Summary: Scar at T1. Normal heart.", 2),
        # numbers that count nothing
        ("1.5 cm nodule. Fracture of T12. Old.", "1.5 cm nodule. Fracture of T12. Old.", 0),
        ("Nodule of 2. 5 cm.", "Nodule of 2. 5 cm.", 0),
        ("Compare rib 3. Normal.", "Compare rib 3. Normal.", 0),
        ("1. Fracture of ribs 7, 8 and 9. Healed.", "Fracture of ribs 7, 8 and 9. Healed.", 1),
    ],
)
def test_the_numbers_of_a_list_go_and_others_stay(given, cleaned, numbers):
    removed: Counter[str] = Counter()
    assert clean(given, removed) == cleaned
    assert removed["numbers"] == numbers


def test_everything_removed_is_counted():
    removed: Counter[str] = Counter()
    clean("1.  XXXX-old x-XXXX,, XXXX .\n2. Clear.", removed)
    assert removed == {"marks": 3, "words joined to marks": 1, "numbers": 2, "stray punctuation": 2, "whitespace": 1}
    clean("XXXX", removed)
    assert removed["marks"] == 4
    assert tuple(removed) == tuple(sorted(REMOVED))


def test_the_steps_of_the_join_count_reports_and_images():
    both = {"findings": "Clear.", "impression": "Normal."}
    reports = [
        Report("1", both, [], images=["a", "b"]),
        Report("2", {"findings": "", "impression": "Normal."}, [], images=["c"]),
        Report("3", {"findings": "Clear.", "impression": "XXXX"}, [], images=["d"]),
        Report("4", both, []),
    ]
    views = {"a": "frontal", "b": "lateral", "c": "frontal", "d": "frontal"}
    assert join_steps(reports, views, ["findings", "impression"], frontal_only=True) == {
        "reports": 4,
        "images named": 4,
        "reports without findings": 1,
        "reports without impression": 0,
        "reports without an image": 1,
        "images frontal": 3,
        "images with findings and impression": 1,
        "reports of these images": 1,
    }
    anything = join_steps(reports, {}, ["impression"], frontal_only=False)
    assert (anything["images of any view"], anything["images with impression"]) == (4, 3)
