"""python -m cxr_ldm.benchmark suite=utility with the package's phantom model on phantoms that it never saw."""

import pytest

from cxr_ldm.metrics.results import read_metrics

SUITE = ["-m", "cxr_ldm.benchmark", "suite=utility"]
SMALL = ["passes=1", "folds=2", "seeds=[0,1]", "ratios=[1]", "min_images=5", "steps=1", "size=32", "batch_size=16"]


@pytest.fixture(scope="module")
def phantoms(command, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    command("-m", "cxr_ldm.prepare", "data=phantom", "data.reader.n=90", "name=fresh", f"paths.outputs={outputs}")
    return outputs


def test_the_suite_writes_a_page_that_says_what_the_generator_saw(command, phantoms, tmp_path):
    page = tmp_path / "page.md"
    named = [f"prepared={phantoms}/prepared/fresh", "bundle=phantom", f"paths.outputs={phantoms}"]
    small = [f"suite.run.{value}" for value in SMALL]
    command(*SUITE, *named, *small, "external=true", f"page={page}")
    metrics = read_metrics(phantoms / "benchmark" / "utility" / "metrics.json")
    assert metrics["utility_gain"]["n"] == 90
    assert metrics["utility_gain"]["settings"]["sampling"]["steps"] == 1
    text = page.read_text()
    assert "(external=true)" in text
    assert "| `utility_gain` |" in text
    kept = {path: path.stat().st_mtime_ns for path in (phantoms / "cache").iterdir()}
    command(*SUITE, *named, *small, "external=true")
    assert {path: path.stat().st_mtime_ns for path in (phantoms / "cache").iterdir()} == kept
    assert read_metrics(phantoms / "benchmark" / "utility" / "metrics.json")["utility_gain"] == metrics["utility_gain"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "suite=utility needs real images: prepared=FOLDER."),
        (["prepared=HERE"], "external=true says that these patients are others"),
        (["prepared=HERE", "external=true", "suite.run.ratios=[2]"], "must hold 1, the primary outcome"),
        (["prepared=HERE", "external=true", "suite.run.seeds=[1,1]"], "must name one seed or more, and none twice"),
        (["prepared=HERE", "external=true", "suite.run.min_images=900"], "no finding has suite.run.min_images=900"),
        (["prepared=HERE", "external=true", "suite.run.split=tset"], "suite.run.split"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, command, phantoms):
    given = [word.replace("HERE", f"{phantoms}/prepared/fresh") for word in arguments]
    error = command(*SUITE, "bundle=phantom", f"paths.outputs={phantoms}", *given, code=2).stderr
    assert error.startswith("error: ")
    assert words in error
