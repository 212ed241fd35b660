"""python evaluate.py: a bundle and a prepared collection to metrics.json, report.html and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from cxr_ldm import artifacts, lineage, naming
from cxr_ldm.assets import CONF
from cxr_ldm.bundle import Bundle, bundle_sha256, load_bundle, read_config
from cxr_ldm.commands.measuring import (
    adherence_of,
    cache_of,
    collection_of,
    extractors_recorded,
    feature_sets_of,
    judge_of,
    measures_of,
    with_classifier,
)
from cxr_ldm.commands.schema import Evaluate
from cxr_ldm.commands.scoring import score
from cxr_ldm.commands.settings import (
    asked_data,
    check_logger,
    check_values,
    device_of,
    filled,
    guidance_of,
    guidance_recorded,
    kind_of,
    part_of_stage,
    plain,
    prepared_data,
    sampling_of,
    say_precision,
    with_own_sampler,
)
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation import judge as judging
from cxr_ldm.evaluation import splits
from cxr_ldm.evaluation.compare import compare_ldm, compare_vae
from cxr_ldm.evaluation.distance import Distances
from cxr_ldm.evaluation.ldm import Evaluation
from cxr_ldm.evaluation.model import Model
from cxr_ldm.evaluation.upscaler import measure_upscaler
from cxr_ldm.evaluation.vae import measure_vae
from cxr_ldm.imaging.enlarging import STEPS
from cxr_ldm.loggers import log_inputs, log_metrics_file
from cxr_ldm.metrics import results
from cxr_ldm.metrics.distances.paired import corrected
from cxr_ldm.report import html as report_html
from cxr_ldm.report import markdown as report_page
from cxr_ldm.report import terminal as report
from cxr_ldm.report import wandb as wandb_report

# Options of metrics=page, and by which of them the others are used.
PAGE = {"kid_n", "own_prompts_n", "references", "folds", "synthetic"}
USED_BY = {"synthetic_n": {"synthetic"}, "fitted": {"synthetic", "folds"}}
Metrics = dict[str, results.Metric]


def main(cfg: DictConfig) -> Path:
    """python evaluate.py; the folder of what was measured."""
    check_values(cfg, Evaluate)
    check_logger(cfg.logger)
    if cfg.images is not None:
        return score(cfg)
    lone = next((key for key in ("real", "trained_on", "prompts") if cfg[key] is not None), None)
    if lone:
        raise UserError(f"{lone}= is for images that are given; name them by images=FOLDER, CSV or ZIP.")
    stage, outputs = kind_of(cfg), Path(cfg.paths.outputs)
    if cfg.compare is None:
        place = measured_bundle(cfg, stage).said()
        kind = read_config(place).get("kind")
        if kind != stage:
            raise UserError(f"{place} is of kind {kind!r}, and stage.name={cfg.stage.name} measures kind {stage!r}.")
        bundle = load_bundle(place, stage, cfg.bundle_packages)
        return evaluate(cfg, bundle, collection_for(cfg, bundle))
    folders = list(cfg.compare) if OmegaConf.is_list(cfg.compare) else [cfg.compare]
    if len(folders) != 2:
        raise UserError(f"compare={cfg.compare} must name two bundles: compare=[FOLDER,FOLDER].")
    places = [naming.bundle_named(folder, outputs, stage, key="compare").said() for folder in folders]
    first, second = (load_bundle(place, stage, cfg.bundle_packages) for place in places)
    return compare(cfg, first, second, collection_for(cfg, first))


def measured_bundle(cfg: DictConfig, stage: str) -> naming.Chosen:
    """The bundle that is measured, by the rule of `naming.model_bundle`."""
    outputs, data = Path(cfg.paths.outputs), asked_data(cfg)
    if stage == "ldm":
        return naming.model_bundle(cfg.bundle, outputs, data)
    named = cfg.bundle and naming.bundle_named(cfg.bundle, outputs, stage)
    return named or naming.newest_bundle(outputs, stage, data)


def collection_for(cfg: DictConfig, bundle: Bundle) -> Prepared:
    """The collection that the command line asks for, or else the one that the bundle was trained on.

    Raises:
        UserError: none is asked for, and the bundle's is not below the outputs.
    """
    data = bundle.info["data"]
    if asked_data(cfg) is None:
        folder = naming.prepared_with(data.get("fingerprint"), Path(cfg.paths.outputs))  # a published model has none
        if folder is not None:
            print(f"measures on {folder}, which it was trained on")
            return Prepared(folder, cfg.verify)
        if data["kind"] != cfg.data.kind:
            raise UserError(
                f"{bundle.folder} was trained on {data['name']}, which is not below {cfg.paths.outputs}/prepared; "
                "say what to measure it on by prepared=FOLDER, or by data=… data.root=DIR, or train your own model by "
                f"`python train.py stage={bundle.kind}`."
            )
    return prepared_data(cfg)


def evaluate(cfg: DictConfig, bundle: Bundle, prepared: Prepared) -> Path:
    """Measure a bundle; write everything into one folder, which is returned; print the table and the paths."""
    check(cfg, bundle, prepared)
    cfg, own = with_own_sampler(cfg, bundle.info), Guidance.of_bundle(bundle.info)
    stated = any(value is not None for value in cfg.guidance.values())
    facts: dict[str, Any] = {"settings_chosen_on": splits.chosen_on(bundle, stated), "trained": splits.trained(bundle)}
    cfg = with_classifier(with_split(cfg), bundle.kind, prepared)
    cfg = filled(cfg, guidance=guidance_of(cfg, own).settings())
    if bundle.kind == "ldm":
        say_precision(cfg)
        facts |= aims(cfg) | {"guidance": guidance_recorded(cfg), "sampling": sampled(cfg)}
    settings = {"bundle": bundle.sha256, **common_settings(cfg, prepared), **classifier_recorded(cfg)}
    words = [bundle.kind, bundle.info["run"], *naming.override_words(cfg_words(cfg))]

    def measure(folder: Path) -> None:
        opened = opened_before(cfg, prepared, facts["trained"])
        metrics = part_of_stage(cfg, "measure")(cfg, bundle, prepared, folder)
        finish(cfg, bundle, prepared, folder, metrics, **facts, **opened, not_measured=not_measured(cfg, bundle.kind))

    return written(cfg, words, settings, measure, lambda folder: log(cfg, [bundle], prepared, folder))


def vae(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> Metrics:
    """Of stage=vae."""
    measures, sets = measures_of(cfg), feature_sets_of(cfg, prepared)
    distances = Distances(collection_of(cfg, prepared), sets, measures.floor_repeats, measures.neighbours)
    return measure_vae(bundle, distances, measures, device_of(cfg), folder)


def ldm(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> Metrics:
    """Of stage=ldm."""
    data, sets = collection_of(cfg, prepared), feature_sets_of(cfg, prepared)
    evaluation = Evaluation(data, sets, measures_of(cfg), judge_of(cfg), adherence_of(cfg, data))
    return evaluation.measure(model_of(cfg, bundle), folder)


def upscaler(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> Metrics:
    """Of stage=upscaler."""
    measures, sets = measures_of(cfg), feature_sets_of(cfg, prepared)
    distances = Distances(collection_of(cfg, prepared), sets, measures.floor_repeats, measures.neighbours)
    sampling = Sampling(STEPS, precision=sampling_of(cfg).precision)
    return measure_upscaler(bundle, distances, measures, sampling, device_of(cfg), folder)


def classifier(cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path) -> Metrics:
    """Of stage=classifier."""
    judge = judging.Judge(bundle, device_of(cfg))
    return judging.measure_classifier(judge, collection_of(cfg, prepared), folder)


def model_of(cfg: DictConfig, bundle: Bundle) -> Model:
    """A bundle as this command samples it, by its own guidance where nothing else is stated."""
    sampler = sampling_of(with_own_sampler(cfg, bundle.info))
    sampling = replace(sampler, guidance=guidance_of(cfg, Guidance.of_bundle(bundle.info)))
    model = Model.of(bundle, sampling, cache_of(cfg), device_of(cfg), cfg.bundle_packages)
    if cfg.compile is not None:
        model.pipeline.compile(cfg.compile)
    return model


def with_split(cfg: DictConfig) -> DictConfig:
    """The config with the split that is measured in place of null; raises UserError where it cannot be measured."""
    chooses = cfg.metrics.curves is not None or cfg.get("compare") is not None
    return filled(cfg, split=splits.measured_split(cfg.split, chooses))


def sampled(cfg: DictConfig) -> dict[str, Any]:
    """The sampler and its steps, for records."""
    return {"steps": cfg.sampler.steps, "sampler": sampling_of(cfg).settings()}


def classifier_recorded(cfg: DictConfig) -> dict[str, Any]:
    """Identity of the classifier for the record of an evaluation; nothing where there is none."""
    return {"classifier": bundle_sha256(Path(cfg.classifier))} if cfg.get("classifier") else {}


def opened_before(cfg: DictConfig, prepared: Prepared, *trained: dict[str, Any]) -> dict[str, Any]:
    """Who opened the test split before, for the run entry; says so. Nothing where validation is measured."""
    if cfg.split != "test":
        print(f"measures the {splits.WORDS[cfg.split]} split; split=test opens the test split")
        return {}
    opened = splits.opened_before(Path(cfg.paths.outputs), prepared.name, trained)
    print(splits.warning(opened, prepared.name) or f"measures the test split of {prepared.name}")
    return {"opened_before": opened}


def compare(cfg: DictConfig, first: Bundle, second: Bundle, prepared: Prepared) -> Path:
    """Measure two bundles on the same images, prompts and seeds; the folder of the differences, first less second."""
    for bundle in (first, second):
        check(cfg, bundle, prepared)
    if first.kind not in ("vae", "ldm"):
        raise UserError(f"compare= takes two bundles of stage vae or ldm, not of stage {first.kind}.")
    both = [first.sha256, second.sha256]
    made = [splits.trained(bundle) for bundle in (first, second)]
    facts: dict[str, Any] = {"compared": both, "trained": made[0], "trained_second": made[1]}
    cfg = with_classifier(with_split(cfg), first.kind, prepared)
    settings = {"compared": both, **common_settings(cfg, prepared), **classifier_recorded(cfg)}
    guidance = [guidance_of(cfg, Guidance.of_bundle(bundle.info)) for bundle in (first, second)]
    own = [rule.settings() for rule in guidance]
    # one alone is written as when it was the same for all, so that comparisons of that time are found again
    settings["guidance"] = own[0] if guidance[0] == guidance[1] else own
    samplers = [sampled(with_own_sampler(cfg, bundle.info)) for bundle in (first, second)]
    if samplers[0] != samplers[1]:
        settings["samplers"] = samplers
    if first.kind == "ldm":
        facts |= {"guidance": own, "sampling": samplers[0] if samplers[0] == samplers[1] else samplers}
        print("guidance scales: " + ", ".join(f"{rule.scale:g}" for rule in guidance))
    words = ["compare", first.info["run"][:30], second.info["run"][:30]]

    def differences(folder: Path) -> Metrics:
        data = collection_of(cfg, prepared)
        if first.kind == "vae":
            return compare_vae(first, second, data, device_of(cfg), folder)
        models = model_of(cfg, first), model_of(cfg, second)
        sets, adherence = feature_sets_of(cfg, prepared), adherence_of(cfg, data)
        return compare_ldm(models, data, sets, cfg.metrics.n, adherence, judge_of(cfg), folder)

    def measure(folder: Path) -> None:
        opened = opened_before(cfg, prepared, *made)
        metrics = corrected(differences(folder))
        said = facts | opened | {"with_run": second.info["run"], "not_measured": {}}
        finish(cfg, first, prepared, folder, metrics, **said)

    return written(cfg, words, settings, measure, lambda folder: log(cfg, [first, second], prepared, folder))


def check(cfg: DictConfig, bundle: Bundle, prepared: Prepared) -> None:
    """Raises UserError where a bundle cannot be measured on these data."""
    if bundle.info["size"] not in (None, prepared.size):  # a published autoencoder is of no size
        raise UserError(
            f"{bundle.folder} makes images of {bundle.info['size']} pixels and {prepared.folder} has {prepared.size}."
        )
    name, known = bundle.info["data"]["name"], bundle.info["data"].get("fingerprint")
    if cfg.get("external") or lineage.knows(bundle.info, prepared.fingerprint):
        return
    if known is None:
        raise UserError(
            f"{bundle.folder} was published, and trained on {name}; external=true says that it saw no test image of "
            f"{prepared.folder}."
        )
    raise UserError(
        f"{bundle.folder} was trained on {name} as it was prepared then, and "
        f"{prepared.folder} has another content or other splits, so its test images may have been trained on; "
        "prepared=FOLDER names the right one, and external=true says that these patients are others."
    )


def common_settings(cfg: DictConfig, prepared: Prepared) -> dict[str, Any]:
    """What decides every evaluation's numbers beside the bundle."""
    groups = {group: plain(cfg[group]) for group in ("metrics", "sampler")} | {"guidance": guidance_recorded(cfg)}
    groups["metrics"] = chosen_measures(groups["metrics"])
    stated = {"data": prepared.identity, "seed": cfg.seed, "features": extractors_recorded(cfg)}
    if str(cfg.get("precision", 32)) != "32":  # as when there was no other
        stated |= sampling_of(cfg).narrowness()
    if cfg.get("compile") is not None:
        stated["compile"] = cfg.compile
    return stated | splits.recorded(cfg.split) | groups


