"""A quiz: balanced, blind, the same for the same seed; and its scores beside outside witnesses."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import binom, binomtest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from cxr_ldm.data.phantom.reader import PhantomReader, load_image, truth
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.errors import UserError
from cxr_ldm.quiz.page import markdown, render, tables
from cxr_ldm.quiz.questions import NONE, Candidate, balanced, halves
from cxr_ldm.quiz.score import COLUMNS, Scores, kappa, read_answers
from cxr_ldm.quiz.sources import candidates_of, drawing, of_collection, of_phantoms


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Phantoms as a person's own collection."""
    folder = tmp_path_factory.mktemp("quiz") / "prepared"
    splits = {"seed": 0, "val": 0.1, "test": 0.6}
    return prepare(PhantomReader(150, 32, 0), folder, Target(32, "pad", 8, None, False), name="own", splits=splits)


def draw(rows):
    """Synthetic images: each of a grey that no image of the collection is."""
    return torch.full((len(rows), 1, 32, 32), 0.25) + torch.arange(len(rows))[:, None, None, None] / 1000


def quiz(prepared, kind="single", ask=("real", "finding", "side"), n=12, seed=0, teach=False, by=draw):
    return of_collection(prepared, "test", by, kind, ask, n, seed, teach, {})


def test_findings_and_sides_are_alike_in_number_and_no_patient_comes_twice():
    many = [Candidate(place, str(place), NONE, None) for place in range(50)]
    many += [Candidate(100 + place, f"a{place}", "mass", ("right", "left")[place > 5]) for place in range(12)]
    many += [Candidate(200, "a0", "nodule", "left"), Candidate(201, "n", "nodule", "left")]
    chosen = balanced(many, 12, seed=3)
    counts = pd.Series([each.finding for each in chosen]).value_counts()
    assert counts["nodule"] in (1, 2)  # there are no more
    assert abs(counts[NONE] - counts["mass"]) <= 1
    sides = [each.side for each in chosen if each.finding == "mass"]
    assert abs(sides.count("right") - sides.count("left")) <= 1
    assert len({each.patient for each in chosen}) == 12
    assert balanced(many, 12, seed=3) == chosen
    assert balanced(many, 12, seed=4) != chosen
    with pytest.raises(UserError, match="there are 2"):
        balanced(many[:2], 3, seed=0)


