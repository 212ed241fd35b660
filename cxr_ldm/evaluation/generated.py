"""Images that an evaluation generates: each once, kept on disk in chunks, so that a killed evaluation goes on.

A chunk is a folder of the cache under the fingerprint of all that decides its images: the bundle, prompts, seeds,
patients, sampling, guidance and device. Requests that begin alike share their chunks, so a longer one finds what a
shorter one left. Pixels are kept as 16 bits (steps of 3e-5), and what is given out is always what was kept, so that the
first run and the hundredth measure the same images, bit for bit.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

import cxr_ldm
from cxr_ldm import artifacts, content
from cxr_ldm.data.prepared.folder import to_pixels
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.pipeline import TextToCXR

CHUNK = 32  # images that are lost at most when an evaluation is killed
IMAGES, SECONDS = "images.npy", "seconds.npy"  # of a chunk: its images, and what it took to sample them
WHITE = np.iinfo(np.uint16).max

People = list[dict[str, Any]] | None
Progress = Callable[[int], None]
Sampler = Callable[[list[str], list[int], People, Progress], Tensor]


class Generated:
    """Images of prompts and seeds, sampled where no earlier call or run left them in the cache.

    Args:
        sample: prompts, seeds, patients and a callback of image-steps done -> pixels `[N,1,H,W]` in [-1, 1].
        made_by: all that decides an image beside its prompt, seed and patient, as JSON values.
        cache: folder of the chunks.
        steps: sampling steps of an image, for the progress bar.
        chunk: images in a folder.
    """

    def __init__(
        self, sample: Sampler, made_by: Mapping[str, Any], cache: Path, steps: int = 1, chunk: int = CHUNK
    ) -> None:
        self.sample, self.made_by, self.cache = sample, dict(made_by), cache
        self.steps, self.chunk = steps, chunk

    def __call__(self, prompts: Sequence[str], seeds: Sequence[int], people: People = None) -> Tensor:
        """Pixels float32 `[N,1,H,W]` in [-1, 1], on the CPU.

        Args:
            prompts: N texts.
            seeds: N seeds.
            people: view, age and sex for each prompt, for models that were trained on them.

        Raises:
            UserError: there is no prompt, or not one seed and one patient for each.
        """
        if not prompts or len(prompts) != len(seeds) or (people is not None and len(people) != len(prompts)):
            given = "" if people is None else f" and {len(people)} patients"
            raise UserError(f"{len(prompts)} prompts, {len(seeds)} seeds{given}: one is needed for each prompt.")
        chunks = []
        with tqdm(total=len(prompts) * self.steps, desc="sampling", unit="image-step") as bar:
            for part in self._parts(prompts, seeds, people):
                chunks.append(self._chunk(*part, bar))
        return to_pixels(np.concatenate(chunks))

    def seconds(self, prompts: Sequence[str], seeds: Sequence[int], people: People = None) -> float | None:
        """What it took to sample images that were given out, whichever run did; None where an earlier version did."""
        kept = [self._place(*part)[0] / SECONDS for part in self._parts(prompts, seeds, people)]
        if not all(path.is_file() for path in kept):
            return None
        return float(sum(content.read_array(path, f"delete {path.parent}")[0] for path in kept))

    def _parts(
        self, prompts: Sequence[str], seeds: Sequence[int], people: People
    ) -> Iterator[tuple[list[str], list[int], People]]:
        """Prompts, seeds and patients of each chunk."""
        for start in range(0, len(prompts), self.chunk):
            part = slice(start, start + self.chunk)
            yield list(prompts[part]), list(seeds[part]), people and people[part]

    def _place(self, prompts: list[str], seeds: list[int], people: People) -> tuple[Path, dict[str, Any]]:
        """Folder of a chunk, and what decides its images."""
        made_by = self.made_by | {"prompts": prompts, "seeds": seeds, "people": people}
        return self.cache / f"generated-{artifacts.fingerprint(made_by)}", made_by

    def _chunk(self, prompts: list[str], seeds: list[int], people: People, bar: "tqdm[Any]") -> np.ndarray:
        """uint16 [n, H, W]."""
        (folder, made_by), before = self._place(prompts, seeds, people), bar.n

        def fill(partial: Path) -> None:
            start = time.perf_counter()
            images = self.sample(prompts, seeds, people, lambda done: bar.update(done) and None)
            content.save_array(partial / SECONDS, np.array([time.perf_counter() - start]))
            content.save_array(partial / IMAGES, to_file(images))

        artifacts.cached(folder, made_by, fill)
        bar.update(before + len(prompts) * self.steps - bar.n)  # nothing where they were sampled now
        return content.read_array(folder / IMAGES, f"delete {folder}")


def to_file(pixels: Tensor) -> np.ndarray:
    """Pixels `[N,1,H,W]` in [-1, 1] as uint16 [N, H, W]; black is 0.

    >>> import torch
    >>> to_file(torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)).ravel().tolist()
    [0, 32768, 65535]
    """
    grey = (pixels[:, 0].double() + 1) * (WHITE / 2)
    return grey.round().clamp(0, WHITE).numpy().astype(np.uint16)


def generated(pipeline: TextToCXR, sampling: Sampling, cache: Path) -> Generated:
    """The images of a pipeline by one way of sampling, whose guidance is known."""

    def sample(prompts: list[str], seeds: list[int], people: People, progress: Progress) -> Tensor:
        return pipeline.draw(prompts, seeds, sampling, people, progress=progress)

    made_by = {
        "bundle": pipeline.sha256,
        "sampler": sampling.settings(),
        "guidance": sampling.rule.settings(),
        "device": pipeline.device.type,
        "software": cxr_ldm.__version__,
        **pipeline.compiled_by(),
    }
    return Generated(sample, made_by, cache, sampling.steps)
