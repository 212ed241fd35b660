"""Looks for copies in a run: what stops it, what it ends with, and that a kill changes neither."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from miniature import LOGGER, MACHINE, RECIPE, ldm_stage

from cxr_ldm.callbacks.copies import CLEAN, Copies
from cxr_ldm.callbacks.history import read_history
from cxr_ldm.commands.machine import check_stop
from cxr_ldm.commands.stages import looks_stated
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies.watch import Watch, asked
from cxr_ldm.training import fit as training


class Killed(Exception):
    pass


class Run:
    """A run of 8 steps with a look every 2, whose p is given by the step; it keeps the weights that it looked at."""

    def __init__(self, tmp_path, folder, p, stop=True, kill_at=None):
        self.stage, self.data = ldm_stage(tmp_path)
        self.folder, self.p, self.seen, self.kill_at = folder, p, {}, kill_at
        self.copies = Copies(
            self.draw, self.look, lambda values: values["val/copies_p"] <= 0.01, folder / "checkpoints", stop
        )

    def draw(self, module):
        step = module.trainer.global_step
        if step == self.kill_at:
            raise Killed
        self.seen[step] = {name: value.clone() for name, value in module.state_dict().items()}
        return torch.full((1, 1, 1, 1), step)

    def look(self, images):
        return {"val/copies_excess": 0.1, "val/copies_p": self.p(int(images.item()))}

    def fit(self, copies=True):
        recipe, callbacks = replace(RECIPE, images=32), [self.copies] if copies else []
        arguments = self.stage, self.data, self.folder, recipe, MACHINE, ("val/loss", "min"), LOGGER, 0
        return training.fit(*arguments, callbacks)


def same(one, two):
    return all(torch.equal(value, two[name]) for name, value in one.items())


def from_six(step):
    return 0.001 if step >= 6 else 0.3


@pytest.fixture
def stopped(tmp_path):
    run = Run(tmp_path, tmp_path / "run", from_six)
    run.trainer = run.fit()
    return run


def test_the_first_alarm_ends_the_run_and_the_look_before_it_is_what_stays(stopped):
    assert stopped.trainer.global_step == 6
    assert (stopped.copies.alarm, stopped.copies.clean) == (6, 4)
    final = {name: value.clone() for name, value in stopped.stage.state_dict().items()}
    assert same(final, stopped.seen[4])
    assert not same(final, stopped.seen[6])
    rows = read_history(stopped.folder / "history.csv")
    assert [(row["step"], round(row["value"], 4)) for row in rows if row["name"] == "val/copies_p"] == [
        (2, 0.3),
        (4, 0.3),
        (6, 0.001),
    ]
    (values,) = stopped.trainer.validate(stopped.stage, stopped.data, verbose=False)
    (then,) = [row["value"] for row in rows if row["name"] == "val/loss" and row["step"] == 4]
    assert values["val/loss"] == pytest.approx(then)
    assert same(final, stopped.stage.state_dict())


@pytest.mark.parametrize("step", [pytest.param(4, marks=pytest.mark.campaign), 6])
def test_a_run_that_was_killed_at_a_look_decides_the_same(tmp_path, stopped, step):
    with pytest.raises(Killed):
        Run(tmp_path, tmp_path / "killed", from_six, kill_at=step).fit()
    again = Run(tmp_path, tmp_path / "killed", from_six)
    assert again.fit().global_step == 6
    assert same(again.stage.state_dict(), stopped.stage.state_dict())


def test_a_run_that_was_stopped_does_not_go_on(tmp_path, stopped):
    again = Run(tmp_path, stopped.folder, from_six)
    assert again.fit().global_step == 6
    assert again.seen == {}
    assert same(again.stage.state_dict(), stopped.stage.state_dict())


def test_looks_change_nothing_and_without_an_alarm_or_stop_a_run_goes_to_its_end(tmp_path):
    plain = Run(tmp_path, tmp_path / "plain", from_six)
    plain.fit(copies=False)
    for name, p, stop in (("clean", lambda step: 0.3, True), ("told", from_six, False)):
        run = Run(tmp_path, tmp_path / name, p, stop)
        assert run.fit().global_step == 8
        assert same(run.stage.state_dict(), plain.stage.state_dict())
        assert (run.folder / "checkpoints" / CLEAN).exists() == stop


def test_an_alarm_at_the_first_look_leaves_nothing_to_end_with(tmp_path):
    with pytest.raises(UserError, match="the first look, at step 2, already finds copies"):
        Run(tmp_path, tmp_path / "run", lambda step: 0.001).fit()


class Collection:
    """Stands for a prepared folder of smooth random pictures: 120 of training, 40 of validation."""

    folder = "here"

    def __init__(self):
        noise = torch.randn(160, 1, 6, 6, generator=torch.Generator().manual_seed(0))
        self.images = F.interpolate(noise, size=32, mode="bicubic")

    def rows(self, split):
        return np.arange(120) if split == "train" else np.arange(120, 160)

    def pixels(self, rows):
        return self.images[rows]

    def texts(self, rows):
        return [f"text {row}" for row in rows]

    def patients(self, rows):
        return [f"patient {row}" for row in rows]


class Followed(Collection):
    """Four images of each of 300 training and 50 validation patients: those of one are alike."""

    def __init__(self):
        random = torch.Generator().manual_seed(0)
        people = torch.randn(350, 1, 6, 6, generator=random).repeat_interleave(4, dim=0)
        noise = 0.3 * torch.randn(1400, 1, 6, 6, generator=random)
        self.images = F.interpolate(people + noise, size=32, mode="bicubic")

    def rows(self, split):
        return np.arange(1200) if split == "train" else np.arange(1200, 1400)

    def patients(self, rows):
        return [f"patient {row // 4}" for row in rows]


def watching(data):
    def features(images):
        return F.adaptive_avg_pool2d(images, 6).flatten(1).double()

    chosen = asked(data, 60, seed=0)
    return Watch(data, chosen, lambda rows, what: features(data.images[rows]), features, alpha=0.05, looks=4)


@pytest.fixture
def watch():
    return watching(Collection())


def test_whole_patients_stand_on_either_side_so_that_copies_of_one_of_several_images_are_seen():
    data = Followed()
    watch = watching(data)
    chosen = watch.chosen
    assert len(chosen.training) == len(chosen.held_out) == 200
    assert len(set(data.patients(chosen.training))) == len(set(data.patients(chosen.held_out))) == 50
    assert len(set(data.patients(chosen.rows[:30]))) > 20  # prompts are not those of the first patients alone
    fresh = F.interpolate(torch.randn(60, 1, 6, 6, generator=torch.Generator().manual_seed(1)), size=32, mode="bicubic")
    remembered = torch.where(torch.from_numpy(chosen.rows < 1200)[:, None, None, None], data.images[chosen.rows], fresh)
    assert watch.alarms(watch.look(remembered))
    assert not watch.alarms(watch.look(fresh))


def test_a_model_that_gives_back_its_training_images_alarms_and_another_does_not(watch):
    """What remembers gives back the picture of a training text, and something new where it never saw the text."""
    chosen, images = watch.chosen, watch.prepared.images
    fresh = F.interpolate(torch.randn(60, 1, 6, 6, generator=torch.Generator().manual_seed(1)), size=32, mode="bicubic")
    remembered = torch.where(torch.from_numpy(chosen.rows < 120)[:, None, None, None], images[chosen.rows], fresh)
    told, quiet = watch.look(remembered), watch.look(fresh)
    assert watch.alarms(told)
    assert not watch.alarms(quiet)
    assert told["val/copies_excess"] == pytest.approx(0.5, abs=0.1)
    assert watch.bound == 0.05 / 4
    assert told.keys() == quiet.keys() >= {"val/copies_p", "val/kid", "val/copies_excess_features"}


def test_a_model_that_draws_what_a_text_says_is_no_suspect(watch):
    """It comes near to the picture of each text, asked for or not; only training texts would make a suspect of it."""
    images = watch.prepared.images[watch.chosen.rows]
    noise = F.interpolate(torch.randn(60, 1, 6, 6, generator=torch.Generator().manual_seed(2)), size=32, mode="bicubic")
    assert not watch.alarms(watch.look(images + 0.1 * noise))


def test_both_sides_are_asked_alike(watch):
    chosen = watch.chosen
    assert len(chosen.training) == len(chosen.held_out) == 40
    assert (chosen.rows < 120).sum() == 30
    assert len(watch.prompts) == 60
    with pytest.raises(UserError, match=r"copies\.samples=10 must be 0 \(no looks\) or at least 20"):
        asked(Collection(), 10, 0)


def test_runs_without_looks_keep_their_settings():
    assert looks_stated({"copies": {"samples": 0, "alpha": 0.05}}, None) == {}
    assert looks_stated({"copies": {"samples": 100, "alpha": 0.05}}, "copies") == {
        "copies": {"samples": 100, "alpha": 0.05},
        "stop": "copies",
    }


@pytest.mark.parametrize(
    ("stop", "stage", "samples", "message"),
    [
        ("copies", "vae", 200, "stop=copies needs stage=ldm; stage=vae makes no images"),
        ("copies", "ldm", 0, "stop=copies needs looks; choose training.ldm.copies.samples=200"),
    ],
)
def test_what_cannot_be_meant_is_refused(stop, stage, samples, message):
    with pytest.raises(UserError, match=message):
        check_stop(stop, stage, samples)
