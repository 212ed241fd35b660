"""Does synthetic data help? On phantoms with a small real set: a planted gain is found, planted nulls are not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cxr_ldm.benchmark import utility, utility_arms
from cxr_ldm.benchmark.utility_arms import (
    CONTROL,
    PRIMARY,
    REAL,
    REAL_IMAGE,
    SYNTHETIC,
    Design,
    Source,
    all_scores,
    arms,
)
from cxr_ldm.benchmark.utility_figures import estimate, figures
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.folder import to_pixels
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.crossfit import folds
from cxr_ldm.evaluation.fitting import Recipe

CLASSES = ["pleural effusion", "cardiomegaly"]
SIZE, FEW, NOISE = 32, 200, 0.3


class Linear(nn.Module):
    """A logit for each class, linear in the pixels: as many weights as pixels, so few images do not suffice."""

    def __init__(self, classes):
        super().__init__()
        self.head = nn.Linear(SIZE**2, len(classes))

    def forward(self, pixels):
        return self.head(pixels.flatten(1))

    @torch.no_grad()
    def probabilities(self, pixels):
        return self(pixels).sigmoid()


RECIPE = Recipe(Linear, lambda groups: torch.optim.AdamW(groups, lr=5e-3), epochs=12, batch_size=16)
DESIGN = Design([arm for arm in arms([1]) if arm.name != SYNTHETIC], [0, 1, 2], 2, RECIPE, {}, 1)


def phantoms(n, seed):
    """Noisy pictures, what they show, whose they are, and who is a woman."""
    records = list(PhantomReader(n, SIZE, seed).records())
    pixels = to_pixels(np.stack([record.load() for record in records]))
    pixels += NOISE * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))
    shown = [[float(any(found["name"] == name for found in record.findings)) for name in CLASSES] for record in records]
    people = [record.patient_id for record in records]
    return pixels, np.array(shown), people, np.array([record.sex == "female" for record in records])


@pytest.fixture(scope="module")
def real():
    pixels, targets, patients, women = phantoms(FEW, 0)
    return Source(
        CLASSES,
        targets,
        patients,
        np.full(FEW, "phantom"),
        lambda places: pixels[places],
        lambda places, replica: pixels[places],  # copies, until a test plants something else
        targets,
        {"sex_female": women, "sex_male": ~women, "view_lateral": np.arange(FEW) < 5, "adult": np.ones(FEW, bool)},
        {"data": "phantoms"},
        {"bundle": "copies"},
    )


@pytest.fixture(scope="module")
def fresh(real):
    """Fresh phantoms that show what is asked for, another one each time that a place is looked at."""
    pixels, shown, _, _ = phantoms(400, 5)
    alike = [np.flatnonzero((shown == row).all(axis=1)) for row in real.targets]
    random = np.random.default_rng(0)
    return lambda places, replica: pixels[[random.choice(alike[place]) for place in places]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def measured(source, cache):
    said = {"generator_saw": "Nothing.", "leaked": 0, "classes_left_out": {"nodule": 3}}
    return figures(source, DESIGN, all_scores(source, DESIGN, cache), {}, said, 0)


def told(metrics):
    run = {"git_commit": "0" * 40, "command": "x"}
    return utility.page({name: metric.entry() for name, metric in metrics.items()} | {"run": run})


def test_a_planted_gain_is_found(real, fresh, cache):
    metrics = measured(replace(real, synthetic=fresh, drawn_by={"bundle": "fresh"}), cache)
    gain, placebo = metrics["utility_gain"], metrics["utility_placebo"]
    assert gain.over == "patients and seeds"
    assert gain.ci95[0] > 0.01
    assert abs(placebo.value) < 0.01
    arm = {name: metrics[f"utility_auroc_{name}"].value for name in (REAL, CONTROL, PRIMARY)}
    assert gain.value == pytest.approx(arm[PRIMARY] - arm[CONTROL])
    by_finding = [metrics[f"utility_finding_{name.replace(' ', '_')}"] for name in CLASSES]
    assert gain.value == pytest.approx(np.mean([each.value for each in by_finding]))
    assert by_finding[0].settings["shown"] == int(real.targets[:, 0].sum())
    women = metrics["utility_sex_female_gain"]
    assert women.n + metrics["utility_sex_male_gain"].n == FEW
    assert women.settings["p_value_holm"] >= women.settings["p_value"]
    page = told(metrics)
    assert "**Synthetic images help: " in page
    over_once = metrics["utility_gain_over_real_once"]
    assert over_once.value == pytest.approx(gain.value + placebo.value)
    assert (
        f"{over_once.value:.4f} ({over_once.ci95[0]:.4f} to {over_once.ci95[1]:.4f}) over the real images once" in page
    )
    assert "utility_adult_gain" not in metrics  # the primary outcome once more
    assert f"gains of {metrics['utility_smallest_gain'].value:.4f} and more" in page
    assert f"{FEW} real images of {len(set(real.patients))} patients." in page
    assert "Subgroups of too few patients: view lateral." in page
    assert "Too few images show, or do not show: nodule (3)." in page


@pytest.mark.parametrize("kind", ["copies", "noise", "empty labels"])
def test_a_planted_null_is_none(kind, real, fresh, cache):
    random = np.random.default_rng(1)
    noise = torch.from_numpy(random.standard_normal((FEW, 1, SIZE, SIZE)).astype(np.float32))
    null = {
        "copies": real,
        "noise": replace(real, synthetic=lambda places, replica: noise[places]),
        "empty labels": replace(real, synthetic=fresh, synthetic_targets=random.permutation(real.targets)),
    }[kind]
    metrics = measured(replace(null, drawn_by={"bundle": kind}), cache)
    assert metrics["utility_gain"].ci95[0] < 0
    assert metrics["utility_gain"].value < 0.01
    assert "Synthetic images help" not in told(metrics)
    if kind == "copies":
        assert "**No gain was found: " in told(metrics)


def test_no_arm_sees_the_patients_that_it_scores_and_all_take_as_many_steps(real, tmp_path, monkeypatch):
    phases, steps, design = [], [], replace(DESIGN, arms=arms([0.5, 1, 2]), seeds=[1], replicas=2)

    def fitted(recipe, pixels, targets, classes, seed, count):
        steps.append(count)
        phases.append(("trained on", set()))
        pixels(np.arange(len(targets)))
        phases.append(("scored", set()))
        return Linear(classes)

    def watch(places, replica=None):
        phases[-1][1].update(real.patients[place] for place in places)
        return torch.zeros(len(places), 1, SIZE, SIZE)

    monkeypatch.setattr(utility_arms, "fit", fitted)
    watched = replace(real, real=watch, synthetic=watch)
    all_scores(watched, design, tmp_path)
    fold = folds([f"1/{name}" for name in real.patients], 2)
    sizes = [int((fold != number).sum()) for number in (0, 1)]
    assert steps == [design.steps(size) for size in sizes] * 6
    assert [name for name, _ in phases] == ["trained on", "scored"] * len(steps)
    for (_, trained), (_, scored) in zip(phases[::2], phases[1::2], strict=True):
        assert not trained & scored
        assert trained | scored == set(real.patients)
    trained_on = {arm.name: arm.items(np.flatnonzero(fold != 0), 2, 1)[:, 1].tolist() for arm in design.arms}
    counts = {name: (kinds.count(REAL_IMAGE), len(kinds)) for name, kinds in trained_on.items()}
    size = sizes[0]
    assert counts[REAL] == (size, size)
    assert counts[CONTROL] == (2 * size, 2 * size)
    assert counts[PRIMARY] == (size, 2 * size)
    assert counts["plus_0.5"] == (size, size + round(size / 2))
    assert counts["plus_2"] == (size, 3 * size)
    assert counts[SYNTHETIC] == (0, size)
    assert set(trained_on[PRIMARY]) == {REAL_IMAGE, 1}  # the second seed begins with the second replica


def test_a_killed_run_goes_on_and_another_generator_fits_only_its_own_arms(real, tmp_path, monkeypatch):
    fitted, own = [], utility_arms.fit

    def counted(*arguments):
        fitted.append(arguments)
        if len(fitted) == 4:
            raise KeyboardInterrupt
        return own(*arguments)

    monkeypatch.setattr(utility_arms, "fit", counted)
    design = replace(DESIGN, seeds=[0], recipe=replace(RECIPE, epochs=1))
    with pytest.raises(KeyboardInterrupt):
        all_scores(real, design, tmp_path)
    first = all_scores(real, design, tmp_path)
    assert len(fitted) == 7  # three arms of two folds, and the one that was killed
    again = all_scores(real, design, tmp_path)
    assert len(fitted) == 7
    assert all(np.array_equal(first[key], again[key]) for key in first)
    all_scores(replace(real, drawn_by={"bundle": "another"}), design, tmp_path)
    assert len(fitted) == 9


@pytest.mark.parametrize("between", [0.0, 0.05])
def test_intervals_hold_the_truth_and_the_smallest_gain_is_seen_as_often_as_is_said(between):
    """Estimates with known errors of patients and of seeds: 95 of 100 intervals hold 0, and 80 of 100 see the gain."""
    random, held, found, variances = np.random.default_rng(0), [], [], []
    known = np.sqrt(0.03**2 + between**2 / 3)
    for _ in range(500):
        of_patients, of_seeds = random.normal(0, 0.03), random.normal(0, between, 3)
        draws = np.tile(random.normal(0, 0.03, 400), (3, 1))
        metric = estimate(of_patients + of_seeds, draws, 9, {}, gain=True)
        variances.append(metric.settings["standard_error"] ** 2)
        held.append(metric.ci95[0] < 0 < metric.ci95[1])
        found.append(metric.value + 2.8 * known > metric.value - metric.ci95[0])
    assert np.mean(variances) == pytest.approx(known**2, rel=0.1)
    assert 0.93 < np.mean(held) < 0.985
    if not between:  # else errors are estimated from three seeds, and the gain of a known one is seen less often
        assert 0.75 < np.mean(found) < 0.85
        assert metric.settings["smallest_gain"] == pytest.approx(2.8 * metric.settings["standard_error"], rel=0.01)


def prepared_phantoms(folder, **more):
    splits = {"seed": 0, "val": 0.1, "test": 0.4}
    return prepare(PhantomReader(60, SIZE, 0), folder, Target(SIZE), name="p", splits=splits)


def test_what_the_generator_saw_is_said(tmp_path):
    data = prepared_phantoms(tmp_path / "p")

    def model(fingerprint, **more):
        info = {"size": SIZE, "data": {"name": "d", "fingerprint": fingerprint}, "settings": {}} | more
        return SimpleNamespace(folder="b", info=info)

    own = model(data.fingerprint)
    held_out = utility.seen(own, data, False, None)
    assert held_out.rows.tolist() == data.rows("test").tolist()
    assert (held_out.leaked, "of whose patients the generator was trained on none" in held_out.sentence) == (0, True)
    assert "a gain may be what these show" in held_out.sentence
    leaky = utility.seen(own, data, False, "all")
    assert leaky.leaked == len(data.rows("train"))
    assert leaky.sentence.startswith(
        f"Leakage: the generator, its autoencoder or what they started from was trained on {leaky.leaked} of the 60"
    )
    with pytest.raises(UserError, match="external=true says that these patients are others"):
        utility.seen(model("another"), data, False, None)
    outside = utility.seen(model("another", settings={"init": "x"}), data, True, None)
    assert len(outside.rows) == 60
    assert "is the word of whoever ran this" in outside.sentence
    assert "It began from another model" in outside.sentence
    of_vae = utility.seen(model("another", vae_data={"fingerprint": data.fingerprint}), data, True, "train")
    of_ancestor = utility.seen(model("another", init_data=[{"fingerprint": data.fingerprint}]), data, True, "train")
    assert of_ancestor.leaked == len(data.rows("train"))
    assert of_vae.leaked == len(data.rows("train"))
    published = SimpleNamespace(folder="b", info={"size": SIZE, "data": {"name": "d"}, "vae_data": {"name": "v"}})
    assert len(utility.seen(published, data, True, None).rows) == 60
    with pytest.raises(UserError, match="external=true says that these patients are others"):
        utility.seen(published, data, False, None)
    with pytest.raises(UserError, match="makes images of 64 pixels"):
        utility.seen(model("another", size=64), data, True, None)
