"""What is a target of the classifier: shown, not shown, unknown."""

import numpy as np
import pandas as pd
import pytest

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.targets import all_targets, label_names, learnable, said_of
from cxr_ldm.errors import UserError

NAN = float("nan")


def row(text=None, labels=None, source="nih", findings=None):
    found = read_findings(text) if text is not None else findings
    return {"findings": found, "labels": labels, "source": source}


def table(*rows):
    targets = all_targets(pd.DataFrame(rows, dtype=object))
    return {name: targets.values[:, place].tolist() for place, name in enumerate(targets.classes)}


def same(values, expected):
    np.testing.assert_array_equal(np.array(values), np.array(expected))


def test_absent_is_not_shown_uncertain_is_unknown_unmentioned_is_not_shown():
    texts = ["Right effusion.", "No effusion.", "Possible effusion.", "Cardiomegaly."]
    columns = table(*(row(text) for text in texts))
    same(columns["pleural effusion"], [1, 0, NAN, 0])
    same(columns["cardiomegaly"], [0, 0, 0, 1])


def test_sides():
    texts = ["Right effusion.", "Left effusion.", "Bilateral effusions.", "Effusion.", "No effusion.", "Edema."]
    columns = table(*(row(text) for text in texts))
    same(columns["pleural effusion right"], [1, 0, 1, NAN, 0, 0])
    same(columns["pleural effusion left"], [0, 1, 1, NAN, 0, 0])
    assert "edema right" not in columns


def test_a_finding_on_one_side_may_be_uncertain_on_the_other():
    said = said_of(row("Right effusion. Possible left effusion."))
    same([said[f"pleural effusion{end}"] for end in ("", " right", " left")], [1, 1, NAN])


def test_nih_labels_name_the_same_findings_and_those_that_the_text_cannot():
    columns = table(
        row("Pleural effusion and emphysema.", ["Effusion", "Emphysema"]),
        row("No acute cardiopulmonary abnormality.", ["No Finding"]),
    )
    same(columns["pleural effusion"], [1, 0])
    same(columns["emphysema"], [1, 0])
    same(columns["no finding"], [0, 1])
    assert columns.keys() == {"pleural effusion", "emphysema", "no finding"}


def test_kermany_labels_tell_the_cause():
    columns = table(
        row("Frontal chest X-ray of a child. Bacterial pneumonia.", ["PNEUMONIA", "bacteria"], "kermany"),
        row("Frontal chest X-ray of a child. Viral pneumonia.", ["PNEUMONIA", "virus"], "kermany"),
        row("Frontal chest X-ray of a child. Normal, clear lungs.", ["NORMAL"], "kermany"),
    )
    same(columns["pneumonia"], [1, 1, 0])
    same(columns["bacterial pneumonia"], [1, 0, 0])
    same(columns["viral pneumonia"], [0, 1, 0])
    same(columns["no finding"], [0, 0, 1])


def test_a_class_is_unknown_in_a_source_that_never_shows_it():
    """Else a classifier would learn to tell children from adults."""
    columns = table(
        row("Cardiomegaly.", ["Cardiomegaly"]),
        row("No acute cardiopulmonary abnormality.", ["No Finding"]),
        row("Normal, clear lungs.", ["NORMAL"], "kermany"),
    )
    same(columns["cardiomegaly"], [1, 0, NAN])
    same(columns["no finding"], [0, 1, 1])


def test_the_phantoms_truth_is_its_findings_and_an_empty_list_is_none_of_them():
    nodule = {"name": "nodule", "side": "left", "severity": None, "certainty": "present"}
    columns = table(
        row(labels=["Nodule"], source="phantom", findings=[nodule]),
        row(labels=[], source="phantom", findings=[]),
        row(labels=["Pacemaker"], source="phantom", findings=[nodule | {"name": "support device"}]),
    )
    same(columns["nodule"], [1, 0, 0])
    same(columns["no finding"], [0, 1, 0])
    same(columns["support device"], [0, 0, 1])


def test_subject_headings_are_no_classes_and_a_label_alone_knows_no_side():
    for source in ("openi", "indiana"):
        labels = ["Lung/base", "Pleural Effusion", "Technical Quality of Image Unsatisfactory", "Opacity/lung/left"]
        columns = table(row("Right effusion.", labels, source), row("Clear lungs.", ["normal"], source))
        assert columns.keys() == {"pleural effusion", "lung opacity", "no finding"}
        same(columns["lung opacity"], [1, 0])
        # headings that name no finding are no statement that there is none
        assert "no finding" not in table(row("The spine is seen.", ["Spine"], source))
    same(said_of(row("Edema.", ["Effusion"]))["pleural effusion right"], NAN)
    assert label_names(["Pneumonia/Viral/COVID-19"])[2] == "covid-19"


def test_what_nobody_has_looked_at_is_unknown():
    manifest = [row("Right effusion."), row(), row(labels=["todo"], source="covid")]
    targets = all_targets(pd.DataFrame(manifest, dtype=object))
    assert targets.known.tolist() == [True, False, False]


@pytest.mark.parametrize("label", ["No Indexing", "todo"])
def test_images_that_nobody_coded_show_what_their_text_says_and_nothing_is_known_of_classes_by_label(label):
    columns = table(
        row("Right effusion. Granuloma.", ["Pleural Effusion", "Calcified Granuloma"], "indiana"),
        row("The lungs are clear.", ["normal"], "indiana"),
        row("Left effusion.", [label], "indiana"),
        row("Cardiomegaly.", [label], "indiana"),
    )
    same(columns["pleural effusion"], [1, 0, 1, 0])
    same(columns["cardiomegaly"], [0, 0, 0, 1])
    same(columns["calcified granuloma"], [1, 0, NAN, NAN])
    assert label.lower() not in columns


def test_classes_with_too_few_images_are_left_out_and_named():
    rows = [row("Right effusion.")] * 4 + [row("Left effusion.")] * 4 + [row("Edema.")] * 2 + [row("Right nodule.")] * 4
    rows += [row("Left nodule.")]
    targets = all_targets(pd.DataFrame(rows, dtype=object))
    kept = learnable(targets, np.arange(len(rows)), 4)
    assert kept.classes == ["nodule", "pleural effusion", "pleural effusion right", "pleural effusion left"]
    assert kept.left_out == {"edema": 2, "nodule right": 4, "nodule left": 1}
    assert kept.prevalence(np.arange(8))[1:3] == [1.0, 0.5]
    with pytest.raises(UserError, match="classifier_network.min_images=20 training images"):
        learnable(targets, np.arange(len(rows)), 20)


def test_the_classes_of_a_classifier_keep_their_order_in_other_data():
    classes = ["edema", "pleural effusion"]
    targets = all_targets(pd.DataFrame([row("Right effusion."), row("Normal chest.")], dtype=object), classes)
    assert targets.classes == classes
    np.testing.assert_array_equal(targets.values, [[NAN, 1], [NAN, 0]])


def test_targets_that_another_reader_gives_are_told_apart():
    rows = [row("Right effusion."), row("No effusion."), row("Possible effusion.")]
    first, again = (all_targets(pd.DataFrame(rows, dtype=object)) for _ in range(2))
    assert first.digest == again.digest
    other = all_targets(pd.DataFrame([*rows[:2], row("Left effusion.")], dtype=object), first.classes)
    assert other.classes == first.classes
    assert other.digest != first.digest
