"""Who opened the test split before, which split chose what, and that a measurement on validation sees no test image."""

from types import SimpleNamespace

import numpy as np
import pytest

from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.ldm import Evaluation
from cxr_ldm.evaluation.splits import chosen_on, opened_before, sentence, trained, warning
from cxr_ldm.metrics.results import run_entry, write_metrics
from cxr_ldm.report.markdown import render_markdown


def bundle(kind="ldm", run="mine", seed=0, images=100, patience=None, **info):
    settings = {"seed": seed, "training": {"images": images, "patience": patience}}
    return SimpleNamespace(kind=kind, info={"run": run, "settings": settings, **info})


def evaluated(outputs, name, made, split="test", data="nih", **facts):
    stated = {} if split is None else {"split": split}
    entry = run_entry(
        composed={}, bundle_sha256=None, seed=0, data={"name": data}, trained=trained(made), **stated, **facts
    )
    write_metrics(outputs / "evaluation" / name / "metrics.json", {}, entry)


def test_evaluations_of_the_same_recipe_on_the_same_test_images_are_counted(tmp_path):
    mine = trained(bundle())
    assert opened_before(tmp_path, "nih", [mine])["this_recipe"] == 0
    evaluated(tmp_path, "a", bundle())
    evaluated(tmp_path, "b", bundle(run="again", seed=1))  # another seed is the same recipe
    evaluated(tmp_path, "c", bundle(), split=None)  # of the time when test was the only split
    evaluated(tmp_path, "d", bundle(images=200), trained_second=mine)  # compared with it
    evaluated(tmp_path, "on_val", bundle(), split="val")
    evaluated(tmp_path, "elsewhere", bundle(), data="openi")
    evaluated(tmp_path, "other", bundle(images=300))
    evaluated(tmp_path, "decoder", bundle(decoder_from="ab"))
    (tmp_path / "evaluation" / "broken").mkdir()
    (tmp_path / "evaluation" / "broken" / "metrics.json").write_text("{}")
    found = opened_before(tmp_path, "nih", [mine])
    assert found == {"this_recipe": 4, "evaluations": ["a", "b", "c", "d"], "other_recipes": 3}
    assert "by 4 evaluations (a, b, c, …): choose nothing by it any more" in warning(found, "nih")


def test_a_report_says_which_split_it_is_of_and_which_chose(tmp_path):
    curve = {"scale": 1.5, "chosen": {"split": "val"}}
    assert chosen_on(bundle(patience=3, guidance=curve), stated=False) == {
        "stopping": "val",
        "guidance": "val",
        "sampler and steps": "no choice: as configured",
    }
    assert chosen_on(bundle(), stated=False)["guidance"] == "no choice: default"
    assert chosen_on(bundle(guidance=curve), stated=True)["guidance"] == "no choice: stated"
    assert chosen_on(bundle(kind="vae"), stated=True) == {"stopping": "no choice: a fixed number of images"}
    assert sentence({}) == ""
    run = {"split": "test", "opened_before": {"this_recipe": 0}, "settings_chosen_on": {"guidance": "val"}}
    said = (
        "Measured on the test split, which no earlier evaluations of this recipe had opened. Chosen on: guidance, val."
    )
    assert sentence(run) == said
    assert said in render_markdown({"run": run}, "A page")


class Prepared:
    """Rows of 100 images, the last of which are those of the test split."""

    def __len__(self):
        return 100

    def rows(self, split):
        return {"train": np.arange(80), "val": np.arange(80, 90), "test": np.arange(90, 100)}[split]


@pytest.mark.parametrize(
    ("kid_n", "synthetic", "synthetic_n", "further"),
    [
        (None, False, None, 0),
        (7, False, 9, 0),
        (12, False, None, 4),
        (None, True, 6, 6),
        (30, True, 6, 22),
        (9, True, None, 80),
    ],
)
def test_texts_of_training_images_are_asked_for_where_the_measured_ones_do_not_do(
    kid_n, synthetic, synthetic_n, further
):
    """By KID over more images, or by a classifier that is to be trained on generated ones."""
    measures = SimpleNamespace(kid_n=kid_n, synthetic=synthetic, synthetic_n=synthetic_n)
    asked = Evaluation(Collection(Prepared(), "test"), None, measures).asked(np.arange(90, 98))
    assert asked[:8].tolist() == list(range(90, 98))
    assert len(asked) == 8 + further
    assert set(asked[8:]) <= set(range(80))


def test_what_is_held_out_of_a_measurement_on_validation_holds_no_test_image():
    assert Collection(Prepared(), "val").unseen().tolist() == list(range(80, 90))
    assert Collection(Prepared(), "test").unseen().tolist() == list(range(80, 100))


def test_the_floor_of_a_measurement_on_validation_holds_no_test_image():
    assert sorted(Collection(Prepared(), "val").pool(60)) == list(range(90))
    test = Collection(Prepared(), "test")
    assert sorted(test.pool(60)) == list(range(100))
    assert test.pool(10).tolist() == np.random.default_rng(1).permutation(100)[:30].tolist()