def chosen_measures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without the options that are off, as when there were none: evaluations of that time are found again.

    >>> chosen_measures({"n": 8, "kid_n": None, "synthetic": False, "synthetic_n": None})
    {'n': 8}
    """
    off = {key for key in (*PAGE, "further") if not metrics.get(key)} | {"targets"}  # which change no number
    off |= {key for key, users in USED_BY.items() if users <= off}
    return {key: value for key, value in metrics.items() if key not in off}


def aims(cfg: DictConfig) -> dict[str, Any]:
    """The aims of metrics.targets for the run entry; raises UserError where one is of no figure."""
    stated = {key: aim for key, aim in (measures_of(cfg).targets or {}).items() if aim is not None}
    return {"targets": stated} if stated else {}


def written(
    cfg: DictConfig,
    words: list[str],
    settings: dict[str, Any],
    measure: Callable[[Path], None],
    log: Callable[[Path], None],
) -> Path:
    """Let `measure` fill the evaluation's folder unless it is complete; print its table and paths, write its page.

    Args:
        log: called with the complete folder, so that a logger that fails loses nothing.
    """
    words = [words[0], *splits.recorded(cfg.split).values(), *words[1:]]  # a long name loses its end
    folder = naming.place(Path(cfg.paths.outputs) / "evaluation", str(cfg.name or naming.slug(words, settings)))
    if artifacts.state(folder, settings) == "complete":
        print(f"complete already: {folder}")
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with artifacts.building(folder) as partial:
            measure(partial)
            artifacts.write_record(partial, settings, complete=True, finished=artifacts.now())
        log(folder)
    report.print_table(results.read_metrics(folder / "metrics.json"))
    if cfg.get("page"):
        print(f"  {report_page.write_page(folder, Path(cfg.page), Path(cfg.before) if cfg.before else None)}")
    for name in ("metrics.json", "report.html", "grid.png", "curves.png"):
        if (folder / name).exists():
            print(f"  {folder / name}")
    return folder


def finish(
    cfg: DictConfig,
    bundle: Bundle,
    prepared: Prepared,
    folder: Path,
    metrics: dict[str, results.Metric],
    **facts: Any,
) -> None:
    """metrics.json and report.html."""
    run = results.run_entry(
        composed=OmegaConf.to_container(cfg, resolve=False),
        bundle_sha256=bundle.sha256,
        seed=cfg.seed,
        stage=bundle.kind,
        data={"name": prepared.name, "images": len(prepared), "size": prepared.size},
        split=cfg.split,
        **facts,
    )
    results.write_metrics(folder / "metrics.json", metrics, run)
    report_html.write_html(folder)


def log(cfg: DictConfig, bundles: Sequence[Bundle], prepared: Prepared, folder: Path) -> None:
    """What was found of the bundles, to the logger of the config."""
    logger, content = instantiate(cfg.logger)(save_dir=str(folder)), results.read_metrics(folder / "metrics.json")
    if isinstance(logger, WandbLogger):
        log_inputs([logger], prepared.facts(), bundles)
        log_metrics_file(logger, folder)
        wandb_report.log_evaluation(logger.experiment, content, folder)
        logger.experiment.finish()
    else:
        logger.log_metrics({f"evaluation/{name}": entry["value"] for name, entry in content.items() if name != "run"})
    logger.finalize("success")


def not_measured(cfg: DictConfig, kind: str) -> dict[str, str]:
    """What an evaluation of this kind could hold and does not, and why."""
    if kind != "ldm":
        return {}
    if cfg.metrics.curves is not None and cfg.metrics.curves.get("alone"):
        return {"all but the curves": "metrics=default measures it"}
    missing = {} if cfg.get("classifier") else {"AUROC, side accuracy and retrieval by a classifier": judging.NONE}
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
    return [f"n={cfg.metrics.n}"] if kind_of(cfg) == "ldm" else []
