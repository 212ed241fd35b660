"""The curves of a run as a table in its folder, whatever logger is chosen, and however often the run was resumed."""

import csv
import io
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from cxr_ldm import content
from cxr_ldm.artifacts import write_text

HEADER = "step,name,value,check"
BEFORE = "step,name,value"  # of earlier versions, without the checksum of each row
HISTORY = "history.csv"


class History(Callback):
    """Appends what the stage logs, every `every` steps and at each validation, as rows of step, name, value.

    A resumed run takes back the rows behind its checkpoint, so each step stands there once.

    Args:
        folder: of the run; receives history.csv.
        every: steps between two rows of the training: loss, learning rates, and what else `train/` names.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.path, self.every = folder / HISTORY, every
        self.written = -1

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        kept = [row for row in read_history(self.path) if row["step"] <= trainer.global_step]
        write_text(self.path, f"{HEADER}\n{lines(kept)}")
        self.written = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every == 0 and step > self.written:  # accumulation ends several batches at one step
            self._append(trainer, ("train/", "lr-"))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._append(trainer, ("val/",))

    def _append(self, trainer: lightning.Trainer, starts: tuple[str, ...]) -> None:
        if not trainer.is_global_zero:
            return
        step = self.written = trainer.global_step
        found = [
            {"step": step, "name": name, "value": float(value)}
            for name, value in trainer.callback_metrics.items()
            if name.startswith(starts)
        ]
        with content.naming(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(lines(found))


def lines(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as lines of the file, each with the CRC-32 of what stands before it.

    >>> lines([{"step": 2, "name": "train/loss", "value": 0.5}])
    '2,train/loss,0.5,2e15ecc4\\n'
    """
    texts = (f"{row['step']},{quoted(row['name'])},{row['value']!r}" for row in rows)
    return "".join(f"{text},{checksum(text)}\n" for text in texts)


def quoted(name: str) -> str:
    """A name as a cell of the table: a collection may call a finding "aorta, thoracic".

    >>> quoted("val/auroc_aorta,_thoracic"), quoted("val/loss")
    ('"val/auroc_aorta,_thoracic"', 'val/loss')
    """
    cell = io.StringIO()
    csv.writer(cell, lineterminator="").writerow([name])
    return cell.getvalue()


def checksum(text: str) -> str:
    """CRC-32 of a row, 8 hex digits."""
    return f"{zlib.crc32(text.encode()):08x}"


def read_history(path: Path) -> list[dict[str, Any]]:
    """Rows of a history.csv with step as int and value as float; none where there is no file.

    A last row that was cut by a kill is left out.

    Raises:
        UserError: a row is damaged.
    """
    if not path.is_file():
        return []

    def read() -> list[dict[str, Any]]:
        header, *rest = path.read_text(encoding="utf-8").split("\n")[:-1] or [HEADER]
        if header not in (HEADER, BEFORE):
            raise ValueError(f"its first line is {header[:40]!r}")
        return [_row(line, header) for line in rest]

    return content.reading(path, read, "delete it, and the same command begins its curves anew")


def _row(line: str, header: str) -> dict[str, Any]:
    text, check = line, None
    if header == HEADER:
        text, _, check = line.rpartition(",")
    if check not in (None, checksum(text)):
        raise ValueError(f"the row {line[:60]!r} is not what was written")
    step, *name, value = next(csv.reader([text]))  # a name with a comma was not always quoted
    return {"step": int(step), "name": ",".join(name), "value": float(value)}
