"""`cxr-ldm quiz` as its user gives it, and its page as a reader answers it, in a browser."""

import csv
import json

import pytest
from playwright.sync_api import expect

from cxr_ldm.artifacts import read_json
from cxr_ldm.metrics.results import read_metrics


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, command):
    """Phantoms as a person's own collection."""
    folder = tmp_path_factory.mktemp("outputs")
    command("-m", "cxr_ldm.prepare", "data=phantom", "data.reader.n=200", f"paths.outputs={folder}", "name=phantoms")
    return folder


@pytest.fixture(scope="module")
def made(outputs, command):
    """Three quizzes: a lesson, pairs and single images."""
    own = [f"prepared={outputs}/prepared/phantoms", "bundle=phantom", "sampler.steps=1", f"paths.outputs={outputs}"]
    command("-m", "cxr_ldm", "quiz", "teach=true", "n=4", "phantom_size=64", f"paths.outputs={outputs}", "name=lesson")
    command("-m", "cxr_ldm", "quiz", "n=4", "name=pairs", *own)
    command("-m", "cxr_ldm", "quiz", "kind=single", "n=6", "name=single", *own)
    return {name: outputs / "quiz" / name for name in ("lesson", "pairs", "single")}


@pytest.fixture(params=[(1280, 800), (390, 844)], ids=["desktop", "phone"])
def page(request, browser):
    width, height = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    opened = context.new_page()
    wrong = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    assert wrong == [], "no error, and nothing is fetched"
    context.close()


def begin(page, folder, name):
    page.goto((folder / "quiz.html").as_uri())
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Start").click()


def choose(page, word):
    page.locator("#answers button", has_text=word).first.click()


def saved(page):
    """The rows of the file that the page hands out."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Answers as CSV").click()
    return download.value.path(), download.value.suggested_filename


def test_a_lesson_shows_the_mask_counts_and_asks_again_what_was_wrong(made, page):
    key = read_json(made["lesson"] / "key.json")
    begin(page, made["lesson"], 'Ada "A", B')
    for place, right in enumerate(key["questions"]):
        expect(page.locator("#place")).to_have_text(f"{place + 1} of 4")
        wrong = place == 1
        known = [word for word in key["choices"]["finding"] if word != right["finding"]]
        choose(page, known[0] if wrong else right["finding"])
        if page.locator("#words").inner_text() == "On which side of the patient?":
            choose(page, right.get("side", "right"))
        expect(page.locator("#words")).to_contain_text("Not so." if wrong else "Right.")
        expect(page.locator("#words")).to_contain_text(right["finding"])
        expect(page.locator("img.mask")).to_have_count(0 if right["finding"] == "no finding" else 1)
        page.get_by_role("button", name="Next").click()
    expect(page.locator("#score")).to_have_text("3 of 4 right.")
    page.get_by_role("button", name="Again, what was wrong").click()
    expect(page.locator("#place")).to_have_text("Again: 1 of 1")
    choose(page, key["questions"][1]["finding"])
    if page.locator("#words").inner_text() == "On which side of the patient?":
        choose(page, key["questions"][1].get("side", "right"))
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#score")).to_have_text("1 of 1 right. Now all of them.")
    expect(page.get_by_role("button", name="Again, what was wrong")).to_be_hidden()
    path, name = saved(page)
    assert name == f"answers_{key['quiz']}_Ada_A_B.csv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["reader"] for row in rows} == {'Ada "A", B'}
    assert [row["round"] for row in rows if row["asked"] == "finding"] == ["1"] * 4 + ["2"]
    assert all(0 <= float(row["seconds"]) < 60 for row in rows)


def test_pairs_are_answered_by_key_and_scored_by_the_command(made, page, outputs, command, tmp_path):
    key = read_json(made["pairs"] / "key.json")
    paths = []
    for reader in ("Ada", "Bea"):
        begin(page, made["pairs"], reader)
        for place, right in enumerate(key["questions"]):
            expect(page.locator("#place")).to_have_text(f"{place + 1} of 4")
            expect(page.locator("#answers button")).to_have_count(2)
            good = reader == "Ada" or place > 0
            page.keyboard.press("1" if (right["which"] == "first") == good else "2")
        expect(page.locator("#score")).to_contain_text("Thank you")
        expect(page.locator("#table")).to_be_empty()
        path, _ = saved(page)
        paths.append(tmp_path / f"{reader}.csv")
        paths[-1].write_bytes(path.read_bytes())
    words = [f"answers=[{','.join(map(str, paths))}]", f"key={made['pairs']}/key.json", f"paths.outputs={tmp_path}"]
    done = command("-m", "cxr_ldm", "quiz", *words, "name=readers")
    assert "| which | Ada | 4 of 4 | 1.0000 |" in done.stdout
    assert "| which | Bea | 3 of 4 | 0.7500 |" in done.stdout
    content = read_metrics(tmp_path / "readers" / "readers" / "metrics.json")
    assert content["accuracy_which_Bea"]["value"] == 0.75
    assert content["accuracy_which_Bea"]["settings"]["p_value"] == 0.625  # of 16 outcomes, 10 are as far from half
    assert content["run"]["quiz"] == key["quiz"]
    assert "kappa_which" in content


def test_a_single_image_is_asked_for_all_that_was_chosen(made, page):
    key = read_json(made["single"] / "key.json")
    begin(page, made["single"], "Ada")
    expect(page.locator("#words")).to_have_text("Is this a real radiograph, or synthetic?")
    choose(page, "synthetic")
    expect(page.locator("#words")).to_have_text("What does it show?")
    choose(page, "no finding")
    expect(page.locator("#place")).to_have_text("2 of 6")  # what is not there has no side
    assert sum(question["real"] == "real" for question in key["questions"]) == 3


def test_the_same_command_finds_its_quiz_and_another_is_not_written_over_it(made, outputs, command):
    again = ["-m", "cxr_ldm", "quiz", "teach=true", "phantom_size=64", f"paths.outputs={outputs}", "name=lesson"]
    before = (made["lesson"] / "quiz.html").read_bytes()
    assert "complete already" in command(*again, "n=4").stdout
    assert "was made by other settings" in command(*again, "n=5", code=2).stderr
    assert (made["lesson"] / "quiz.html").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bundle=phantom"], "needs prepared=FOLDER"),
        (["kind=pair", "prepared={outputs}/prepared/phantoms", "bundle=none"], "name a bundle"),
        (["teach=true", "kind=pair"], "of phantoms none is real"),
        (["teach=true", "ask=[real]"], "of phantoms none is real"),
        (["bundle=chest256", "prepared={outputs}/prepared/phantoms"], "could be told apart"),
        (["n=900", "prepared={outputs}/prepared/phantoms", "bundle=phantom"], "need as many patients"),
        (["answers=[a.csv]"], "go together"),
        (["answers=[a.csv]", "key={outputs}/prepared/phantoms/summary.json"], "is not the key of a quiz"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_nothing_is_written(outputs, command, words, said, tmp_path):
    words = [word.format(outputs=outputs) for word in words]
    done = command("-m", "cxr_ldm", "quiz", *words, f"paths.outputs={tmp_path}", code=2)
    assert said in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "quiz").exists()


def test_without_a_model_real_images_are_asked_for_their_findings(outputs, command, tmp_path):
    own = [f"prepared={outputs}/prepared/phantoms", "bundle=none", f"paths.outputs={tmp_path}", "name=real", "n=4"]
    command("-m", "cxr_ldm", "quiz", *own)
    key = json.loads((tmp_path / "quiz" / "real" / "key.json").read_text())
    assert list(key["choices"]) == ["finding", "side"]
