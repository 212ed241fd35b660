"""How strongly, and where, sampling is guided; no torch here, so that a bad value is told at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxr_ldm.errors import UserError

SETTINGS = ("scale", "interval", "rescale")


@dataclass(frozen=True)
class Guidance:
    """Settings of classifier-free guidance; the equations are in `cxr_ldm.diffusion.guidance`.

    Args:
        scale: 0 is unconditional, 1 conditional, above 1 stresses the text (Ho & Salimans 2022).
        interval: lowest and highest t that is guided; elsewhere the conditional model runs alone, at half the cost
            (Kynkäänniemi et al. 2024).
        rescale: phi in [0, 1], how far the guided estimate takes the standard deviation of the conditional one (Lin et
            al. 2024, section 3.4).
        negative: a text that stands in place of the empty one, which images then move away from; above a scale of 1.

    Raises:
        UserError: a value is no number or out of its range.

    >>> Guidance(3.0, (0.2, 0.8)).facts()
    {'guidance': 3.0, 'guidance_interval': [0.2, 0.8]}
    >>> Guidance()  # the plain conditional model, one evaluation of the network a step
    Guidance(scale=1.0, interval=(0.0, 1.0), rescale=0.0, negative='')
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rescale: float = 0.0
    negative: str = ""

    def __post_init__(self) -> None:
        if not (is_number(self.scale) and self.scale >= 0):
            raise UserError(f"guidance.scale={self.scale} must be a number of 0 or more.")
        ends = self.interval
        pair = isinstance(ends, tuple | list) and len(ends) == 2 and all(is_number(end) for end in ends)
        if not (pair and 0 <= ends[0] < ends[1] <= 1):
            given = list(ends) if pair else ends
            raise UserError(f"guidance.interval={given} must be two times [lo,hi] with 0 <= lo < hi <= 1.")
        if not (is_number(self.rescale) and 0 <= self.rescale <= 1):
            raise UserError(f"guidance.rescale={self.rescale} must be a number from 0 to 1.")
        if self.negative and self.scale <= 1:
            raise UserError(
                f"guidance.negative needs a guidance.scale above 1, and it is {self.scale:g}: at 1 and below nothing "
                "moves away from a text."
            )

    @classmethod
    def of_bundle(cls, info: Mapping[str, Any]) -> "Guidance":
        """What the `info` of a bundle says that its model should be used with; the plain model where it says nothing.

        >>> Guidance.of_bundle({"guidance": {"scale": 1.5, "interval": [0.2, 1.0], "rescale": 0, "chosen": "stated"}})
        Guidance(scale=1.5, interval=(0.2, 1.0), rescale=0, negative='')
        """
        return cls().with_stated(**{key: info.get("guidance", {}).get(key) for key in SETTINGS})

    def with_stated(
        self, scale: Any = None, interval: Any = None, rescale: Any = None, negative: Any = None
    ) -> "Guidance":
        """This rule with what a command, an experiment or a caller states in its place; None states nothing.

        The one way from "as the bundle says" to the numbers that a model is sampled with.

        >>> Guidance(1.5).with_stated(rescale=0.7)
        Guidance(scale=1.5, interval=(0.0, 1.0), rescale=0.7, negative='')
        """
        return Guidance(
            self.scale if scale is None else scale,
            self.interval if interval is None else tuple(interval) if isinstance(interval, list) else interval,
            self.rescale if rescale is None else rescale,
            self.negative if negative is None else negative,
        )

    def settings(self) -> dict[str, Any]:
        """For a record, as JSON values.

        >>> Guidance(1.5).settings()
        {'scale': 1.5, 'interval': [0.0, 1.0], 'rescale': 0.0}
        """
        stated = {"scale": self.scale, "interval": list(self.interval), "rescale": self.rescale}
        return stated | ({"negative": self.negative} if self.negative else {})

    def facts(self) -> dict[str, Any]:
        """For provenance: the scale, and the others where they are not the plain rule's."""
        facts: dict[str, Any] = {"guidance": self.scale}
        if tuple(self.interval) != (0.0, 1.0):
            facts["guidance_interval"] = list(self.interval)
        if self.rescale:
            facts["guidance_rescale"] = self.rescale
        if self.negative:
            facts["guidance_negative"] = self.negative
        return facts


def is_number(value: object) -> bool:
    """A finite int or float; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