def test_halves_are_halves_and_follow_from_the_seed():
    for n in (10, 11):
        drawn = [halves(n, np.random.default_rng(seed)) for seed in range(40)]
        assert {sum(each) for each in drawn} <= {n // 2, n - n // 2}
        assert len({tuple(each) for each in drawn}) > 20


def test_of_a_pair_the_real_one_is_first_as_often_as_second_and_both_are_of_one_text(prepared):
    made = quiz(prepared, "pair", n=10)
    answers = [question.answers["which"] for question in made.questions]
    assert answers.count("first") == 5
    for question in made.questions:
        real = {"first": 0, "second": 1}[question.answers["which"]]
        assert question.images[real].real
        assert not question.images[1 - real].real
        assert question.images[0].finding == question.images[1].finding
    orders = [tuple(q.answers["which"] for q in quiz(prepared, "pair", n=10, seed=seed).questions) for seed in range(4)]
    assert len(set(orders)) > 1


def test_of_single_images_half_are_real_of_each_finding_and_of_other_patients(prepared):
    made = quiz(prepared, n=16)
    shown = [question.images[0] for question in made.questions]
    assert sum(image.real for image in shown) == 8
    for name in {image.finding for image in shown}:
        of_it = [image.real for image in shown if image.finding == name]
        assert abs(2 * sum(of_it) - len(of_it)) <= 1, name
    order = [image.real for image in shown]
    assert order != sorted(order), "not all real ones first"
    assert order != [image.real for image in (q.images[0] for q in quiz(prepared, n=16, seed=5).questions)]
    assert quiz(prepared, n=16).identity == made.identity


def test_only_images_with_one_answer_are_asked_about_and_they_are_of_the_split(prepared):
    rows = {each.place for each in candidates_of(prepared, "test")}
    assert rows <= set(prepared.rows("test").tolist())
    for row in prepared.rows("test"):
        stated = prepared.manifest["findings"].iloc[row]
        present = {entry["name"] for entry in stated if entry["certainty"] == "present"} - {NONE}
        if len(present) > 1:
            assert row not in rows


def test_what_cannot_be_asked_is_refused(prepared):
    with pytest.raises(UserError, match="name a bundle"):
        quiz(prepared, by=None)
    with pytest.raises(UserError, match="name a bundle"):
        quiz(prepared, "pair", by=None)
    plain = quiz(prepared, ask=("finding",), by=None)
    assert all(question.images[0].real for question in plain.questions)

    class Other:
        size = 64

    with pytest.raises(UserError, match="could be told apart"):
        drawing(Other(), prepared, 0)


def data_of(page):
    """What the page's script knows."""
    return json.loads(re.search(r"const quiz = (\{.*\});", page)[1])


def test_the_page_of_a_study_holds_no_answer_and_names_nothing(prepared):
    made = quiz(prepared, n=8)
    page, known = render(made), data_of(render(made))
    assert [set(question) for question in known["questions"]] == [{"images"}] * 8
    for question in known["questions"]:
        for source in question["images"]:
            content = base64.b64decode(source.removeprefix("data:image/png;base64,"))
            with Image.open(io.BytesIO(content)) as image:
                assert (image.mode, image.size, image.info) == ("L", (32, 32), {})
    ids = [str(each) for each in prepared.manifest["image_id"]]
    assert not any(each in page for each in ids)
    assert str(prepared.folder) not in page
    assert not re.search(r"(src|href)=\"(?!data:)|https?://(?!www\.w3)", page), "nothing is fetched"


def test_a_lesson_on_phantoms_shows_where_it_is():
    made = of_phantoms(8, 64, seed=2)
    known = data_of(render(made))
    assert made.teach
    places = {load_image(2, index, 64).tobytes(): index for index in range(320)}
    for question, told in zip(made.questions, known["questions"], strict=True):
        index = places[question.images[0].levels.tobytes()]
        parameters, shapes = truth(2, index, 64)
        assert told["right"]["finding"] == question.images[0].finding
        if not parameters["findings"]:
            assert (told["masks"], told["right"]["finding"]) == ([None], NONE)
            continue
        entry = parameters["findings"][0]
        assert told["right"].get("side") == entry["side"]
        content = base64.b64decode(told["masks"][0].removeprefix("data:image/png;base64,"))
        veil = np.asarray(Image.open(io.BytesIO(content)))
        assert np.array_equal(veil[..., 3] > 0, shapes[0])


KEY = {
    "quiz": "abc",
    "kind": "single",
    "choices": {"real": ["real", "synthetic"], "finding": [NONE, "mass", "nodule"], "side": ["right", "left"]},
    "questions": [
        {"real": ("real", "synthetic")[place % 2], "finding": ("mass", NONE, "nodule")[place % 3]}
        | ({"side": "left"} if place % 3 == 0 else {})
        | {"shows": [("mass", NONE, "nodule")[place % 3]]}
        for place in range(12)
    ],
}


def answers(path, reader, real, finding, rounds=1):
    """A file as the page writes one."""
    rows = [
        ["abc", reader, place + 1, turn, asked, given[place], 1.5 + place]
        for turn in range(1, rounds + 1)
        for asked, given in (("real", real), ("finding", finding))
        for place in range(12)
    ]
    rows += [["abc", reader, 1, 1, "side", "left", 0.5], ["abc", reader, 2, 1, "side", "right", 0.5]]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


@pytest.fixture
def read(tmp_path):
    """Two readers: of one the first half is wrong on what is real, the other is right but for one."""
    right = {asked: [question[asked] for question in KEY["questions"]] for asked in ("real", "finding")}
    ada, bea = [list(right["real"]) for _ in range(2)]
    ada[:6] = ["synthetic", "real"] * 3
    bea[0] = "synthetic"
    finding = list(right["finding"])
    finding[0] = "nodule"
    paths = [
        answers(tmp_path / "a.csv", "Ada", ada, finding),
        answers(tmp_path / "b.csv", "Bea", bea, right["finding"], 2),
    ]
    return Scores.of(KEY, read_answers(paths, KEY)), {"Ada": ada, "Bea": bea}, paths


def test_accuracy_is_that_of_scipy_and_later_rounds_do_not_count(read):
    scores, _, _ = read
    found = scores.metrics()
    for reader, right in {"Ada": 6, "Bea": 11}.items():
        entry, witness = found[f"accuracy_real_{reader}"], binomtest(right, 12, 0.5)
        assert (entry.value, entry.n) == (right / 12, 12)
        assert entry.settings["p_value"] == pytest.approx(witness.pvalue)
        assert entry.ci95 == pytest.approx(tuple(witness.proportion_ci(method="wilson")))
    assert found["accuracy_finding_Ada"].settings["chance"] == pytest.approx(1 / 3)
    assert found["accuracy_side_Ada"].n == 1, "the side of what has none counts nowhere"
    assert found["seconds_real_Ada"].value == pytest.approx(np.median(1.5 + np.arange(12)))
    assert found["accuracy_real_all"].value == pytest.approx(17 / 24)
    low, high = found["accuracy_real_all"].ci95
    assert low < 17 / 24 < high


def test_agreement_and_confusion_are_those_of_scikit_learn(read):
    scores, real, _ = read
    found = scores.metrics()
    assert found["kappa_real"].value == pytest.approx(cohen_kappa_score(real["Ada"], real["Bea"]))
    low, high = found["kappa_real"].ci95
    assert low < found["kappa_real"].value < high
    rows, columns, counts = scores.confusion("real")
    truth = [question["real"] for question in KEY["questions"]]
    witness = confusion_matrix(truth * 2, real["Ada"] + real["Bea"], labels=rows)
    assert columns == rows
    assert np.array_equal(counts, witness)
    expected = {name: [0, 0] for name in ("mass", NONE, "nodule")}
    for given in real.values():
        for question, each in zip(KEY["questions"], given, strict=True):
            expected[question["finding"]][0] += each == question["real"]
            expected[question["finding"]][1] += 1
    assert scores.by_finding("real") == {name: tuple(counts) for name, counts in expected.items()}


def test_kappa_of_random_answers_is_cohens_and_fleiss_of_his_own_table():
    random = np.random.default_rng(0)
    for kinds in (2, 5):
        rated = random.integers(kinds, size=(60, 2))
        assert kappa(rated, kinds) == pytest.approx(cohen_kappa_score(*rated.T))
    # Fleiss 1971 as it is often shown: 10 subjects, 14 raters, 5 categories; kappa is 0.210
    table = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    rated = np.array([np.repeat(np.arange(5), row) for row in table])
    assert kappa(rated, 5) == pytest.approx(0.210, abs=5e-4)
    assert kappa(np.zeros((4, 2), int), 2) is None, "one answer alone tells nothing of agreement"


def test_the_page_of_answers_has_a_row_for_each_reader_and_each_confusion(read):
    scores, _, _ = read
    titles = [table.title for table in tables(scores)]
    assert titles[:2] == ["Accuracy", "Agreement between readers"]
    text = markdown(scores)
    assert re.search(
        r"\| real \| Ada \| 6 of 12 \| 0\.5000 \| [\d.]+ to [\d.]+ \| 0\.5000 \| 1\.0000 \| 7\.0000 \|", text
    )
    assert "| mass | 0 | 7 | 1 |" in text, "one mass was called a nodule"
    assert "## Told right, by finding" in text


def test_files_that_are_no_answers_to_this_quiz_are_refused(read, tmp_path):
    _, _, (first, _) = read
    text = first.read_text()
    for content, words in {
        text.replace("abc,", "abd,"): "is of the quiz abd",
        text.replace("Ada,3,1,real,synthetic", "Ada,99,1,real,synthetic"): "line 4 is no answer",
        text.replace("Ada,3,1,real,synthetic", "Ada,3,1,real,cat"): "line 4 is no answer",
        text.replace("Ada,3,1,real,synthetic", "Ada,2,1,real,synthetic"): "question 2 (real) twice",
        text.replace(",1.5", ",-1"): "is no answer",
        "a,b\n1,2\n": "holds no answers",
        "": "holds no answers",
    }.items():
        (tmp_path / "x.csv").write_text(content)
        with pytest.raises(UserError, match=re.escape(words)):
            read_answers([tmp_path / "x.csv"], KEY)
    with pytest.raises(UserError, match="answered in another file"):
        read_answers([first, first], KEY)
    with pytest.raises(UserError, match="cannot be read"):
        read_answers([tmp_path / "nowhere.csv"], KEY)


def test_what_the_docs_say_of_twenty_and_forty_pairs_is_so():
    """How often a reader who is right in three of four is told from a coin."""
    power = {
        n: sum(binom.pmf(k, n, 0.75) for k in range(n + 1) if binomtest(k, n, 0.5).pvalue <= 0.05) for n in (20, 40)
    }
    assert {n: round(share, 1) for n, share in power.items()} == {20: 0.6, 40: 0.9}
