"""Behind evaluate.py: a bundle and a prepared collection to metrics.json, report.html and pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from cxr_ldm import artifacts, naming
from cxr_ldm.bundle import Bundle
from cxr_ldm.cli import CONF
from cxr_ldm.compose import guidance_of, plain, with_guidance
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.errors import UserError
from cxr_ldm.metrics import judge, report, report_html, report_page, results, splits, wandb_report
from cxr_ldm.metrics.compare import compare_ldm, compare_vae
from cxr_ldm.metrics.feature_sets import recorded
from cxr_ldm.metrics.headline import check_targets
from cxr_ldm.metrics.measures import measure_ldm, measure_vae, sampling_of
from cxr_ldm.metrics.paired import corrected

# Options of metrics=page, and by which of them the others are used.
PAGE = {"kid_n", "own_prompts_n", "references", "folds", "synthetic"}
USED_BY = {"synthetic_n": {"synthetic"}, "fitted": {"synthetic", "folds"}}


def evaluate(cfg: DictConfig, bundle: Bundle, prepared: Prepared) -> None:
    """Measure a bundle; write everything under one name, print the table and the paths."""
    check(cfg, bundle, prepared)
    measures: dict[str, Callable[..., dict[str, results.Metric]]] = {
        "vae": measure_vae,
        "ldm": measure_ldm,
        "classifier": judge.measure_classifier,
    }
    facts = {"settings_chosen_on": splits.chosen_on(cfg, bundle), "trained": splits.trained(bundle)}
    cfg = judge.with_judges(splits.with_split(cfg), bundle.kind, prepared)
    cfg = with_guidance(cfg, Guidance.of_bundle(bundle.info))
    if bundle.kind == "ldm":
        facts |= aims(cfg) | {"guidance": plain(cfg.guidance), "sampling": sampling_of(cfg)}
    settings = {"bundle": bundle.sha256, **common_settings(cfg, prepared), **judge.stated(cfg)}
    words = [bundle.kind, bundle.info["run"], *naming.override_words(cfg_words(cfg))]

    def measure(folder: Path) -> None:
        opened = opened_before(cfg, prepared, facts["trained"])
        metrics = measures[bundle.kind](cfg, bundle, prepared, folder)
        finish(cfg, bundle, prepared, folder, metrics, **facts, **opened, not_measured=not_measured(cfg, bundle.kind))

    written(cfg, words, settings, measure)


def opened_before(cfg: DictConfig, prepared: Prepared, *trained: dict[str, Any]) -> dict[str, Any]:
    """Who opened the test split before, for the run entry; says so. Nothing where validation is measured."""
    if cfg.split != "test":
        print(f"measures the {splits.WORDS[cfg.split]} split; split=test opens the test split")
        return {}
    opened = splits.opened_before(Path(cfg.paths.outputs), prepared.name, trained)
    print(splits.warning(opened, prepared.name) or f"measures the test split of {prepared.name}")
    return {"opened_before": opened}


def compare(cfg: DictConfig, first: Bundle, second: Bundle, prepared: Prepared) -> None:
    """Measure two bundles on the same images, prompts and seeds; write the differences, first less second."""
    for bundle in (first, second):
        check(cfg, bundle, prepared)
    differences: dict[str, Callable[..., dict[str, results.Metric]]] = {"vae": compare_vae, "ldm": compare_ldm}
    if first.kind not in differences:
        raise UserError(f"compare= takes two bundles of stage vae or ldm, not of stage {first.kind}.")
    both = [first.sha256, second.sha256]
    made = [splits.trained(bundle) for bundle in (first, second)]
    facts: dict[str, Any] = {"compared": both, "trained": made[0], "trained_second": made[1]}
    cfg = judge.with_judges(splits.with_split(cfg), "compared", prepared)
    settings = {"compared": both, **common_settings(cfg, prepared), **judge.stated(cfg)}
    guidance = [guidance_of(cfg, Guidance.of_bundle(bundle.info)) for bundle in (first, second)]
    own = [rule.settings() for rule in guidance]
    # one alone is written as when it was the same for all, so that comparisons of that time are found again
    settings["guidance"] = own[0] if guidance[0] == guidance[1] else own
    if first.kind == "ldm":
        facts |= {"guidance": own, "sampling": sampling_of(cfg)}
        print("guidance scales: " + ", ".join(f"{rule.scale:g}" for rule in guidance))
    words = ["compare", first.info["run"][:30], second.info["run"][:30]]

    def measure(folder: Path) -> None:
        opened = opened_before(cfg, prepared, *made)
        metrics = corrected(differences[first.kind](cfg, first, second, prepared, folder))
        finish(cfg, first, prepared, folder, metrics, **facts, **opened, with_run=second.info["run"], not_measured={})

    written(cfg, words, settings, measure)


def check(cfg: DictConfig, bundle: Bundle, prepared: Prepared) -> None:
    """Raises UserError where a bundle cannot be measured on these data."""
    if bundle.info["size"] != prepared.size:
        raise UserError(
            f"{bundle.folder} makes images of {bundle.info['size']} pixels and {prepared.folder} has {prepared.size}."
        )
    if bundle.info["data"]["fingerprint"] != prepared.fingerprint and not cfg.get("external"):
        raise UserError(
            f"{bundle.folder} was trained on {bundle.info['data']['name']} as it was prepared then, and "
            f"{prepared.folder} has another content or other splits, so its test images may have been trained on; "
            "prepared=FOLDER names the right one, and external=true says that these patients are others."
        )


def common_settings(cfg: DictConfig, prepared: Prepared) -> dict[str, Any]:
    """What decides every evaluation's numbers beside the bundle."""
    groups = {group: plain(cfg[group]) for group in ("metrics", "sampler", "guidance")}
    groups["metrics"] = chosen_measures(groups["metrics"])
    stated = {"data": prepared.fingerprint, "seed": cfg.seed, "features": recorded(cfg)}
    return stated | splits.recorded(cfg) | groups


