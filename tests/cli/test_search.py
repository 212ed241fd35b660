"""A search by the command: trials are runs, and the best of them an experiment that trains again."""

import pytest

TINY = ["stage=vae", "data.reader.n=60", "data.size=32", "vae=tiny", "logger=csv", "training.vae.images=16"]
TINY += ["training.vae.validate_every=8", "training.vae.batch_size=8"]
SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.study=s", "hydra.sweeper.trials=2"]
SPACE = ["training.vae.optimizer.lr=tag(log,interval(1e-4,1e-2))"]


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("search")
    command("train.py", *SEARCH, *TINY, *SPACE, f"paths.outputs={outputs}")
    return outputs


def test_its_trials_are_runs_and_the_same_command_finds_them_done(command, outputs):
    assert len(list((outputs / "vae").glob("*/bundle"))) == 2
    done = command("train.py", *SEARCH, *TINY, *SPACE, f"paths.outputs={outputs}")
    assert "trial" not in done.stdout.replace("in trial", "")
    shown = command("-m", "cxr_ldm", "runs", "--outputs", str(outputs), "sweep", "s").stdout
    assert "best" in shown
    assert "experiment=s" in shown


def test_the_best_trains_again(command, outputs):
    path = f"hydra.searchpath=[file://{outputs}/sweeps/s/conf]"
    done = command("train.py", "experiment=s", path, f"paths.outputs={outputs}", "name=again")
    assert (outputs / "vae" / "again" / "bundle").is_dir(), done.stdout


def test_what_cannot_be_searched_is_a_sentence(command, outputs):
    where = f"paths.outputs={outputs}"
    done = command("train.py", *SEARCH, *TINY, where, code=2)
    assert "searches nothing: give a KEY=interval(LOW,HIGH)" in done.stderr
    done = command("-m", "cxr_ldm", "runs", "--outputs", str(outputs), "sweep", "other", code=2)
    assert "there is no study other" in done.stderr
