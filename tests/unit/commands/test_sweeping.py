"""A search: what it draws, that a kill loses nothing, what it leaves."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from cxr_ldm.callbacks.pruning import pruning
from cxr_ldm.commands.studies import print_study
from cxr_ldm.commands.sweeping import JOURNAL, OptunaSweeper, opened
from cxr_ldm.errors import UserError

SEARCHED = ["stage=ldm", "denoiser=choice(tiny,small)", "training.ldm.lr=tag(log,interval(1e-5,1e-2))"]
OPTIONS = {"trials": 8, "seeds": 1, "metric": None, "direction": None, "prune": True, "seed": 0, "stage": "ldm"}


class Bowl:
    """In place of Hydra's launcher: a run whose loss is least at small networks and a rate of 1e-3.

    Args:
        dies: number of the job in which the process is killed; None: never.
        curve: of what is reported before a run ends, by the loss that it ends with.
    """

    def __init__(self, folder, dies=None, curve=()):
        self.folder, self.dies, self.curve, self.jobs = folder, dies, curve, []

    def launch(self, batch, initial_job_idx):
        (words,) = batch
        self.jobs.append(words)
        if initial_job_idx == self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        stated = dict(word.split("=") for word in words)
        loss = abs(float(stated["training.ldm.lr"]) - 1e-3) + (stated["denoiser"] == "tiny")
        loss += 0.001 * int(stated.get("seed", 0))
        run = self.folder / f"run{initial_job_idx}"
        run.mkdir(parents=True, exist_ok=True)
        (run / "metrics.json").write_text(json.dumps({"val_loss": {"value": loss}, "run": {}}))

        class Result:
            @property
            def return_value(result):
                for step in self.curve:
                    told = SimpleNamespace(
                        state=SimpleNamespace(fn="fit"),
                        sanity_checking=False,
                        callback_metrics={"val/loss": loss},
                        global_step=step,
                    )
                    for callback in pruning():
                        callback.on_validation_end(told, None)
                return run

        return [Result()]


def sweeper(folder, launcher, **options):
    made = OptunaSweeper(study="s", outputs=str(folder), **OPTIONS | options)
    made.launcher, made.context = launcher, SimpleNamespace(config_loader=None)
    return made


def drawn(folder):
    return [(trial.params, trial.value) for trial in opened(folder / "sweeps" / "s", "s").trials if trial.value]


@pytest.mark.parametrize("dies", [0, 3, 7])
def test_killed_in_any_trial_and_started_again_it_finds_the_same(tmp_path, dies, capsys):
    sweeper(tmp_path / "straight", Bowl(tmp_path / "a")).sweep(SEARCHED)
    expected = drawn(tmp_path / "straight")
    assert len(expected) == 8
    assert len({params["denoiser"] for params, _ in expected}) == 2
    child = os.fork()
    if child == 0:
        sweeper(tmp_path / "killed", Bowl(tmp_path / "b", dies)).sweep(SEARCHED)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    resumed = Bowl(tmp_path / "b")
    sweeper(tmp_path / "killed", resumed).sweep(SEARCHED)
    assert drawn(tmp_path / "killed") == expected
    assert len(resumed.jobs) == 8 - dies  # the trial that was killed, and those that it never came to
    again = Bowl(tmp_path / "b")
    sweeper(tmp_path / "killed", again).sweep(SEARCHED)
    assert again.jobs == []


def test_the_best_is_an_experiment_and_the_study_a_table_with_plots(tmp_path, capsys):
    sweeper(tmp_path, Bowl(tmp_path / "runs"), seeds=2).sweep([*SEARCHED, "experiment=deck", "+data.reader.n=80"])
    best = opened(tmp_path / "sweeps" / "s", "s").best_trial
    path = tmp_path / "sweeps" / "s" / "conf" / "experiment" / "s.yaml"
    text = path.read_text()
    assert text.startswith("# @package _global_\n# Best of 8 trials of study s")
    assert OmegaConf.load(path) == {
        "defaults": ["deck", {"override /stage": "ldm"}, {"override /denoiser": best.params["denoiser"]}],
        "data": {"reader": {"n": 80}},
        "training": {"ldm": {"lr": best.params["training.ldm.lr"]}},
    }
    assert best.user_attrs["values"][1] - best.user_attrs["values"][0] == pytest.approx(0.001)
    capsys.readouterr()
    print_study(tmp_path, "s")
    shown = capsys.readouterr().out
    assert shown.count("complete") == 7
    assert sum(line.rstrip().endswith("best") for line in shown.splitlines()) == 1
    assert " to " in shown
    for name in ("parallel", "history", "importance"):
        assert (tmp_path / "sweeps" / "s" / f"{name}.png").stat().st_size > 5_000


def test_a_trial_that_does_worse_than_the_others_at_its_step_ends_early(tmp_path):
    sweeper(tmp_path, Bowl(tmp_path / "runs", curve=(10, 20)), trials=16).sweep(SEARCHED)
    states = [trial.state.name for trial in opened(tmp_path / "sweeps" / "s", "s").trials]
    assert states[:5] == ["COMPLETE"] * 5
    assert "PRUNED" in states
    unpruned = tmp_path / "unpruned"
    sweeper(unpruned, Bowl(tmp_path / "r", curve=(10, 20)), trials=16, prune=False).sweep(SEARCHED)
    assert {trial.state.name for trial in opened(unpruned / "sweeps" / "s", "s").trials} == {"COMPLETE"}


@pytest.mark.parametrize(
    ("options", "words", "sentence"),
    [
        ({}, ["stage=ldm"], "searches nothing: give a KEY=interval"),
        ({"trials": 0}, SEARCHED, "hydra.sweeper.trials=0 must be 1 or more"),
        ({"metric": "kid"}, SEARCHED, "hydra.sweeper.metric=kid is not measured; there are val_loss"),
        ({}, ["denoiser=glob(*)"], "denoiser: a search takes interval"),
    ],
)
def test_what_cannot_be_searched_is_refused(tmp_path, options, words, sentence):
    with pytest.raises(UserError, match=sentence.replace("(", r"\(")):
        sweeper(tmp_path, Bowl(tmp_path / "runs"), **options).sweep(words)


def test_a_study_of_another_search_is_not_gone_on_with(tmp_path):
    sweeper(tmp_path, Bowl(tmp_path / "runs"), trials=1).sweep(SEARCHED)
    with pytest.raises(UserError, match="study s was begun with another seeds; choose another study=NAME"):
        sweeper(tmp_path, Bowl(tmp_path / "runs"), seeds=3).sweep(SEARCHED)
    with pytest.raises(UserError, match="there is no study t in .*; there are s"):
        print_study(tmp_path, "t")
    assert (tmp_path / "sweeps" / "s" / JOURNAL).is_file()
