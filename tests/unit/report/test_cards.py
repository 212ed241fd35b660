"""Cards say what was measured and no more: each figure is a metrics.json's; what nobody measured is said to be so."""

import base64
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr_ldm.artifacts import write_json
from cxr_ldm.assets import CARDS, CHEST, DEMO
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric, read_metrics, run_entry, with_seal, write_metrics
from cxr_ldm.report.cards.facts import METRICS, NOT_MEASURED, PACKAGED, facts_of, worst_of
from cxr_ldm.report.cards.model import model_card
from cxr_ldm.report.cards.pages import cards_of, files, write_cards
from cxr_ldm.report.cards.parts import html, markdown
from cxr_ldm.report.cards.people import people_of
from cxr_ldm.report.cards.synthetic import CRITERIA, data_card
from cxr_ldm.report.terminal import number

SHIPPED = CHEST.parent / "chest256_metrics.json"


@pytest.fixture
def facts(tmp_path):
    """Of chest256, as the package measured it."""
    return facts_of(CHEST, tmp_path)


def section(text, title):
    """What stands below a heading of Markdown."""
    return re.split(r"^## ", text.split(f"\n## {title}")[1], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", PACKAGED)
def test_the_package_ships_the_cards_of_its_models_as_they_are(name, tmp_path):
    """Where this fails: cxr-ldm card bundle=NAME out=cxr_ldm/assets/cards/NAME paths.outputs=EMPTY.

    With prepared=FOLDER of what it was trained on, people.json is counted anew.
    """
    made = files(facts_of(PACKAGED[name], tmp_path))
    assert {path.name: path.read_bytes() for path in (CARDS / name).iterdir()} == made


def test_every_figure_of_a_card_is_that_of_its_metrics(facts):
    shipped = read_metrics(SHIPPED)
    text = markdown(model_card(facts)) + markdown(data_card(facts))
    for name in ("kid_efficientnet_lite0", "auroc_own_mean", "near_copies", "parameters", "latency_at_steps_30"):
        assert re.search(rf"^\| {name}\b.*\| {re.escape(number(shipped[name]['value']))}[ |]", text, re.MULTILINE), name
    low, high = shipped["auroc_own_mean"]["ci95"]
    assert f"{number(low)} to {number(high)}, over seeds of fixed prompts" in text
    changed = dict(shipped) | {"kid_efficientnet_lite0": shipped["kid_efficientnet_lite0"] | {"value": 0.7654}}
    again = markdown(model_card(replace(facts, content=changed)))
    assert "0.7654" in again
    assert "0.7654" not in text


def test_a_card_without_a_measurement_says_so_and_shows_no_figure(facts):
    bare = replace(facts, content=None, evaluation=None)
    text = markdown(model_card(bare))
    for title in ("Measured quality", "Failures", "How it was measured"):
        assert "Not measured: no metrics.json of exactly these weights" in section(text, title)
    assert f"| {NOT_MEASURED} | – | – | – | – |" in section(text, "Copies of training images")
    assert not re.search(r"\d\.\d{2}", section(text, "Measured quality") + section(text, "Cost"))
    drawn = markdown(data_card(bare))
    for title, _ in CRITERIA:
        assert NOT_MEASURED in section(drawn, title), title


def test_the_data_card_has_the_seven_criteria_and_puts_figures_under_theirs(facts):
    text = markdown(data_card(facts))
    where = {"kid_efficientnet_lite0": "Congruence", "coverage_efficientnet_lite0": "Coverage"}
    where |= {"auroc_own_mean": "Constraint", "copies_excess_pixels": "Compliance"}
    assert [title for title, _ in CRITERIA] == re.findall(r"^## (C\w+):", text, re.MULTILINE)
    for name, title in where.items():
        assert f"| {name}" in section(text, title)
        assert text.count(f"| {name}:") == 1
    shipped = read_metrics(SHIPPED)
    own = {
        name.removeprefix("auroc_own_").replace("_", " "): entry["value"]
        for name, entry in shipped.items()
        if re.fullmatch(r"auroc_own_(?!mean)\w+(?<!_real)", name)
    }
    worst, best = min(own, key=own.get), max(own, key=own.get)
    spread = f"{number(own[worst])} ({worst}) to {number(own[best])} ({best}), {len(own)} findings"
    assert spread in section(text, "Consistency")
    female = shipped["kid_efficientnet_lite0_sex_female"]["value"]
    assert f"kid_efficientnet_lite0 for female {number(female)} ±" in section(text, "Consistency")
    assert "auroc_mean on real images for female" in section(text, "Consistency")
    content = {name: entry for name, entry in shipped.items() if "_sex_" not in name}
    assert f"| by sex | {NOT_MEASURED} |" in section(
        markdown(data_card(replace(facts, content=content))), "Consistency"
    )


def test_a_subgroup_that_was_measured_is_shown(facts):
    entry = {"value": 0.8125, "ci95": None, "ci95_reason": "few", "n": 31, "higher_is_better": True, "settings": {}}
    content = {name: each for name, each in facts.content.items() if "_sex_" not in name}
    more = replace(facts, content=content | {"sharpness_sex_female": entry})
    assert "By sex: not measured." in section(markdown(model_card(replace(facts, content=content))), "Subgroups")
    assert "| sharpness_sex_female" in section(markdown(model_card(more)), "Subgroups").split("### By sex")[1]
    assert "sharpness for female 0.8125" in section(markdown(data_card(more)), "Consistency")


def test_failures_are_those_that_the_figures_show(facts):
    text = section(markdown(model_card(facts)), "Failures")
    shipped = read_metrics(SHIPPED)
    for name, entry in shipped.items():
        if re.fullmatch(r"auroc_own_(?!mean)\w+(?<!_real)", name):
            assert (f"| {name} |" in text) == (entry["ci95"][0] <= 0.5), name
    run = shipped["run"] | {"targets": {"kid": 0.01}}
    missed = markdown(model_card(replace(facts, content=dict(shipped) | {"run": run})))
    assert "≤ 0.0100, MISSED" in section(missed, "Failures")


def evaluation(folder, name, **changes):
    """An evaluation of the package's model that found no copy, with a picture of its worst images."""
    content = dict(read_metrics(SHIPPED))
    content |= {"near_copies": content["near_copies"] | {"value": changes.pop("near_copies", 0)}}
    content["run"] = content["run"] | changes
    write_json(folder / "evaluation" / name / METRICS, with_seal(content))
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "evaluation" / name / "worst.png")
    return folder / "evaluation" / name


