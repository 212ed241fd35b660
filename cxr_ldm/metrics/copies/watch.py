"""Looks at a model while it trains: does it begin to give back its training images, and how real are its own?

Memorisation sets in at a time that grows with the number of training images, long before the validation loss turns
(Bonnaire et al. 2025, Why Diffusion Models Don't Memorize), so the loss alone does not show it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies import memorisation
from cxr_ldm.metrics.copies.excess import DIVISIONS, excess_metric
from cxr_ldm.metrics.distances.kernel import kernel_distance

FEWEST = 20  # samples of a look
SPACES = 2  # pixels and features, each tested


@dataclass(frozen=True)
class Asked:
    """Whose texts are asked for, and whom the samples are compared with.

    Attributes:
        rows: of the prompts, int64 [N]: half of training patients, half of validation patients.
        training, held_out: rows of the references, all images of as many patients on either side.
    """

    rows: np.ndarray
    training: np.ndarray
    held_out: np.ndarray


def asked(prepared: Prepared, samples: int, seed: int) -> Asked:
    """As many patients of the training as of the validation split, and prompts of both in equal number.

    Everything is alike for both sides, so that a model which knows what a text looks like and remembers no picture
    has no preference; were only training texts asked for, it would seem to have one. Of equal sides 8 copies are
    enough for a small p, of 8 : 1 it would take 40. Whole patients: with single images of many beside all images of a
    few, the sides could not be exchanged, and copies would go unseen.

    Raises:
        UserError: fewer than FEWEST samples, or a split has fewer than 2 images.
    """
    if samples < FEWEST:
        raise UserError(f"training.ldm.copies.samples={samples} must be 0 (no looks) or at least {FEWEST}.")
    random = np.random.default_rng(seed)
    rows = [random.permutation(prepared.rows(split)) for split in ("train", "val")]
    whose = [np.asarray(prepared.patients(each)) for each in rows]
    people = [list(dict.fromkeys(each)) for each in whose]  # in random order
    count = min(map(len, people))
    if count < 2:
        raise UserError(f"{prepared.folder} has {count} patients for either side of a look; at least 2 are needed.")
    training, held_out = (
        each[np.isin(names, chosen[:count])] for each, names, chosen in zip(rows, whose, people, strict=True)
    )
    prompts = np.concatenate([np.resize(side, samples // 2) for side in (training, held_out)])
    return Asked(prompts, training, held_out)


class Watch:
    """The excess of samples at training images, in pixels and in features, and their kernel distance.

    Args:
        prepared: the collection that is trained on.
        chosen: see `asked`.
        features: of real rows and of images, float64 [N, D]; each real row is asked for once.
        alpha: probability that a whole run of an innocent model raises an alarm.
        looks: how many are planned.

    The alarm is at p <= alpha / looks, p being twice the smaller of both spaces: Bonferroni, alpha spent evenly. That
    holds whatever the looks have in common (they share references and prompts), and a run that was resumed needs to
    know nothing but the plan. O'Brien and Fleming's bounds would ask the first looks for a p that the divisions of a
    few hundred patients cannot reach, and save for the end what is no use there: copies that came stay.
    """

    def __init__(
        self,
        prepared: Prepared,
        chosen: Asked,
        real: Callable[[np.ndarray, str], Tensor],
        made: Callable[[Tensor], Tensor],
        alpha: float,
        looks: int,
    ) -> None:
        self.prepared, self.chosen, self.real, self.made = prepared, chosen, real, made
        self.bound = alpha / looks
        self.divisions = max(DIVISIONS, int(np.ceil(10 * SPACES / self.bound)))

    def look(self, images: Tensor) -> dict[str, float]:
        """What samples `[N,1,H,W]` of the chosen prompts show, under the names of the curves."""
        chosen, prepared = self.chosen, self.prepared
        people = prepared.patients(chosen.training), prepared.patients(chosen.held_out)
        near = memorisation.search(images, prepared.pixels(chosen.held_out), [prepared.pixels(chosen.training)], people)
        held_out, made = self.real(chosen.held_out, "validation"), self.made(images)
        far = memorisation.search_features(made, held_out, [self.real(chosen.training, "training")], people)
        pixels, features = (excess_metric(each.neighbours, {}, divided=self.divisions) for each in (near, far))
        p = min(1.0, SPACES * min(each.settings["p_value"] for each in (pixels, features)))
        return {
            "val/copies_excess": pixels.value,
            "val/copies_excess_features": features.value,
            "val/copies_p": p,
            "val/copies_bound": self.bound,
            "val/kid": kernel_distance(held_out, made),
        }

    def alarms(self, values: dict[str, float]) -> bool:
        """Whether a look finds more copies than chance explains."""
        return values["val/copies_p"] <= self.bound

    @property
    def prompts(self) -> Sequence[str]:
        """Texts that are asked for."""
        return self.prepared.texts(self.chosen.rows)
