"""What readers' answers say: accuracy against chance, confusion by finding, agreement, and how long it took.

Only a reader's first answer to a question counts: what was asked again after a lesson measures memory.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric
from cxr_ldm.metrics.statistics import BOOTSTRAP, mean_over_patients, wilson_interval

COLUMNS = ("quiz", "reader", "question", "round", "asked", "answer", "seconds")
QUESTIONS = "questions"
FEWEST = 5  # questions, below which no interval of a kappa is given


@dataclass(frozen=True)
class Answer:
    """One row of an answers file."""

    reader: str
    question: int
    asked: str
    answer: str
    seconds: float


def read_answers(paths: Sequence[Path], key: Mapping[str, Any]) -> list[Answer]:
    """First answers of all files to the questions of a key.

    Raises:
        UserError: a file cannot be read or is of another quiz, or an answer is none that could be chosen; two files of
            one reader.
    """
    found: list[Answer] = []
    for path in paths:
        own = [_answer(row, place, path, key) for place, row in enumerate(_rows(path), 2)]
        readers = {each.reader for each in found}
        again = sorted({each.reader for each in own if each is not None} & readers)
        if again:
            raise UserError(f"{path}: the reader {again[0]!r} answered in another file already; give each a name.")
        found += [each for each in own if each is not None]
    named: dict[str, str] = {"all": "all"}
    for reader in sorted({each.reader for each in found}):
        other = named.setdefault(plain_name(reader), reader)
        if other != reader or reader == "all":
            raise UserError(f"the readers {other!r} and {reader!r} would share a name; give one of them another.")
    seen: set[tuple[str, int, str]] = set()
    for each in found:
        place_of = (each.reader, each.question, each.asked)
        if place_of in seen:
            raise UserError(f"{each.reader} answered question {each.question + 1} ({each.asked}) twice.")
        seen.add(place_of)
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"answers={path} cannot be read ({error}).") from None
    missing = [name for name in COLUMNS if name not in names]
    if missing or not rows:
        raise UserError(f"answers={path} holds no answers of a quiz; its page writes such files.")
    return rows


def _answer(row: Mapping[str, str], line: int, path: Path, key: Mapping[str, Any]) -> Answer | None:
    """One row; None for one of a later round."""
    if row["quiz"] != key["quiz"]:
        raise UserError(f"answers={path} is of the quiz {row['quiz']}, and the key of {key['quiz']}.")
    try:
        question, turn, seconds = int(row["question"]) - 1, int(row["round"]), float(row["seconds"])
        right = key["questions"][question] if question >= 0 else {}
        known = row["asked"] in key["choices"] and row["asked"] in {*right, "side"}
        if (
            not known
            or row["answer"] not in {*key["choices"][row["asked"]], ""}
            or not 0 <= seconds < math.inf
            or question < 0
        ):
            raise ValueError("no such answer")
    except (ValueError, IndexError, TypeError) as error:
        raise UserError(f"answers={path}, line {line} is no answer to this quiz ({error}).") from None
    return Answer(row["reader"] or "nobody", question, row["asked"], row["answer"], seconds) if turn == 1 else None


@dataclass(frozen=True)
class Scores:
    """What all readers answered, of one key.

    Attributes:
        key: as `Quiz.key` gives it.
        answers: first answers alone, and of questions that have a right one.
    """

    key: Mapping[str, Any]
    answers: Sequence[Answer]

    @classmethod
    def of(cls, key: Mapping[str, Any], answers: Sequence[Answer]) -> "Scores":
        """A side that was asked of what has none has no right answer, and counts nowhere."""
        return cls(key, [each for each in answers if each.asked in key["questions"][each.question]])

    @property
    def readers(self) -> list[str]:
        """In alphabetical order."""
        return sorted({each.reader for each in self.answers})

    def truth(self, each: Answer) -> str:
        """The right answer to what was answered."""
        return str(self.key["questions"][each.question][each.asked])

    def of_asked(self, asked: str, reader: str | None = None) -> list[Answer]:
        """Answers to one thing that is asked, of one reader or of all."""
        return [each for each in self.answers if each.asked == asked and reader in (None, each.reader)]

    def metrics(self) -> dict[str, Metric]:
        """Accuracy and seconds by reader and of all, and agreement where there are two readers or more."""
        found: dict[str, Metric] = {}
        for asked in self.key["choices"]:
            for reader in self.readers:
                answers, name = self.of_asked(asked, reader), plain_name(reader)
                if answers:
                    found[f"accuracy_{asked}_{name}"] = self.accuracy(answers, reader)
                    found[f"seconds_{asked}_{name}"] = seconds(answers)
            answers = self.of_asked(asked)
            if len(self.readers) > 1 and answers:
                found[f"accuracy_{asked}_all"] = self.together(answers)
                found |= self.agreement(asked)
        return found

    def accuracy(self, answers: Sequence[Answer], reader: str) -> Metric:
        """Share that is right with Wilson's interval, and the two-sided p-value of the binomial test against chance."""
        right, n = sum(each.answer == self.truth(each) for each in answers), len(answers)
        chance = 1 / len(self.key["choices"][answers[0].asked])
        stated = {"reader": reader, "right": right, "chance": chance}
        stated |= {"p_value": float(binomtest(right, n, chance).pvalue), "interval": "Wilson"}
        return Metric(right / n, n, True, ci95=wilson_interval(right, n), settings=stated, over=QUESTIONS)

    def together(self, answers: Sequence[Answer]) -> Metric:
        """Share of all answers that is right; a question is drawn with all readers' answers to it."""
        values = torch.tensor([float(each.answer == self.truth(each)) for each in answers])
        chance = 1 / len(self.key["choices"][answers[0].asked])
        stated = {"readers": len(self.readers), "chance": chance, "interval": f"bootstrap over questions, {BOOTSTRAP}"}
        return mean_over_patients(values, [str(each.question) for each in answers], stated, over=QUESTIONS)

    def agreement(self, asked: str) -> dict[str, Metric]:
        """Cohen's kappa of two readers, Fleiss' of more, on the questions that all of them answered."""
        words = list(self.key["choices"][asked])
        by_reader = [
            {each.question: each.answer for each in self.of_asked(asked, reader) if each.answer in words}
            for reader in self.readers
        ]
        shared = sorted(set.intersection(*(set(each) for each in by_reader)))
        if len(shared) < 2:
            return {}
        rated = np.array([[words.index(each[question]) for each in by_reader] for question in shared])
        kind = "Cohen 1960" if len(by_reader) == 2 else "Fleiss 1971"
        value = kappa(rated, len(words))
        stated = {"kappa": kind, "readers": self.readers, "interval": f"bootstrap over questions, {BOOTSTRAP}, seed 0"}
        ends, reason = kappa_interval(rated, len(words))
        if value is None:
            return {}
        over = None if ends is None else QUESTIONS
        return {f"kappa_{asked}": Metric(value, len(shared), True, ends, stated, reason, over)}

    def confusion(self, asked: str) -> tuple[list[str], list[str], np.ndarray]:
        """Right answers, given answers, and how often each was given for each, int [rows, columns], of all readers."""
        rows = list(self.key["choices"][asked])
        columns = [*rows, *([""] if any(each.answer == "" for each in self.of_asked(asked)) else [])]
        counts = np.zeros((len(rows), len(columns)), int)
        for each in self.of_asked(asked):
            counts[rows.index(self.truth(each)), columns.index(each.answer)] += 1
        return rows, columns, counts

    def by_finding(self, asked: str) -> dict[str, tuple[int, int]]:
        """Right answers of all by what the images show, or were asked to."""
        found: dict[str, tuple[int, int]] = {}
        for each in self.of_asked(asked):
            name = self.key["questions"][each.question]["shows"][0]
            right, n = found.get(name, (0, 0))
            found[name] = right + (each.answer == self.truth(each)), n + 1
        return dict(sorted(found.items()))


