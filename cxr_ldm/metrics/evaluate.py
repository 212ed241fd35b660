"""Behind evaluate.py: a bundle and a prepared collection to metrics.json, report.html and pictures."""

from collections.abc import Callable
from pathlib import Path

from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from cxr_ldm import artifacts, naming
from cxr_ldm.bundle import Bundle
from cxr_ldm.compose import plain
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.errors import UserError
from cxr_ldm.metrics import judge, report, report_html, results
from cxr_ldm.metrics.measures import measure_ldm, measure_vae


def evaluate(cfg: DictConfig, bundle: Bundle, prepared: Prepared) -> None:
    """Measure, write everything under one name, print the table and the paths."""
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
    measures: dict[str, Callable[..., dict[str, results.Metric]]] = {
        "vae": measure_vae,
        "ldm": measure_ldm,
        "classifier": judge.measure_classifier,
    }
    cfg = judge.with_judges(cfg, bundle.kind, prepared)
    settings = {
        "bundle": bundle.sha256,
        "data": prepared.fingerprint,
        "seed": cfg.seed,
        **{group: plain(cfg[group]) for group in ("metrics", "features", "sampler", "guidance")},
        **judge.stated(cfg),
    }
    words = [bundle.kind, bundle.info["run"], *naming.override_words(cfg_words(cfg))]
    folder = Path(cfg.paths.outputs) / "evaluation" / str(cfg.name or naming.slug(words, settings))
    if artifacts.state(folder, settings) == "complete":
        print(f"complete already: {folder}")
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with artifacts.building(folder) as partial:
            metrics = measures[bundle.kind](cfg, bundle, prepared, partial)
            finish(cfg, bundle, prepared, partial, metrics)
            artifacts.write_record(partial, settings, complete=True)
    content = results.read_metrics(folder / "metrics.json")
    report.print_table(content)
    if cfg.get("page"):
        print(f"  {report.write_page(folder, Path(cfg.page), Path(cfg.before) if cfg.before else None)}")
    for name in ("metrics.json", "report.html", "grid.png"):
        print(f"  {folder / name}")


def finish(
    cfg: DictConfig, bundle: Bundle, prepared: Prepared, folder: Path, metrics: dict[str, results.Metric]
) -> None:
    """metrics.json, report.html and the W&B run."""
    run = results.run_entry(
        config=OmegaConf.to_container(cfg, resolve=False),
        bundle_sha256=bundle.sha256,
        seed=cfg.seed,
        stage=bundle.kind,
        data={"name": prepared.name, "images": len(prepared), "size": prepared.size},
        trained={"run": bundle.info["run"], **bundle.info["settings"]},
        not_measured=not_measured(cfg, bundle.kind),
    )
    results.write_metrics(folder / "metrics.json", metrics, run)
    report_html.write_html(folder)
    logger = instantiate(cfg.logger)(save_dir=str(folder))
    logger.log_metrics({f"evaluation/{name}": metric.value for name, metric in metrics.items()})
    if isinstance(logger, WandbLogger):
        logger.log_image("evaluation/grid", [str(folder / "grid.png")])
        logger.experiment.finish()
    logger.finalize("success")


def not_measured(cfg: DictConfig, kind: str) -> dict[str, str]:
    """What an evaluation of this kind could hold and does not, and why."""
    if kind != "ldm":
        return {}
    missing = {} if cfg.get("classifier") else {"AUROC, side accuracy and retrieval by a classifier": judge.NONE}
    if cfg.metrics.curves is None:
        missing["curves over guidance and steps"] = "metrics=full measures them, in some minutes more"
    return missing | {"other feature extractors": "one for each evaluation, chosen by features=NAME"}


def cfg_words(cfg: DictConfig) -> list[str]:
    """Words for the folder's name beyond those of the run."""
    return [f"n={cfg.metrics.n}"] if cfg.stage.name == "ldm" else []