def test_the_worst_images_are_shown_where_they_are_generated_and_no_copies(tmp_path):
    place = evaluation(tmp_path, "own")
    found = facts_of(CHEST, tmp_path, place)
    assert found.worst == place / "worst.png"
    kept = {path.name: path.read_bytes() for path in write_cards(found, tmp_path / "cards")}
    assert kept["worst.png"] == (place / "worst.png").read_bytes()
    assert "](worst.png)" in kept["model_card.md"].decode()
    assert base64.b64encode(kept["worst.png"]).decode() in kept["model_card.html"].decode()
    for name, changes in {"copies": {"near_copies": 1}, "vae": {"stage": "vae"}}.items():
        place = evaluation(tmp_path, name, **changes)
        assert worst_of(place, read_metrics(place / METRICS)) is None
        assert "worst.png" not in files(facts_of(CHEST, tmp_path, place))


def test_the_evaluation_with_the_most_figures_on_test_is_taken_and_one_of_other_weights_refused(tmp_path):
    assert facts_of(CHEST, tmp_path).evaluation == "shipped with the package"
    content = dict(read_metrics(SHIPPED)) | {"auroc_x": read_metrics(SHIPPED)["auroc_mean"]}
    for name, split in {"more": "test", "chooses": "val"}.items():
        chosen = {**content, "run": content["run"] | {"split": split}}
        write_json(tmp_path / "evaluation" / name / METRICS, with_seal(chosen))
    assert facts_of(CHEST, tmp_path).evaluation == "more"
    with pytest.raises(UserError, match="measured other weights"):
        facts_of(DEMO, tmp_path, tmp_path / "evaluation" / "more")


def test_readers_of_a_quiz_of_these_weights_are_under_comprehension(facts, tmp_path):
    metrics = {
        "accuracy_which_Ada": Metric(0.6125, 40, True, (0.5, 0.7), {"chance": 0.5}, over="questions"),
        "accuracy_finding_Ada": Metric(0.9375, 16, True, reason="few"),
    }
    for name, sha256 in {"own": facts.sha256, "other": "0" * 64}.items():
        run = run_entry(composed={}, bundle_sha256=sha256, seed=0)
        write_metrics(tmp_path / "readers" / name / METRICS, metrics, run)
    text = section(markdown(data_card(facts_of(CHEST, tmp_path))), "Comprehension")
    assert text.count("accuracy_which_Ada") == 1
    assert "| 0.6125 | 0.5000 to 0.7000, over questions |" in text
    assert "0.9375" not in text, "of findings, which is no comprehension of what is synthetic"
    assert f"| {NOT_MEASURED} | – |" in section(markdown(data_card(facts)), "Comprehension")


def test_the_manifest_says_who_is_in_the_training_images(facts):
    rows = pd.DataFrame(
        {
            "split": ["train", "train", "train", "test"],
            "patient_id": ["a", "a", "b", "c"],
            "view": ["PA", "AP", "PA", "PA"],
            "sex": ["male", None, "male", "female"],
            "age": [4.0, 70.0, None, 30.0],
            "findings": [
                [{"name": "mass", "certainty": "present"}],
                [{"name": "mass", "certainty": "absent"}],
                None,
                [],
            ],
        },
        dtype=object,
    )
    text = section(markdown(model_card(replace(facts, people=people_of(rows)))), "Data and terms")
    lines = [
        "| train | 3 | 2 |",
        "| test | 1 | 1 |",
        "| view | PA | 2 |",
        "| sex | male | 2 |",
        "| sex | not known | 1 |",
    ]
    lines += ["| age | under 18 | 1 |", "| age | 65 and older | 1 |", "| age | not known | 1 |", "| mass | 1 |"]
    for line in lines:
        assert line in text, line
    assert "female" not in text, "the test split is not what it learnt from"


def test_a_page_holds_all_of_itself_and_no_text_of_a_bundle_becomes_markup(facts):
    for card in cards_of(replace(facts, name="<script>alert(1)</script>")):
        page = html(card)
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import", page)
        assert all(section.title.split(":")[0] in page for section in card.sections)