def chosen_measures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without the options that are off, as when there were none: evaluations of that time are found again.

    >>> chosen_measures({"n": 8, "kid_n": None, "synthetic": False, "synthetic_n": None})
    {'n': 8}
    """
    off = {key for key in PAGE if not metrics.get(key)} | {"targets"}  # which change no number
    off |= {key for key, users in USED_BY.items() if users <= off}
    return {key: value for key, value in metrics.items() if key not in off}


def aims(cfg: DictConfig) -> dict[str, Any]:
    """The aims of metrics.targets for the run entry; raises UserError where one is of no figure."""
    targets = plain(cfg.metrics.targets)
    check_targets(targets)
    stated = {key: aim for key, aim in targets.items() if aim is not None}
    return {"targets": stated} if stated else {}


def written(cfg: DictConfig, words: list[str], settings: dict[str, Any], measure: Callable[[Path], None]) -> None:
    """Let `measure` fill the evaluation's folder unless it is complete; print its table and paths, write its page."""
    words = [words[0], *splits.recorded(cfg).values(), *words[1:]]  # a long name loses its end
    folder = naming.place(Path(cfg.paths.outputs) / "evaluation", str(cfg.name or naming.slug(words, settings)))
    if artifacts.state(folder, settings) == "complete":
        print(f"complete already: {folder}")
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with artifacts.building(folder) as partial:
            measure(partial)
            artifacts.write_record(partial, settings, complete=True)
    report.print_table(results.read_metrics(folder / "metrics.json"))
    if cfg.get("page"):
        print(f"  {report_page.write_page(folder, Path(cfg.page), Path(cfg.before) if cfg.before else None)}")
    for name in ("metrics.json", "report.html", "grid.png", "curves.png"):
        if (folder / name).exists():
            print(f"  {folder / name}")


def finish(
    cfg: DictConfig,
    bundle: Bundle,
    prepared: Prepared,
    folder: Path,
    metrics: dict[str, results.Metric],
    **facts: Any,
) -> None:
    """metrics.json, report.html and the W&B run."""
    run = results.run_entry(
        config=OmegaConf.to_container(cfg, resolve=False),
        bundle_sha256=bundle.sha256,
        seed=cfg.seed,
        stage=bundle.kind,
        data={"name": prepared.name, "images": len(prepared), "size": prepared.size},
        split=cfg.split,
        **facts,
    )
    results.write_metrics(folder / "metrics.json", metrics, run)
    report_html.write_html(folder)
    logger = instantiate(cfg.logger)(save_dir=str(folder))
    if isinstance(logger, WandbLogger):
        wandb_report.log_evaluation(logger.experiment, results.read_metrics(folder / "metrics.json"), folder)
        logger.experiment.finish()
    else:
        logger.log_metrics({f"evaluation/{name}": metric.value for name, metric in metrics.items()})
    logger.finalize("success")


def not_measured(cfg: DictConfig, kind: str) -> dict[str, str]:
    """What an evaluation of this kind could hold and does not, and why."""
    if kind != "ldm":
        return {}
    if cfg.metrics.curves is not None and cfg.metrics.curves.get("alone"):
        return {"all but the curves": "metrics=default measures it"}
    missing = {} if cfg.get("classifier") else {"AUROC, side accuracy and retrieval by a classifier": judge.NONE}
    if cfg.metrics.curves is None:
        missing["curves over guidance and steps"] = "metrics=full measures them, in some minutes more"
    if not any(cfg.metrics[key] for key in PAGE):
        missing["prompts in our own words, references, train on synthetic"] = "metrics=page measures them, in hours"
    others = sorted({path.stem for path in (CONF / "features").glob("*.yaml")} - set(cfg.features))
    if others:
        missing[f"distances by {', '.join(others)}"] = "features=[NAME,NAME] measures them by several extractors"
    return missing


def cfg_words(cfg: DictConfig) -> list[str]:
    """Words for the folder's name beyond those of the run."""
    return [f"n={cfg.metrics.n}"] if cfg.stage.name == "ldm" else []
