"""What the `info` of a bundle may say: a bundle is data from anywhere, and its checksums only say that it is whole."""

from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, Len
from pydantic import BaseModel, ConfigDict, ValidationError

from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Count, NotNegative, Share, Word


class Facts(BaseModel):
    """A mapping whose keys are of these kinds where they are there; others are left as they are."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Data(Facts):
    name: str = ""
    kind: str | None = None
    fingerprint: str | None = None
    sources: dict[str, int] = {}


class Guided(Facts):
    scale: NotNegative = 1.0
    interval: Annotated[list[Share], Len(2, 2)] = [0.0, 1.0]
    rescale: Share = 0.0


class Sampled(Facts):
    sampler: Word
    steps: Annotated[int, Interval(ge=1, le=10_000)]


class Info(Facts):
    size: Annotated[int, Interval(ge=1, le=4096)] | None = None
    run: str | None = None
    data: Data = Data()
    vae_data: Data = Data()
    init_data: list[Data] = []
    settings: dict[str, Any] = {}
    guidance: Guided = Guided()
    sampling: Sampled = Sampled(sampler="dpmpp_2m", steps=1)
    findings: list[str] = []
    prevalence: list[Share] = []
    images: Count | None = None


def check_info(path: Path, info: dict[str, Any]) -> None:
    """Raises UserError that names the first entry of `info`, in the file `path`, which is not what it may be."""
    try:
        Info.model_validate(info)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["info", *map(str, first["loc"])])
        raise UserError(
            f"{path} is not a bundle's: {where}={first['input']!r}: {first['msg'].lower()}; train it again."
        ) from None
