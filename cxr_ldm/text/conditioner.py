"""What a denoiser attends to: the states of a text, and before them a token for each attribute of the patient."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cxr_ldm.errors import UserError
from cxr_ldm.randomness import Random, uniform
from cxr_ldm.text.attributes import PatientAttributes, with_tokens
from cxr_ldm.text.encoders import TextEncoder


class Conditioner:
    """The text encoder and, where the model has them, the patient's attributes.

    Attributes of patients are float32 `[N,K]`, NaN where not known; K is 0 for a model of the text alone.

    Args:
        text_encoder: texts to states.
        attributes: view, age and sex as further tokens; None for the text alone.
    """

    def __init__(self, text_encoder: TextEncoder, attributes: PatientAttributes | None = None) -> None:
        self.text_encoder, self.attributes = text_encoder, attributes

    @property
    def takes_patients(self) -> bool:
        """Whether the model was trained on attributes of the patient."""
        return self.attributes is not None

    def patients(self, patients: Sequence[Mapping[str, Any]]) -> Tensor:
        """Patients such as {"view": "PA", "age": 60} -> attributes `[N,K]`; what is missing or None is not known.

        Raises:
            UserError: a value that an attribute cannot have, or one that this model does not take.
        """
        if self.attributes is not None:
            return self.attributes.encode(patients)
        stated = sorted({name for patient in patients for name, value in patient.items() if value is not None})
        if stated:
            raise UserError(f"patient.{stated[0]} is set, but this model was trained without; use attributes=patient.")
        return torch.zeros(len(patients), 0)

    def of_prompts(self, prompts: Sequence[str], attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Context `[N,L,D]` and mask `[N,L]` of N prompts and the attributes `[N,K]` of their patients."""
        states, mask = self.text_encoder.encode(prompts)
        return self._with(attributes.to(states.device), states, mask)

    def of_batch(self, batch: Mapping[str, Tensor], text: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Context `[B,K+L,D]` and mask `[B,K+L]` for a batch of training; each distinct text is encoded once.

        Args:
            batch: `cached [U,L(,D)]` and `mask [U,L]`, see `TextTable.batch`.
            text: which of the U texts belongs to each image, int64 [B].
            attributes: `[B,K]`.
        """
        states = self.text_encoder(batch["cached"], batch["mask"])
        return self._with(attributes, states[text], batch["mask"][text])

    def dropped(self, text: Tensor, attributes: Tensor, probability: float, random: Random) -> tuple[Tensor, Tensor]:
        """Numbers of texts `[B]` and attributes `[B,K]` with some of them taken away, as guidance needs it.

        Text and patient together become the empty text, number 0, and not known; each attribute alone besides.
        """
        gone = (uniform((len(text),), random) < probability).to(text.device)
        alone = uniform(attributes.shape, random) < probability
        kept = torch.where(gone, torch.zeros_like(text), text)
        return kept, attributes.masked_fill(alone.to(gone.device) | gone[:, None], torch.nan)

    def _with(self, attributes: Tensor, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.attributes is None:
            return states, mask
        return with_tokens(self.attributes(attributes), states, mask)
