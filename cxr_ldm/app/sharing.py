"""A model that all visitors share, whose images are drawn in turns."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cxr_ldm.app.turns import Turns
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.editing import Original
from cxr_ldm.pipeline import Patients, Preview, Progress, TextToCXR


class InTurns(TextToCXR):
    """A pipeline that draws one image at a time, each in a turn of its own, so that others wait for one at most.

    Args:
        pipeline: the model; its parts are shared.
        turns: the queue of all who draw.
        tell: called with how many are ahead, see `Turns.turn`.
    """

    def __init__(self, pipeline: TextToCXR, turns: Turns, tell: Callable[[int], None]) -> None:
        vars(self).update(vars(pipeline))
        self.turns, self.tell = turns, tell

    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling,
        patients: Patients | None = None,
        batch_size: int = 1,
        progress: Progress | None = None,
        preview: Preview | None = None,
        original: Original | None = None,
    ) -> Tensor:
        """As `TextToCXR.draw`; previews are of one image."""
        self.check(prompts, seeds, sampling, patients, original)
        images = []
        for number in range(len(prompts)):
            one = slice(number, number + 1)
            given: dict[str, Any] = {"progress": progress, "preview": preview}
            given |= {"patients": None if patients is None else patients[one]}
            given |= {"original": None if original is None else original.part(one)}
            with self.turns.turn(self.tell):
                images.append(super().draw(prompts[one], seeds[one], sampling, **given))
        return torch.cat(images)