def seconds(answers: Sequence[Answer]) -> Metric:
    """Median time of an answer."""
    values = [each.seconds for each in answers]
    return Metric(float(np.median(values)), len(values), False, reason="a median of one reader's times")


def kappa(rated: np.ndarray, kinds: int) -> float | None:
    """Agreement beyond chance: Cohen's kappa of two readers, Fleiss' of more; None where all chose one kind alone.

    Args:
        rated: int [questions, readers], the number of the answer that was chosen.
        kinds: how many there are to choose from.

    >>> kappa(np.array([[0, 0], [0, 0], [1, 1], [1, 0]]), 2)
    0.5
    """
    n, readers = rated.shape
    if readers == 2:
        observed = float((rated[:, 0] == rated[:, 1]).mean())
        shares = [np.bincount(rated[:, place], minlength=kinds) / n for place in range(2)]
        expected = float(shares[0] @ shares[1])
    else:
        counts = np.stack([np.bincount(row, minlength=kinds) for row in rated])
        observed = float(((counts * (counts - 1)).sum(1) / (readers * (readers - 1))).mean())
        expected = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return None if expected == 1 else (observed - expected) / (1 - expected)


def kappa_interval(rated: np.ndarray, kinds: int) -> tuple[tuple[float, float] | None, str | None]:
    """95 % interval by the percentile bootstrap over questions, or why there is none."""
    if len(rated) < FEWEST:
        return None, f"{len(rated)} questions; an interval needs at least {FEWEST}"
    random = np.random.default_rng(0)
    drawn = [kappa(rated[random.integers(len(rated), size=len(rated))], kinds) for _ in range(BOOTSTRAP)]
    values = [value for value in drawn if value is not None]
    low, high = np.quantile(values, [0.025, 0.975]) if values else (0.0, 0.0)
    if low == high:
        return None, "all draws of the bootstrap give the same value"
    return (float(low), float(high)), None


def plain_name(reader: str) -> str:
    """A reader's name as a part of a metric's.

    >>> plain_name("Dr. Ada L.")
    'Dr_Ada_L'
    """
    return re.sub(r"\W+", "_", reader).strip("_") or "nobody"
