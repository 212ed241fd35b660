"""The last words of a multirun: its runs in one table."""

from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Table(Callback):
    """Hydra callback: prints the settings in which the runs of a multirun differ, and their figures.

    Jobs that a launcher runs in other processes are not seen here; `cxr-ldm runs` lists them.
    """

    def __init__(self) -> None:
        self.folders: list[Path] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """A job returned the folder of its run."""
        if job_return.status == JobStatus.COMPLETED and isinstance(job_return.return_value, Path):
            self.folders.append(job_return.return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table."""
        from cxr_ldm.commands.runs import entries, print_swept

        found = {
            entry.folder: entry for outputs in {run.parents[1] for run in self.folders} for entry in entries(outputs)
        }
        print_swept([found[folder] for folder in dict.fromkeys(self.folders)])
