"""Two bundles on the same images, or on the same prompts and seeds: differences with intervals and p-values."""

from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from cxr_ldm.bundle import Bundle
from cxr_ldm.compose import device_of
from cxr_ldm.data.prepared import Prepared
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.metrics import reconstruction
from cxr_ldm.metrics.features import extract
from cxr_ldm.metrics.frechet import frechet_distance
from cxr_ldm.metrics.measures import chosen_rows, of_texts, reconstructions
from cxr_ldm.metrics.paired import paired_distance, paired_kernel_distance, paired_mean
from cxr_ldm.metrics.results import Metric
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.training import spread

LOWER = ("mae",)  # reconstruction measures of which a smaller value is better
SHOWN = 6  # images of each bundle in the picture


def compare_vae(cfg: DictConfig, first: Bundle, second: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """`NAME_difference` for each measure of reconstruction, image by image over the test split."""
    rows = prepared.rows("test")
    original, patients = prepared.pixels(rows), prepared.patients(rows)
    images = [reconstructions(cfg, bundle, prepared, rows) for bundle in (first, second)]
    one, two = (reconstruction.reconstruction_values(each, original) for each in images)
    shown = spread(torch.arange(len(rows)).numpy(), SHOWN)
    save_grid(folder / "grid.png", torch.cat([original[shown], *(each[shown] for each in images)]), len(shown))
    return {
        f"{name}_difference": paired_mean(
            one[name], two[name], patients, {"images": "test"}, higher=name not in LOWER, seed=cfg.seed
        )
        for name in one
    }


def compare_ldm(cfg: DictConfig, first: Bundle, second: Bundle, prepared: Prepared, folder: Path) -> dict[str, Metric]:
    """Differences of KID and FID; on phantoms, of adherence to whole reports too, image by image."""
    rows = chosen_rows(prepared, "test", cfg.metrics.n, cfg.seed)
    patients, size, device = prepared.patients(rows), cfg.metrics.batch_size, device_of(cfg)
    images = [
        of_texts(cfg, TextToCXR.from_bundle(bundle.folder, str(device), cfg.bundle_packages), prepared, rows)
        for bundle in (first, second)
    ]
    extractor = instantiate(cfg.features)
    real, one, two = (extract(extractor, each.split(size), device) for each in (prepared.pixels(rows), *images))
    stated: dict[str, object] = extractor.settings() | {"images": "generated from the texts of test images"}
    name = extractor.name
    save_grid(folder / "grid.png", torch.cat([each[:SHOWN] for each in images]), SHOWN, None, {"synthetic": True})
    metrics = {
        f"kid_{name}_difference": paired_kernel_distance(real, one, two, patients, patients, stated, cfg.seed),
        f"fid_{name}_difference": paired_distance(
            frechet_distance, real, one, two, patients, patients, stated, seed=cfg.seed
        ),
    }
    if cfg.data.adherence is not None and prepared.kind == cfg.data.kind:
        first_hits, second_hits = adherence_hits(cfg, prepared, rows.tolist(), images)
        stated = {"images": "generated from the texts of test images"}
        metrics["adherence_finding_texts_difference"] = paired_mean(
            first_hits, second_hits, patients, stated, seed=cfg.seed
        )
    return metrics


def adherence_hits(cfg: DictConfig, prepared: Prepared, rows: list[int], images: list[Tensor]) -> list[Tensor]:
    """For each set of images whether each shows the phantom's finding as its text says, float64 [N] of 0 and 1."""
    measure, train = instantiate(cfg.data.adherence), prepared.rows("train")
    findings = prepared.manifest["findings"]
    measure.calibrate(prepared.pixels(train), findings.iloc[train].tolist())
    asked = torch.tensor([bool(measure.asked(said)) for said in findings.iloc[rows]])
    return [(measure.measure(each)[0] == asked).double() for each in images]
