"""Several processes for one run: started here by torch's elastic agent, or joined where torchrun or srun started them.

The agent ends all of them where one ends badly. Each leaves its last words in a file, so that one sentence says why.
"""

import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from cxr_ldm.errors import Paused, Terminated, UserError

ENDS = "CXR_LDM_ENDS"  # folder of the last words of each process, and of the result of the first
SWEPT = "CXR_LDM_SWEPT"  # set where a multirun started the processes
RESULT = "result"
SECONDS = 120  # from a signal to the end of a process that still writes its checkpoint
ROOTS = ("user", "killed", "paused", "error")  # what ended a run, before what only followed from it


def asked(cfg: DictConfig) -> int:
    """Processes on this machine by `trainer.devices`: a number, a list of GPUs, or auto, which is all there are."""
    devices = cfg.trainer.devices
    if devices != "auto":
        return devices if isinstance(devices, int) else len(devices)
    import torch

    return max(1, torch.cuda.device_count()) if cfg.trainer.accelerator != "cpu" else 1


def check_count(cfg: DictConfig, count: int) -> None:
    """Raises UserError where the machine has not what each process needs: a GPU, or a core."""
    import torch

    gpus = torch.cuda.device_count() if cfg.trainer.accelerator != "cpu" else 0
    most, what = (gpus, "GPUs") if gpus else (max(2, os.cpu_count() or 1), "processes for its cores")
    if count > most:
        raise UserError(f"trainer.devices={cfg.trainer.devices} is more than the {most} {what} of this machine.")


def in_as_many(cfg: DictConfig, run: Callable[[], Path]) -> Path:
    """What `run` returns, which is the run's folder, after as many processes have done it together as are asked for."""
    if started_elsewhere():
        number = join(cfg)
        with last_words(number):
            folder = run()
        if number == 0 and ENDS in os.environ:
            (Path(os.environ[ENDS]) / RESULT).write_text(str(folder), encoding="utf-8")
        return folder
    count = asked(cfg)
    if count == 1:
        return run()
    check_count(cfg, count)
    if not isinstance(cfg.trainer.devices, int | str):  # each process takes the GPU of its number among those it sees
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(device) for device in cfg.trainer.devices)
    return start(count)


def started_elsewhere() -> bool:
    """Whether this is one of several processes already: of our own start, of torchrun, or of srun."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return True
    from lightning.fabric.plugins.environments import SLURMEnvironment

    return SLURMEnvironment.detect()


def join(cfg: DictConfig) -> int:
    """Meet the other processes; the number of this one."""
    import torch
    from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    place: Any = SLURMEnvironment() if SLURMEnvironment.detect() else TorchElasticEnvironment()
    os.environ.setdefault("MASTER_ADDR", place.main_address)
    os.environ.setdefault("MASTER_PORT", str(place.main_port))
    on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator != "cpu"
    if on_gpu:
        torch.cuda.set_device(place.local_rank())
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    torch.distributed.init_process_group(backend, rank=place.global_rank(), world_size=place.world_size())
    return int(place.global_rank())


def start(count: int) -> Path:
    """Do this command in `count` processes.

    Raises:
        UserError, Paused: as the process that ended first.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):  # what they say, our sentence says
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    known = "shutdown_timeout" in LaunchConfig.__dataclass_fields__  # not in every torch
    options: dict[str, Any] = {"shutdown_timeout": SECONDS} if known else {}
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            run_id=str(os.getpid()),
            max_restarts=0,
            **options,
            # what the others print, the first prints as well
            logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=dict.fromkeys(range(1, count), Std.ALL)),
        )
        os.environ[ENDS] = folder
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            os.environ[SWEPT] = "1"
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            elastic_launch(config, sys.executable)(*command())
        except ChildFailedError as error:
            print()  # below the progress bar that was open
            raise ending(Path(folder), [failure.exitcode for failure in error.failures.values()]) from None
        except SignalException as error:
            raise ending(Path(folder), [], signal.Signals(error.sigval).name) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for name in (ENDS, SWEPT):
                os.environ.pop(name, None)
        return Path((Path(folder) / RESULT).read_text(encoding="utf-8"))


def command() -> Sequence[str]:
    """The arguments of Python that do this job again: of a multirun, this one alone."""
    script = getattr(sys.modules["__main__"], "__file__", None) or ""
    typed = HydraConfig.get().overrides
    words = [word for word in (*typed.hydra, *typed.task) if not word.startswith("hydra.mode=")]
    return [script, *words] if Path(script).name == "train.py" else ["-m", "cxr_ldm", "train", *words]


@contextmanager
def last_words(number: int) -> Iterator[None]:
    """Keep why the process of this number ends badly, for the one that started it, which prints it once."""
    if ENDS not in os.environ:
        yield
        return
    try:
        yield
    except UserError as error:
        leave(number, "user", str(error), 2)
    except Paused as pause:
        leave(number, "paused", str(pause), 75)
    except Terminated:
        leave(number, "paused", "stopped by SIGTERM; the same command goes on.", 75)
    except Exception:
        leave(number, "error", traceback.format_exc(), 1)


def leave(number: int, kind: str, text: str, code: int) -> None:
    """Write the last words and end; after an error at once, since the other processes may not answer any more."""
    words = {"kind": kind, "text": text, "time": time.time()}
    (Path(os.environ[ENDS]) / f"end-{number}.json").write_text(json.dumps(words), encoding="utf-8")
    if kind != "error":
        sys.exit(code)
    sys.stdout.flush()
    os._exit(code)


def ending(folder: Path, codes: Sequence[int], stopped: str | None = None) -> BaseException:
    """What is raised for processes that have ended.

    Args:
        folder: of their last words.
        codes: exit codes of those that ended first; a signal's number is negative.
        stopped: name of the signal that ended all of them.
    """
    words = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("end-*.json"))]
    killed = [signal.Signals(-code).name for code in codes if code < 0 and code != -signal.SIGTERM]
    if killed:
        text = f"one of the processes was ended by {killed[0]}, so all have; the same command goes on."
        words.append({"kind": "killed", "text": text, "time": 0.0})
    if not words:
        return Paused(f"stopped by {stopped or 'a signal'}; the same command goes on.")
    first = min(words, key=lambda end: (ROOTS.index(end["kind"]), end["time"]))
    if first["kind"] == "user":
        return UserError(first["text"])
    if first["kind"] == "error":
        return RuntimeError(f"a process of the run failed:\n{first['text']}")
    return Paused(first["text"])
