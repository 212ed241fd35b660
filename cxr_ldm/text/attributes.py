"""View, age and sex of the patient as a condition beside the text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from cxr_ldm.data.prepared.people import OLDEST, Sex, View
from cxr_ldm.errors import UserError

CLASSES: dict[str, tuple[str, ...]] = {"view": get_args(View), "sex": get_args(Sex)}
AGE = "age"
FREQUENCIES = 8  # of an age in centuries: 1/2, 1, 2, … periods; the finest tells half a year apart


class PatientAttributes(nn.Module):
    """One context token for each attribute; an attribute that is not known has a token of its own, which is learnt.

    Attributes come as float `[N,K]`, a column for each name: the number of a class, or years; NaN is not known.

    Args:
        names: which attributes, of view, age and sex.
        width: of the text states that the tokens stand before.

    Raises:
        UserError: an attribute that does not exist, or none.
    """

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        known = (*CLASSES, AGE)
        if not names or any(name not in known for name in names):
            raise UserError(f"attributes.names={list(names)} must be some of {', '.join(known)}.")
        self.names, self.width = list(names), width
        self.arguments = {"names": self.names, "width": width}
        # row 0 of a table is "not known"
        self.tables = nn.ModuleDict({name: nn.Embedding(len(CLASSES.get(name, ())) + 1, width) for name in names})
        if AGE in names:
            self.age = nn.Linear(2 * FREQUENCIES, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, values: Tensor) -> Tensor:
        """Attributes `[N,K]`, NaN where not known -> tokens `[N,K,width]`."""
        unknown, values = torch.isnan(values), values.nan_to_num()
        tokens = []
        for column, name in enumerate(self.names):
            row = torch.zeros_like(values[:, column], dtype=torch.long) if name == AGE else values[:, column].long() + 1
            token = self.tables[name](row.masked_fill(unknown[:, column], 0))
            if name == AGE:
                token = torch.where(unknown[:, column, None], token, self.age(waves(values[:, column])))
            tokens.append(token)
        return self.norm(torch.stack(tokens, dim=1))

    def encode(self, patients: Sequence[Mapping[str, Any]]) -> Tensor:
        """Patients such as {"view": "PA", "age": 60, "sex": "female"} -> attributes float32 `[N,K]`.

        A name that is missing or None is not known.

        Raises:
            UserError: a value that the attribute cannot have, or one that this model does not know.
        """
        for name in {name for patient in patients for name, value in patient.items() if value is not None}:
            if name not in self.names:
                raise UserError(f"patient.{name} is set, but this model was trained on {', '.join(self.names)} alone.")
        rows = [[number(name, patient.get(name)) for name in self.names] for patient in patients]
        return torch.tensor(rows, dtype=torch.float32)


def with_tokens(tokens: Tensor, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens `[N,K,D]` before text states `[N,L,D]`, and the mask `[N,K+L]` in which they always count."""
    always = torch.ones(tokens.shape[:2], dtype=torch.bool, device=mask.device)
    return torch.cat([tokens, states], dim=1), torch.cat([always, mask], dim=1)


def number(name: str, value: Any) -> float:
    """An attribute's value as a number: years, or the place among its classes; NaN for None.

    >>> number("view", "AP"), number("age", 60), number("sex", None)
    (1.0, 60.0, nan)
    """
    if value is None:
        return math.nan
    if name == AGE:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= OLDEST:
            raise UserError(f"patient.age={value} must be a number of years from 0 to {OLDEST:.0f}.")
        return float(value)
    if value not in CLASSES[name]:
        raise UserError(f"patient.{name}={value} is none of {', '.join(CLASSES[name])}.")
    return float(CLASSES[name].index(value))


def waves(years: Tensor) -> Tensor:
    """Age in years `[N]` -> sines and cosines of it as a century, `[N, 2 * FREQUENCIES]`."""
    angles = math.pi * (years / 100.0)[:, None] * 2.0 ** torch.arange(FREQUENCIES, device=years.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
