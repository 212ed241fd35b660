"""report.html: one self-contained page from a metrics.json and the pictures beside it."""

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cxr_ldm.artifacts import write_text
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.splits import sentence
from cxr_ldm.metrics.references import MARK
from cxr_ldm.metrics.results import read_metrics
from cxr_ldm.report import terminal as report
from cxr_ldm.report.by_finding import ABOUT, by_finding, measured, notes
from cxr_ldm.report.figures import AXES, curve_figure
from cxr_ldm.report.tables import finding_table, headline_table, reference_table

TEMPLATE = "report.html.jinja"
# Title of a section, and how the names of its metrics begin; a metric belongs to the first that fits.
SECTIONS = {
    "Reconstruction": ("ssim", "ms_ssim", "psnr", "mae"),
    "Distance from real images": ("fid_", "kid_", "precision_", "recall_", "density_", "coverage_"),
    "Does the image say what the prompt says?": ("adherence_", "auroc_", "side_", "prompt_retrieval"),
    "Diversity": ("pairwise_",),
    "Memory of the training images": (
        *("near_copies", "feature_copies", "nearer_", "copies_", "nearest_", "extraction", "extracted"),
        "closer_",  # of evaluations before the excess
    ),
    "Image statistics": ("contrast_", "sharpness", "entropy"),
    "Cost": ("parameters", "latency_", "images_per_second", "peak_memory"),
    "References, figure by figure": (),  # by the mark in their names
    "Further figures": ("",),
}
# Pictures by file name: their section and their caption.
PICTURES = {
    "grid": ("Pictures", "a fixed choice, not the best"),
    "best": ("Pictures", "best by the nearest real image's features, or by SSIM"),
    "worst": ("Pictures", "worst by the same measure"),
    "curves": ("Curves", "the same prompts and seeds at each point of the curves"),
    "adherence": ("Does the image say what the prompt says?", "samples of the prompts that are measured"),
    "own": ("Does the image say what the prompt says?", "samples of the prompts in our own words"),
    "nearest": ("Memory of the training images", "generated images, each above its nearest training image"),
}


def write_html(folder: Path) -> Path:
    """Write `folder`/report.html from its metrics.json and its pictures; returns the path."""
    content = read_metrics(folder / "metrics.json")
    pictures = {name: folder / f"{name}.png" for name in PICTURES if (folder / f"{name}.png").exists()}
    write_text(folder / "report.html", render(content, pictures))
    return folder / "report.html"


def environment() -> Environment:
    """Templates of this folder, in which every text is escaped and a name that is missing is an error."""
    return Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True
    )


def render(content: Mapping[str, Any], pictures: Mapping[str, Path]) -> str:
    """The page of a metrics.json; `pictures` maps names of PICTURES to PNG files, which are embedded."""
    run, findings = content["run"], by_finding(content)
    filled, absent = measured(findings)
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            title=report.title(content),
            about=about(run),
            split=sentence(run),
            headline=headline_table(content),
            tables=[table for table in (finding_table(content), reference_table(content)) if table is not None],
            sections=list(sections(content, pictures)),
            findings=findings,
            about_findings=ABOUT,
            measures=filled,
            absent=absent,
            notes=notes(findings),
            not_measured=list(run.get("not_measured", {}).items()),
            settings=report.rows(content),
            run=[(key, report.plain(value)) for key, value in run.items() if key != "not_measured"],
        )
    )


def about(run: Mapping[str, Any]) -> str:
    """One line on what was measured.

    >>> about({"data": {"name": "nih-64", "images": 856, "size": 64}, "bundle_sha256": "abcdef0123", "seed": 0})
    'nih-64, 856 images of 64 × 64 pixels; bundle abcdef01; seed 0'
    """
    data = run.get("data")
    words = []
    if isinstance(data, Mapping):
        words.append(f"{data['name']}, {data['images']:,} images of {data['size']} × {data['size']} pixels")
    if run.get("bundle_sha256"):
        words.append(f"bundle {run['bundle_sha256'][:8]}")
    return "; ".join([*words, f"seed {run['seed']}"])


def sections(content: Mapping[str, Any], pictures: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """Sections with their rows and pictures; those without either are left out."""
    rows = table(content)
    images = [(*PICTURES[name], data_uri(path, "png")) for name, path in pictures.items()]
    for axis, label in AXES.items():
        drawing = curve_figure(content, axis)
        if drawing is not None:
            images.append(
                ("Curves", f"over the {label}, all else equal; bands are 95 % intervals", _uri(drawing, "svg+xml"))
            )
    for title in ("Pictures", *SECTIONS, "Curves"):
        here = [row for row in rows if section_of(row["name"]) == title]
        shown = [
            (caption, source, "curve" if title == "Curves" else "picture")
            for section, caption, source in images
            if section == title
        ]
        if here or shown:
            yield {"id": title.split()[0].lower(), "title": title, "rows": here, "images": shown}


def section_of(name: str) -> str:
    """The section that shows a metric.

    >>> section_of("fid_efficientnet_lite0"), section_of("kid_x_at_steps_5"), section_of("latency_at_steps_5")
    ('Distance from real images', 'Curves', 'Cost')
    """
    if MARK in name:
        return "References, figure by figure"
    found = next(title for title, starts in SECTIONS.items() if name.startswith(starts))
    on_curve = any(f"_at_{axis}_" in name for axis in AXES)
    return "Curves" if on_curve and found != "Cost" else found


def table(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of all metrics but those of real images, which stand in the column `real` of what they belong to."""
    rows = {row["name"]: row | {"real": "–"} for row in report.rows(content)}
    for name, base in report.beside(rows).items():
        rows[base]["real"] = rows.pop(name)["value"]
    return list(rows.values())


def data_uri(path: Path, kind: str) -> str:
    """An image file as text that a page holds within itself; raises UserError where it cannot be read."""
    try:
        return _uri(path.read_bytes(), kind)
    except OSError as error:
        raise UserError(f"report: the image {path} cannot be read ({error.strerror}).") from None


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
