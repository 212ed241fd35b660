"""From which images the weights of a bundle learnt, those of what it started from included."""

from collections.abc import Iterable, Mapping
from typing import Any

Data = Mapping[str, Any]  # what a bundle says of a collection: name, kind, fingerprint, sources


def learnt_from(info: Data) -> list[Data]:
    """The collections of the model, of its autoencoder and of what either started from, each once.

    Args:
        info: of a bundle's config.json.

    >>> own, earlier = {"name": "a", "fingerprint": "1"}, {"name": "b", "fingerprint": "2"}
    >>> [each["name"] for each in learnt_from({"data": own, "vae_data": own, "init_data": [earlier]})]
    ['a', 'b']
    """
    return each_once([info.get("data", {}), info.get("vae_data") or {}, *info.get("init_data", [])])


def knows(info: Data, fingerprint: str) -> bool:
    """Whether any of these weights learnt from this very collection; of published weights that is not known."""
    return any(each.get("fingerprint") == fingerprint for each in learnt_from(info))


def before(info: Data, own: str | None = None) -> dict[str, list[Data]]:
    """The fact "init_data" for what starts from a bundle: the collections of that and of those before it.

    Args:
        own: fingerprint of the collection that the new weights learn from, which their bundle names anyway.
    """
    found = each_once([*info.get("init_data", []), info.get("data", {})])
    return {"init_data": [each for each in found if own is None or each.get("fingerprint") != own]}


def each_once(collections: Iterable[Data]) -> list[Data]:
    """Collections in their order, without what says nothing and without repetition."""
    found: list[Data] = []
    for each in collections:
        if each and each not in found:
            found.append(each)
    return found
