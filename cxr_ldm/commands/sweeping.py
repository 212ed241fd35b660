"""Searches by Optuna as a sweeper of Hydra: a study on the disk, which a kill at any moment leaves whole.

hydra-optuna-sweeper 1.3 asks for an Optuna below 3 and keeps its studies in an SQL data base; this is Optuna's own
journal and sampler under a loop of fifty lines, whose trials are runs like all others: reused, resumed, listed.
"""

import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from cxr_ldm import artifacts, naming
from cxr_ldm.assets import CONF
from cxr_ldm.errors import UserError

MONITORED = {"vae": ("val_ssim", "maximize")}  # what the stages monitor, where it is not the loss
JOURNAL = "study.log"
STARTUP = 5  # trials of which none is ended early
UNSEARCHED = ("seed", "name", "paths.outputs", "hydra")  # of a command, what the file of the best leaves out


class OptunaSweeper(Sweeper):
    """See conf/hydra/sweeper/optuna.yaml.

    A trial is sampled from the trials that are done and their number alone, so that a study which was killed goes on
    as if it had not been.
    """

    def __init__(
        self,
        study: str | None,
        trials: int,
        seeds: int,
        metric: str | None,
        direction: str | None,
        prune: bool,
        seed: int,
        outputs: str,
        stage: str | None,
        params: Mapping[str, str] | None = None,
    ) -> None:
        self.study, self.trials, self.seeds, self.prune, self.seed = study, trials, seeds, prune, seed
        usual = MONITORED.get(str(stage), ("val_loss", "minimize"))
        self.metric, self.direction = metric or usual[0], direction or ("minimize" if metric else usual[1])
        self.outputs, self.params = Path(outputs), dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Trials until there are as many as asked for; those that are done already count."""
        optuna = library()
        for name, least in (("trials", 1), ("seeds", 1)):
            if getattr(self, name) < least:
                raise UserError(f"hydra.sweeper.{name}={getattr(self, name)} must be {least} or more.")
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        overrides = parser.parse_overrides([f"{key}={space}" for key, space in self.params.items()] + arguments)
        fixed, space = divided(overrides)
        if not space:
            raise UserError("hydra/sweeper=optuna searches nothing: give a KEY=interval(LOW,HIGH) or KEY=choice(A,B).")
        asked: dict[str, Any] = {
            "fixed": sorted(fixed),
            "space": {key: repr(kind) for key, kind in sorted(space.items())},
        }
        asked |= {"metric": self.metric, "direction": self.direction, "seeds": self.seeds, "seed": self.seed}
        name = self.study or naming.slug([str(key).rsplit(".", 1)[-1] for key in space], asked)
        folder = naming.place(self.outputs / "sweeps", name)
        study = opened(folder, name, self.direction, create=True)
        known = study.user_attrs.setdefault("asked", asked)
        if known != asked:
            keys = sorted(key for key in asked if known.get(key) != asked[key])
            raise UserError(f"study {name} was begun with another {', '.join(keys)}; choose another study=NAME.")
        study.set_user_attr("asked", asked)
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
        print(f"study {name}: {folder}")
        while len(done := finished(study)) < self.trials:
            trial = self.next(study, space, len(done))
            self.run(study, trial, fixed)
        if any(trial.value is not None for trial in study.trials):
            print(f"best: {self.metric} {study.best_value:.4g} in trial {study.best_trial.number}: {study.best_params}")
            print(f"  {write_best(folder, name, fixed, study)}")
        return None

    def next(self, study: Any, space: Mapping[str, Any], done: int) -> Any:
        """The trial that a kill left running, or a new one."""
        optuna = library()
        for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if left.params.keys() == space.keys():
                return optuna.trial.Trial(study, left._trial_id)
            study.tell(left.number, state=optuna.trial.TrialState.FAIL)
        study.sampler = optuna.samplers.TPESampler(seed=abs(hash((self.seed, done))) % 2**32)
        return study.ask(fixed_distributions=dict(space))

    def run(self, study: Any, trial: Any, fixed: Sequence[str]) -> None:
        """Do the runs of one trial and tell the study."""
        from cxr_ldm.callbacks.pruning import RUNNING, Watched

        optuna = library()
        state, values = optuna.trial.TrialState, []
        chosen = [f"{key}={written(value)}" for key, value in trial.params.items()]
        print(f"trial {trial.number}: {' '.join(chosen)}")
        try:
            for number in range(self.seeds):
                seeded = [f"seed={number}"] if self.seeds > 1 else []
                # of several seeds the first alone may end a trial
                RUNNING[:] = [watched := Watched(trial if self.prune and number == 0 else None, self.metric)]
                job = trial.number * self.seeds + number
                (result,) = self.launcher.launch([[*fixed, *chosen, *seeded]], initial_job_idx=job)
                folder = result.return_value  # raises what ended the job
                values.append(value_of(Path(folder), watched.values, self.metric))
        except optuna.TrialPruned:
            study.tell(trial, state=state.PRUNED)
            print(f"trial {trial.number} ends early: others were better at this step")
            return
        except SystemExit as end:
            if end.code != 2 or not any(each.state == state.COMPLETE for each in study.trials):
                raise  # asked to stop, or a setting that no trial would survive
            study.tell(trial, state=state.FAIL)
            return
        finally:
            RUNNING.clear()
        trial.set_user_attr("values", values)
        study.tell(trial, statistics.fmean(values))


def register() -> None:
    """Make the sweeper known to Hydra, which takes plugins of the package hydra_plugins alone, by this name."""
    plugins, place = Plugins.instance(), "hydra_plugins.cxr_ldm"
    module = ModuleType(place)
    named = type(OptunaSweeper.__name__, (OptunaSweeper,), {"__module__": place})
    setattr(module, named.__name__, named)
    parent = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))  # there where another plugin is
    setattr(parent, "cxr_ldm", module)  # noqa: B010
    sys.modules[place] = module
    plugins.register(named)


def library() -> Any:
    """`optuna`; raises UserError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise UserError("hydra/sweeper=optuna needs optuna: run `pip install 'cxr-ldm[sweep]'`.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def opened(folder: Path, name: str, direction: str | None = None, create: bool = False) -> Any:
    """The study of a folder.

    Raises:
        UserError: there is none, and none is to be created.
    """
    optuna = library()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if not create and not (folder / JOURNAL).is_file():
        raise UserError(f"there is no study in {folder}.")
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
    if not create:
        return optuna.load_study(study_name=name, storage=storage)
    return optuna.create_study(study_name=name, storage=storage, direction=direction, load_if_exists=True)


def finished(study: Any) -> list[Any]:
    """Trials that are done, those that failed or ended early included."""
    return [trial for trial in study.trials if trial.state.is_finished()]


def divided(overrides: Sequence[Override]) -> tuple[list[str], dict[str, Any]]:
    """What is the same in every trial, and what is searched.

    Raises:
        UserError: something is searched in a way that Optuna knows not.
    """
    fixed, space = [], {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            space[key] = distribution(key, override.value())
        else:
            fixed.append(f"{key}={override.get_value_element_as_str()}")
    return fixed, space


def distribution(key: str, sweep: Any) -> Any:
    """interval(LOW,HIGH), range(LOW,HIGH,STEP) or choice(A,B,…) as Optuna has it; tag(log,…) is on a log scale."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    log = "log" in getattr(sweep, "tags", ())
    if isinstance(sweep, ChoiceSweep):
        values: list[Any] = [getattr(element, "text", element) for element in sweep.list]
        if all(isinstance(value, str | int | float | bool | None) for value in values):
            return CategoricalDistribution(values)
    if isinstance(sweep, IntervalSweep):
        return FloatDistribution(float(sweep.start or 0), float(sweep.end or 0), log=log)
    if isinstance(sweep, RangeSweep):
        start, stop, step = sweep.start or 0, sweep.stop or 0, sweep.step
        if all(float(value).is_integer() for value in (start, stop, step)):
            return IntDistribution(int(start), int(stop) - 1, log=log, step=int(step))  # as range(), without its end
        return FloatDistribution(float(start), float(stop), step=float(step))
    raise UserError(f"{key}: a search takes interval(LOW,HIGH), range(LOW,HIGH,STEP) or choice(A,B,…) of plain values.")


def written(value: Any) -> str:
    """As Hydra reads it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def value_of(folder: Path, evaluated: Mapping[str, float], metric: str) -> float:
    """The metric of a run, or of its evaluation.

    Raises:
        UserError: neither has it.
    """
    entries = artifacts.read_json(folder / "metrics.json")
    values = {name: entry["value"] for name, entry in entries.items() if name != "run"} | dict(evaluated)
    if metric not in values:
        raise UserError(f"hydra.sweeper.metric={metric} is not measured; there are {', '.join(sorted(values))}.")
    return float(values[metric])


def write_best(folder: Path, name: str, fixed: Sequence[str], study: Any) -> Path:
    """The best trial as a file that experiment= takes, with hydra.searchpath=[file://…/conf]."""
    words = [*fixed, *(f"{key}={written(value)}" for key, value in study.best_params.items())]
    pairs = [word.partition("=")[::2] for word in words]
    pairs = [(key.lstrip("+"), value) for key, value in pairs if not key.lstrip("+").startswith(UNSEARCHED)]
    # an experiment that was searched from comes first, and what the trial changed behind it
    groups = [f"  - {value}" for key, value in pairs if key == "experiment"]
    groups += [f"  - override /{key}: {value}" for key, value in pairs if (CONF / key).is_dir() and key != "experiment"]
    values = OmegaConf.from_dotlist([f"{key}={value}" for key, value in pairs if not (CONF / key).is_dir()])
    head = [
        "# @package _global_",
        f"# Best of {len(finished(study))} trials of study {name}: {study.best_value:.6g} in trial "
        f"{study.best_trial.number}.",
    ]
    text = "\n".join([*head, *(["defaults:", *groups] if groups else []), OmegaConf.to_yaml(values) if values else ""])
    path = folder / "conf" / "experiment" / f"{re.sub(r'[^A-Za-z0-9_]+', '_', name)}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    artifacts.write_text(path, text)
    return path
