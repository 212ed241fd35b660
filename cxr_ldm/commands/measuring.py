"""The objects of an evaluation from a config: measures, extractors, the judge, the measured split."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from cxr_ldm import naming
from cxr_ldm.bundle import load_bundle
from cxr_ldm.commands.settings import device_of, feature_nodes, filled, plain
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.adherence import Adherence
from cxr_ldm.evaluation.collection import Collection
from cxr_ldm.evaluation.feature_sets import FeatureSets
from cxr_ldm.evaluation.fitting import Recipe
from cxr_ldm.evaluation.judge import NONE, Judge, check
from cxr_ldm.evaluation.measures import Curves, Fitted, Measures
from cxr_ldm.report.headline import check_targets


def measures_of(cfg: DictConfig) -> Measures:
    """What is measured; raises UserError where an aim is of no figure."""
    stated = plain(cfg.metrics)
    check_targets(stated["targets"])
    curves = stated.pop("curves")
    stated |= {"curves": None if curves is None else Curves(**curves), "fitted": fitted_of(cfg)}
    stated["further"] = dict(instantiate(cfg.metrics.further))
    stated.pop("batch_size")  # of the collection
    return Measures(**stated)


def fitted_of(cfg: DictConfig) -> Fitted:
    """The plain classifier of metrics.fitted."""
    fitted = cfg.metrics.fitted
    recipe = Recipe(
        lambda classes: instantiate(fitted.network, classes=list(classes)),
        instantiate(fitted.optimizer),
        fitted.epochs,
        fitted.batch_size,
        fitted.size,
        device_of(cfg).type,
    )
    return Fitted(recipe, fitted.min_images, plain(fitted))


def cache_of(cfg: DictConfig) -> Path:
    """Folder of what is computed once."""
    return Path(cfg.paths.outputs) / "cache"


def collection_of(cfg: DictConfig, prepared: Prepared) -> Collection:
    """The real images that an evaluation measures."""
    return Collection(prepared, cfg.split, cfg.seed, cfg.metrics.batch_size)


def feature_sets_of(cfg: DictConfig, prepared: Prepared) -> FeatureSets:
    """The extractors of `features=…` over a collection."""
    return FeatureSets(extractors_of(cfg), prepared, cache_of(cfg), device_of(cfg), cfg.metrics.batch_size)


def extractors_of(cfg: DictConfig) -> dict[str, nn.Module]:
    """The extractors of `features=…` by the name that they give to metrics, in the order of choice.

    Raises:
        UserError: as `feature_nodes`, or two of them would give metrics the same name.
    """
    extractors: dict[str, nn.Module] = {}
    for key, node in feature_nodes(cfg).items():
        extractor = instantiate(node)
        if extractor.name in extractors:
            raise UserError(
                f"features.{key!s} gives its metrics the name {extractor.name}, as another chosen extractor does; "
                "choose one of the two."
            )
        extractors[extractor.name] = extractor
    return extractors


def extractors_recorded(cfg: DictConfig) -> dict[str, Any]:
    """The extractors for the record of an evaluation.

    One alone is written without its name, as when there was only ever one: evaluations of that time are found again.
    """
    nodes = plain(feature_nodes(cfg))
    return next(iter(nodes.values())) if len(nodes) == 1 else nodes


def adherence_of(cfg: DictConfig, data: Collection) -> Adherence | None:
    """The measure of data whose truth is known; None for others."""
    if cfg.data.adherence is None or data.prepared.kind != cfg.data.kind:
        return None
    return Adherence(instantiate(cfg.data.adherence), data)


def with_classifier(cfg: DictConfig, kind: str, prepared: Prepared) -> DictConfig:
    """The config with `classifier` set to the bundle that judges, where the evaluation needs one; prints which.

    Also builds the feature extractors once: what one lacks must be said before images are generated.

    Args:
        kind: of the bundles that are evaluated.

    Raises:
        UserError: the classifier that was chosen is none, is of another size, or knows these test images; or the
            feature extractors cannot be built.
    """
    if kind == "classifier":
        return cfg
    targets = [str(node._target_) for node in feature_nodes(cfg).values()]
    if kind == "ldm" or any(target.endswith(".ClassifierFeatures") for target in targets):
        outputs, named = Path(cfg.paths.outputs), cfg.get("classifier")
        chosen = naming.bundle_named(named, outputs, "classifier", key="classifier") if named else None
        found = chosen or naming.newest(outputs, "classifier", prepared.name)
        if found is None:
            print(NONE)
        else:
            folder = found.said()
            check(load_bundle(folder, "classifier", cfg.bundle_packages), prepared, bool(cfg.get("external")))
            cfg = filled(cfg, classifier=str(folder))
    extractors_of(cfg)
    return cfg


def judge_of(cfg: DictConfig) -> Judge | None:
    """The classifier of `with_classifier`; None where it found none."""
    if not cfg.get("classifier"):
        return None
    return Judge(load_bundle(cfg.classifier, "classifier", cfg.bundle_packages), device_of(cfg))
