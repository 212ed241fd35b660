"""A view of a W&B project made for these runs: how they train, what validation says, and what evaluations found."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from cxr_ldm.errors import UserError
from cxr_ldm.loggers import has_key, installed
from cxr_ldm.report.headline import HEADLINES
from cxr_ldm.report.html import PICTURES

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "cxr_ldm"
EXTRACTOR = "efficientnet_lite0"  # of the distances, as conf/common.yaml has it
# Panels of curves: title and what is logged, by name or, where it is a text, by a regular expression.
Curves = dict[str, list[str] | str]
TRAINING: Curves = {
    "loss": ["train/loss"],
    "parts of an autoencoder's loss": ["train/reconstruction", "train/kl"],
    "learning rates": "^lr-",
    "norm of the gradients": ["train/gradient_norm"],
    "images a second": ["train/images_per_second"],
    "memory, GB": ["train/memory_gb"],
}
VALIDATION: Curves = {
    "loss": ["val/loss"],
    "SSIM of reconstructions": ["val/ssim"],
    "PSNR of reconstructions": ["val/psnr"],
    "mean AUROC of a classifier": ["val/auroc_mean"],
    "KID of samples": ["val/kid"],
    "excess of copies": ["val/copies_excess", "val/copies_excess_features"],
}
TABLES = ("evaluation/metrics", "evaluation/findings", "evaluation/shown")


def save(project: str) -> str:
    """Make the view in a project of W&B; its address.

    Args:
        project: ENTITY/PROJECT.

    Raises:
        UserError: it is no such name, wandb-workspaces is not installed, W&B has no key here, or refuses.
    """
    entity, _, name = project.partition("/")
    if not entity or not name or "/" in name:
        raise UserError(f"{project!r} must be ENTITY/PROJECT, as W&B's address of a project ends.")
    made = workspace(entity, name)
    if not has_key():
        raise UserError("W&B has no API key here; run `wandb login`, or set WANDB_API_KEY.")
    import requests
    import wandb

    try:
        return str(made.save().url)
    except (wandb.Error, requests.RequestException, ValueError) as error:  # ValueError: it does not know the project
        raise UserError(f"W&B did not take the view of {project}: {' '.join(str(error).split())[:300]}") from None


def workspace(entity: str, project: str) -> "Workspace":
    """The view: runs by group and stage, curves of training and validation, tables and pictures of evaluations.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    if not installed() or find_spec("wandb_workspaces") is None:
        raise UserError("a view of W&B needs wandb and wandb-workspaces: run `pip install 'cxr-ldm[wandb]'`.")
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as views

    def curves(of: Curves) -> list[Any]:
        how = {title: {"metric_regex" if isinstance(logged, str) else "y": logged} for title, logged in of.items()}
        return [panels.LinePlot(title=title, **which) for title, which in how.items()]

    figures = [panels.BarPlot(title=title, metrics=names) for title, names in evaluations().items()]
    pictures = panels.MediaBrowser(title="pictures", media_keys=[f"evaluation/{name}" for name in PICTURES])
    tables = [panels.WeavePanelSummaryTable(table_name=name) for name in TABLES]
    grids = panels.MediaBrowser(title="samples at each validation", media_keys=["samples"])
    return views.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            views.Section(name="Evaluation", panels=[*tables, pictures, *figures], is_open=True),
            views.Section(name="Validation", panels=[grids, *curves(VALIDATION)], is_open=True),
            views.Section(name="Training", panels=curves(TRAINING)),
        ],
        runset_settings=views.RunsetSettings(groupby=[views.Metric("Group"), views.Metric("JobType")]),
    )


def evaluations() -> dict[str, list[str]]:
    """Title of each panel of an evaluation's headline, and the figures in it, that of real images among them."""
    found: dict[str, list[str]] = {}
    for each in HEADLINES:
        names = [*each.names, *([each.real] if each.real else [])]
        found.setdefault(each.label, []).extend(f"evaluation/{name.format(x=EXTRACTOR)}" for name in names)
    return found
