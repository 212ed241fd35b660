"""What a page asks for when it generates, as one object: it makes the images, the command line and the files."""

import io
import shlex
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from PIL import Image
from torch import Tensor

from cxr_ldm.app.library import Model
from cxr_ldm.app.signing import png_file
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import SAMPLER, STEPS, Sampling
from cxr_ldm.imaging.dicom import NOTICE, Study, dicom_bytes
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.grids import grid
from cxr_ldm.imaging.provenance import provenance
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.text.reading import Reading


@dataclass(frozen=True)
class Request:
    """Settings of one generation; the same as the keys of sample.py.

    Attributes:
        n: images; image i has the seed `seed + i`.
        guidance: scale; None takes the model's own.
        negative: what the images move away from, where the scale is above 1.
        finish: what happens to the images before they are handed on.
        patient: view, age and sex, for a model that takes them.
    """

    model: Model
    prompt: str
    n: int = 4
    seed: int = 0
    sampler: str = SAMPLER
    steps: int = STEPS
    guidance: float | None = None
    patient: dict[str, Any] = field(default_factory=dict)
    finish: Finish = field(default_factory=Finish)
    negative: str = ""

    @property
    def seeds(self) -> list[int]:
        return [self.seed + index for index in range(self.n)]

    @cached_property
    def rule(self) -> Guidance:
        """All settings of the guidance."""
        rule = self.model.guidance.with_stated(scale=self.guidance)
        return rule.with_stated(negative=self.negative) if rule.scale > 1 else rule

    def each(self) -> list["Request"]:
        """A request for each image: they are drawn one by one, so that nobody waits for more than one of them."""
        return [replace(self, n=1, seed=seed) for seed in self.seeds]

    @cached_property
    def sampling(self) -> Sampling:
        """How the images are drawn."""
        return replace(Sampling.preset(self.sampler), steps=self.steps, guidance=self.rule)

    def generate(
        self,
        pipeline: TextToCXR,
        progress: Callable[[int], None] | None = None,
        preview: Callable[[int, Tensor], None] | None = None,
    ) -> Tensor:
        """Images `[n,1,H,W]` as the model draws them, by the same call as sample.py's; `finish` comes after."""
        patients = [self.patient] * self.n if self.patient else None
        return pipeline.draw(
            [self.prompt] * self.n, self.seeds, self.sampling, patients, progress=progress, preview=preview
        )

    def command(self) -> str:
        """The command line that makes the same images again."""
        words = {
            "bundle": self.model.argument,
            "n": self.n,
            "seed": self.seed,
            "sampler": self.sampler,
            "sampler.steps": self.steps,
            "guidance.scale": self.rule.scale,
            "guidance.negative": self.rule.negative or None,
            "batch_size": 1 if self.n > 1 else None,
            **{f"patient.{name}": value for name, value in self.patient.items()},
            "enhance": self.finish.enhance,
            "resolution": self.finish.resolution,
            "upscale": self.finish.enlarger and self.finish.enlarger.name,
            "watermark": "true" if self.finish.watermark else None,
        }
        # prompt= is taken to the letter; it needs quotes of the shell alone
        stated = [f"{name}={value}" for name, value in words.items() if value is not None]
        return shlex.join(["python", "sample.py", f"prompt={self.prompt}", *stated])

    def facts(self, index: int, sha256: str, reading: Reading) -> dict[str, Any]:
        """Provenance of image `index` of the bundle `sha256`, which reads the prompt so."""
        more: dict[str, Any] = {"patient": self.patient} if self.patient else {}
        return provenance(
            prompt=self.prompt,
            seed=self.seeds[index],
            **self.sampling.facts(),
            bundle_sha256=sha256,
            **reading.facts(),
            **more,
            **self.finish.facts(),
        )


@dataclass(frozen=True)
class Result:
    """What was drawn, and all that is shown of it; what takes time is done once and not at each touch of a slider.

    Attributes:
        requests: one for each prompt; their images stand behind each other.
        images: `[N,1,H,W]` as they were drawn; `finished` is what is shown and goes into files.
        frames: previews `[N,1,H,W]` for each step.
        sha256: of the bundle.
        readings: of each prompt.
        found: the nearest training images; None where the collection is not here.
        numbers: image statistics of each.
        moving: GIF of the first four.
    """

    requests: list[Request]
    images: Tensor
    frames: list[Tensor]
    sha256: str
    readings: list[Reading]
    finished: Tensor
    found: Any
    numbers: list[dict[str, float]]
    moving: bytes

    @property
    def each(self) -> list[tuple[Request, Reading]]:
        """The request of each image, for it alone, and how its prompt was read."""
        pairs = zip(self.requests, self.readings, strict=True)
        return [(one, reading) for request, reading in pairs for one in request.each()]

    def facts(self) -> list[dict[str, Any]]:
        """Provenance of each image."""
        return [one.facts(0, self.sha256, reading) for one, reading in self.each]

    def captions(self) -> list[str]:
        """The seed of each, and the prompt where there are several."""
        several = len(self.requests) > 1
        return [f"seed {one.seed}" + (f", {one.prompt}" if several else "") for one, _ in self.each]


def png_files(images: Tensor, facts: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """Images `[N,1,H,W]` as PNG files by name, each with its provenance."""
    named = ((f"{i:04d}.png", *pair) for i, pair in enumerate(zip(images, facts, strict=True)))
    return {name: png_file(image, own, name) for name, image, own in named}


def dicom_files(images: Tensor, facts: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """The same as DICOM files of one study."""
    study = Study.new()
    return {f"{i:04d}.dcm": dicom_bytes(*pair, study, i + 1) for i, pair in enumerate(zip(images, facts, strict=True))}


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """Files by name in one archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def animation(frames: list[Tensor], columns: int, kind: str = "GIF", milliseconds: int = 120) -> bytes:
    """Previews `[N,1,H,W]` of a generation, step by step, as an animated GIF or WebP that rests on its last frame.

    It says in its comment or Exif that it is synthetic.
    """
    pictures = [grid(frame, columns) for frame in frames]
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(pictures) - 1) + [10 * milliseconds]
    exif = Image.Exif()
    exif[0x010E] = NOTICE  # ImageDescription
    marked = {"comment": NOTICE.encode()} if kind == "GIF" else {"exif": exif.tobytes()}
    pictures[0].save(buffer, kind, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **marked)
    return buffer.getvalue()
