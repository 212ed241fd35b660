"""Which split an evaluation measures, which one chose the settings, and how often a recipe opened the test split.

Arms, guidance, steps and when to stop are chosen on validation; the test split is for what is kept.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cxr_ldm.artifacts import fingerprint
from cxr_ldm.bundle import Bundle
from cxr_ldm.data.prepared.splits import Split
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import read_metrics

WORDS = {"val": "validation", "test": "test"}
NO_CHOICE = "no choice"


def measured_split(stated: str | None, chooses: bool) -> Split:
    """The split that an evaluation measures: the stated one, else validation where the numbers choose something.

    That is where curves over settings are measured, or two bundles compared; all else measures what is kept, on test.

    Raises:
        UserError: no such split.
    """
    if stated is None:
        return "val" if chooses else "test"
    if stated not in WORDS:
        raise UserError(f"split={stated} cannot be measured; split=val and split=test can.")
    return cast(Split, stated)


def recorded(split: str) -> dict[str, str]:
    """The split for the record of an evaluation; nothing for test, the only one that there once was."""
    return {} if split == "test" else {"split": split}


def trained(bundle: Bundle) -> dict[str, Any]:
    """What made the weights of a bundle, for the run entry of its evaluation."""
    decoder = {"decoder_from": bundle.info["decoder_from"]} if "decoder_from" in bundle.info else {}
    return {"run": bundle.info["run"], **bundle.info.get("settings", {}), **decoder}


def recipe(trained: Mapping[str, Any]) -> str:
    """Fingerprint of what was trained, whatever its seed and name.

    >>> recipe({"run": "a", "seed": 0, "data": "x"}) == recipe({"run": "b", "seed": 1, "data": "x"})
    True
    """
    return fingerprint({key: value for key, value in trained.items() if key not in ("run", "seed")})


def chosen_on(bundle: Bundle, stated: bool) -> dict[str, str]:
    """Which split chose each setting of a model, as far as its bundle says.

    Args:
        stated: whether the command states a guidance.
    """
    settings = bundle.info.get("settings")  # a published model has none
    fixed = f"{NO_CHOICE}: {'as published' if settings is None else 'a fixed number of images'}"
    found = {"stopping": "val" if (settings or {}).get("training", {}).get("patience") else fixed}
    if bundle.kind != "ldm":
        return found
    how = bundle.info.get("guidance", {}).get("chosen", "default")
    found["guidance"] = (
        f"{NO_CHOICE}: {'stated' if stated else how}" if stated or isinstance(how, str) else how["split"]
    )
    return found | {"sampler and steps": f"{NO_CHOICE}: as configured"}


def opened_before(outputs: Path, data: str, trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Earlier evaluations below `outputs` that opened the test split of the collection `data`.

    Args:
        trained: of each bundle that is about to be measured.

    Returns:
        `this_recipe` and `evaluations`, the number and the names of those of the same recipe with whatever seed;
        `other_recipes`, the number of other recipes that were measured on these images.
    """
    mine, names, others = {recipe(each) for each in trained}, [], set()
    for path in sorted((outputs / "evaluation").glob("*/metrics.json")):
        try:
            run = read_metrics(path)["run"]
        except UserError:  # a file that breaks the contract says nothing
            continue
        if run.get("split", "test") != "test" or run.get("data", {}).get("name") != data:
            continue
        theirs = {recipe(run[key]) for key in ("trained", "trained_second") if key in run}
        if theirs & mine:
            names.append(path.parent.name)
        others |= theirs - mine
    return {"this_recipe": len(names), "evaluations": names, "other_recipes": len(others)}


def warning(opened: Mapping[str, Any], data: str) -> str | None:
    """One line where the test split was opened before for this recipe.

    >>> warning({"this_recipe": 1, "evaluations": ["first"], "other_recipes": 0}, "nih")
    'the test split of nih was opened before for this recipe, by 1 evaluation (first): choose nothing by it any more'
    """
    count = opened["this_recipe"]
    if count == 0:
        return None
    times = f"{count} evaluation{'s' if count > 1 else ''} ({', '.join(opened['evaluations'][:3])}"
    times += ", …)" if count > 3 else ")"
    return f"the test split of {data} was opened before for this recipe, by {times}: choose nothing by it any more"


def sentence(run: Mapping[str, Any]) -> str:
    """What a report says of the split; nothing for evaluations of the time when there was no choice.

    >>> sentence({"split": "val", "settings_chosen_on": {"stopping": "val"}})
    'Measured on the validation split. Chosen on: stopping, val.'
    >>> sentence({"split": "test", "opened_before": {"this_recipe": 2}})
    'Measured on the test split, which 2 earlier evaluations of this recipe had opened.'
    """
    if "split" not in run:
        return ""
    text = f"Measured on the {WORDS[run['split']]} split"
    if "opened_before" in run:
        count = run["opened_before"]["this_recipe"]
        text += f", which {count or 'no'} earlier evaluation{'' if count == 1 else 's'} of this recipe had opened"
    chosen = "; ".join(f"{what}, {where}" for what, where in run.get("settings_chosen_on", {}).items())
    return f"{text}." + (f" Chosen on: {chosen}." if chosen else "")
