"""Where the images of a quiz come from: a collection and a model of one's own, or phantoms, whose truth is known."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cxr_ldm.card import COLLECTIONS
from cxr_ldm.data.phantom.patient import draw_findings, patient_of
from cxr_ldm.data.phantom.reader import READ_AS, load_image, truth
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.quiz.questions import (
    NONE,
    Asked,
    Candidate,
    Kind,
    Quiz,
    Shown,
    balanced,
    choices,
    frequent,
    one_finding,
    pairs,
    shuffled,
    singles,
)

TITLES = {"pair": "Which radiograph is real?", "single": "What is this radiograph?"}
PHANTOMS = " (phantoms of the collection count as real)"
# Draws the images [N,1,H,W] in [-1, 1] of rows of a collection, as of their texts.
Draw = Callable[[np.ndarray], Tensor]
ENOUGH = 40  # phantoms looked at for each that is asked about


def of_phantoms(n: int, size: int, seed: int, ask: Sequence[Asked] = ("finding", "side")) -> Quiz:
    """A quiz that teaches: phantoms with one finding or none, with the mask of where it is."""
    candidates = []
    for index in range(ENOUGH * n):
        drawn = draw_findings(seed, index)
        if len(drawn) < 2:
            finding, side = (READ_AS[drawn[0].name], drawn[0].side) if drawn else (NONE, None)
            candidates.append(Candidate(index, str(patient_of(index)), finding, side))
    images = [phantom(each, size, seed) for each in balanced(candidates, n, seed)]
    questions = singles(images, ask, seed)
    facts = {"images": f"{n} generated phantoms of {size} pixels, which show nobody", "seed": seed}
    return Quiz("single", questions, choices(frequent(candidates), ask), True, "What does this phantom show?", facts)


def phantom(chosen: Candidate, size: int, seed: int) -> Shown:
    """One phantom with its truth."""
    shapes = truth(seed, chosen.place, size)[1]
    mask = shapes[0] if len(shapes) else None
    return Shown(load_image(seed, chosen.place, size), None, chosen.finding, chosen.side, mask)


def of_collection(
    prepared: Prepared,
    split: Split,
    draw: Draw | None,
    kind: Kind,
    ask: Sequence[Asked],
    n: int,
    seed: int,
    teach: bool,
    facts: dict[str, Any],
) -> Quiz:
    """A quiz of real images of a split, and of synthetic ones that a model drew of the texts of others of it.

    A pair is a real image and a synthetic one of its own text, so that both are to show the same. Of single images half
    are real and half synthetic, of other patients, findings alike in number; without a model all are real.

    Args:
        draw: the model; None asks of real images alone.
        ask: of single images.
        facts: of the model, for the key.

    Raises:
        UserError: too few images, or something is asked that cannot be.
    """
    if draw is None and (kind == "pair" or "real" in ask):
        raise UserError("whether an image is real is asked of a model's images beside real ones; name a bundle.")
    candidates = candidates_of(prepared, split)
    chosen = balanced(candidates, n, seed)
    if kind == "pair" and draw is not None:
        questions = pairs(real_images(prepared, chosen), made_images(draw, chosen), seed)
        ask = ("which",)
    else:
        questions = singles(parted(prepared, draw, chosen, seed), ask, seed)
    facts = {"images": origin(prepared, chosen, split), "seed": seed, **facts}
    title = TITLES[kind] + (PHANTOMS if prepared.kind == "phantom" and draw is not None else "")
    return Quiz(kind, questions, choices(frequent(candidates), ask), teach, title, facts)


def parted(prepared: Prepared, draw: Draw | None, chosen: Sequence[Candidate], seed: int) -> list[Shown]:
    """Images of all that were chosen: of every finding half are real and half drawn; without a model all are real."""
    if draw is None:
        return real_images(prepared, chosen)
    random = np.random.default_rng([seed, 1])
    order = sorted(shuffled(chosen, random), key=lambda each: (each.finding, str(each.side)))
    first = int(random.integers(2))
    return real_images(prepared, order[first::2]) + made_images(draw, order[1 - first :: 2])


def candidates_of(prepared: Prepared, split: Split) -> list[Candidate]:
    """The images of a split that have one finding or none."""
    rows, people = prepared.rows(split), prepared.patients(prepared.rows(split))
    found = []
    for row, patient, stated in zip(rows, people, prepared.manifest["findings"].iloc[rows], strict=True):
        one = one_finding(stated)
        if one is not None:
            found.append(Candidate(int(row), patient, *one))
    return found


def real_images(prepared: Prepared, chosen: Sequence[Candidate]) -> list[Shown]:
    """The chosen images of the collection."""
    rows = np.array([each.place for each in chosen], dtype=int)
    levels = list(to_uint8(prepared.pixels(rows))[:, 0]) if chosen else []
    return [Shown(each, True, one.finding, one.side) for each, one in zip(levels, chosen, strict=True)]


def made_images(draw: Draw, chosen: Sequence[Candidate]) -> list[Shown]:
    """What a model draws of their texts."""
    if not chosen:
        return []
    levels = to_uint8(draw(np.array([each.place for each in chosen], dtype=int)))[:, 0]
    return [Shown(each, False, one.finding, one.side) for each, one in zip(levels, chosen, strict=True)]


def drawing(pipeline: TextToCXR, prepared: Prepared, seed: int, **how: Any) -> Draw:
    """Draws of the texts of a collection by a model.

    Args:
        how: as of the pipeline's call: `steps`, `sampler`, `guidance`, `precision`, `progress`.

    Raises:
        UserError: images of the model and of the collection have other sizes, by which they could be told apart.
    """
    if pipeline.size != prepared.size:
        raise UserError(
            f"the model draws {pipeline.size} pixels and {prepared.folder} holds {prepared.size}, by which real and "
            "synthetic could be told apart; prepare the collection with the size of the model."
        )

    def draw(rows: np.ndarray) -> Tensor:
        people = prepared.people(rows) if pipeline.conditioner.takes_patients else None
        seeds = [seed + place for place in range(len(rows))]
        return pipeline(prepared.texts(rows), seeds=seeds, patients=people, **how)

    return draw


def origin(prepared: Prepared, chosen: Sequence[Candidate], split: Split) -> str:
    """Whose images are shown, and their terms."""
    sources = prepared.manifest["source"].iloc[[each.place for each in chosen]]
    words = [
        f"{known.title} ({known.terms})"
        for name in sorted(set(sources))
        if (known := COLLECTIONS.get(name)) is not None and name != "phantom"
    ]
    return f"{prepared.name}, split {split}" + (f"; real images of {', '.join(words)}" if words else "")
