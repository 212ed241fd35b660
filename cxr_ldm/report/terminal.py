"""A metrics.json in words: rows, cells, and the table on the terminal (report_page.py, report_html.py: pages)."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

TABLE_WIDTH = 132  # columns at least where no terminal says how wide it is
# What a metric says, by the longest beginning of its name.
MEANINGS = {
    "ssim": "structural similarity of reconstruction and original",
    "psnr": "peak signal-to-noise ratio of the reconstruction, dB",
    "fid": "Fréchet distance of features, generated (or reconstructed) against real",
    "kid": "kernel distance of features, generated (or reconstructed) against real",
    "adherence_finding": "the picture shows the finding that the prompt names, and none where it names none",
    "adherence_side": "the finding is on the prompted side",
    "auroc": "area under the ROC curve of the classifier, with what the text says as truth",
    "auroc_mean": "the same as a mean over the findings",
    "auroc_own": "the same on prompts in our own words, a finding against normal",
    "auroc_trained_on_synthetic": "AUROC on real images of a classifier trained on generated ones",
    "auroc_trained_on_real": "AUROC on real images of one trained on the real images of the same texts",
    "auroc_trained_ratio": "AUROC of the one trained on generated images over that of the one trained on real ones",
    "utility": "AUROC gained with one synthetic image for each real one, over real images twice",
    "utility_auroc": "AUROC on real images, mean over findings and seeds, of classifiers trained on these images",
    "utility_gain_over_real_once": "AUROC gained with one synthetic image for each real one, over real images once",
    "utility_gain_": "AUROC gained with these images in place of real images twice",
    "utility_placebo": "AUROC gained with real images twice over once; 0 expected",
    "utility_smallest_gain": "gain that is found with a power of 0.8 by a two-sided test at 0.05",
    "side_own": "on prompts in our own words that name a side, the classifier finds it the more probable",
    "side_accuracy": "where a text names one side, the classifier finds that side the more probable",
    "prompt_retrieval_top": "of the prompts of 100 images, the image's own is among the first by the classifier",
    "prompt_retrieval_median_rank": "rank of the image's own prompt among those of 100 images by the classifier",
    "accuracy_which": "pairs of which a reader told the real image",
    "accuracy_real": "images that a reader told to be real or synthetic",
    "accuracy_finding": "images of which a reader told the finding",
    "accuracy_side": "images of which a reader told the side",
    "kappa": "agreement of readers beyond chance; 1 is complete",
    "ms_ssim": "structural similarity of reconstruction and original at several scales",
    "mae": "mean absolute error of the reconstruction, on pixels whose range is 2",
    "precision": "generated images within the reach of a real one",
    "recall": "real images within the reach of a generated one",
    "density": "real images that reach a generated one, over the number of neighbours",
    "coverage": "real images whose reach holds a generated one",
    "contrast_michelson": "difference over sum of the 95th and 5th percentile of grey",
    "contrast_rms": "standard deviation of grey",
    "sharpness": "variance of the Laplacian",
    "sharpness_ratio": "variance of the Laplacian over that of real images",
    "fine_sharpness": "variance of the Laplacian at full size",
    "consistency": "the written picture, averaged down, beside the small one that it was made from, dB",
    "detail_kid": "kernel distance of features of squares in which a pixel stays a pixel",
    "seam_step": "steps of grey across the borders of tiles over those elsewhere; 1 shows no seam",
    "square_step": "steps of grey across the borders of a small pixel's square over those within; 1 shows no grid",
    "upscaling_seconds": "seconds for one picture of 256 pixels",
    "entropy": "entropy of grey levels, bits",
    "closer_than_held_out": "generated images closer to a training image than 99 % of held-out ones",
    "nearer_to_training": "generated images nearer to the training than to as many held-out patients; 0.5 expected",
    "copies_excess": "generated images that stand alone at a training image, above what chance gives; 0 expected",
    "feature_copies": "generated images whose features are near copies of a training image's",
    "nearest_training_cosine": "cosine of features with the nearest training image",
    "extracted_prompts": "training prompts that give a copy of a training image",
    "extraction_cliques": "training prompts whose samples are mostly copies of each other",
    "near_copies": "generated images that are near copies of a training image",
    "nearest_training_correlation": "correlation with the nearest training image",
    "pairwise_ssim": "similarity of two images of the set: high where all look alike",
    "pairwise_ms_ssim": "similarity of two images of the set at several scales: high where all look alike",
    "pairwise_ms_ssim_within_prompt": "similarity of two images of one prompt at several scales",
    "pairwise_ssim_within_own": "similarity of two images of prompts in our own words for one finding",
    "pairwise_ms_ssim_within_own": "the same similarity at several scales",
    "pairwise_ssim_within_prompt": "similarity of two images of one prompt: high where all look alike",
}
# And its end.
VARIANTS = {
    "_floor": "the same for real against real",
    "_of_real": "on the real images",
    "_of_mean": "of the mean of what may be drawn",
    "_interpolated": "of cubic interpolation",
    "_distance": "distance of its distribution from that of real images, in their standard deviations",
    "_distance_floor": "the same distance for real against real",
    "_ratio": "as a multiple of the floor",
    "_difference": "above the floor",
    "_real": "the same on real images",
    "_real_crossfitted": "on all real images, by classifiers that saw no image of the patient",
    "_reference_copier": "of training images, as a perfect copier gives them",
    "_reference_reconstruction": "of the autoencoder's reconstructions of the same images",
    "_reference_shuffled": "beside the texts of others",
    "_reference_empty": "of images of the empty prompt",
    "_real_all": "the same on real images with any finding",
    "_texts": "on images generated from whole reports with any finding (compare with _real_all)",
}
GROUPS = ("sex", "age", "view")  # of people, whose figures end in _GROUP_VALUE
DIRECTIONS = {True: "higher is better", False: "lower is better"}


def rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row of text for each metric of a metrics.json, in its order."""
    return [_row(name, entry) for name, entry in content.items() if name != "run"]


def _row(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    ends, error, chance = entry["ci95"], entry["settings"].get("standard_error"), entry["settings"].get("chance")
    said = [meaning(name, entry["settings"].get("difference")), "" if chance is None else f"by chance {number(chance)}"]
    return {
        "name": name,
        "meaning": "; ".join(part for part in said if part),
        "direction": entry["settings"].get("direction", DIRECTIONS[entry["higher_is_better"]]),
        "value": number(entry["value"]),
        "error": None if error is None else number(error),
        "interval": ("–" if ends is None else f"{number(ends[0])} to {number(ends[1])}")
        + significance(entry["settings"]),
        "over": entry.get("ci95_over") or ("–" if ends is None else "not stated"),
        "n": f"{entry['n']:,}",
        "reason": entry.get("ci95_reason"),
        "settings": _json(entry["settings"]),
        "is_floor": name.endswith(("_floor", "_real", "_real_all")),
    }


def significance(stated: Mapping[str, Any]) -> str:
    """The p-value behind an interval, and where several differences were tested at once, what Holm's correction makes.

    >>> significance({"p_value": 0.02, "p_value_holm": 0.08, "tests": 4}), significance({})
    (', p = 0.0200 (0.0800 by Holm, 4 tests)', '')
    """
    if "p_value" not in stated:
        return ""
    corrected = stated.get("p_value_holm")
    more = "" if corrected is None else f" ({number(corrected)} by Holm, {stated['tests']} tests)"
    return f", p = {number(stated['p_value'])}{more}"


# Endings of what real images score, beside the metric that they belong to.
REAL = ("_floor", "_real", "_of_real", "_real_all")


def beside(names: Collection[str]) -> dict[str, str]:
    """Metrics of real images, and by which metric each stands; those that belong to none are left out.

    >>> beside(["fid_x", "fid_x_floor", "adherence_side_texts", "adherence_side_real_all", "a_real"])
    {'fid_x_floor': 'fid_x', 'adherence_side_real_all': 'adherence_side_texts'}
    """
    found = {}
    for name in names:
        end = next((end for end in sorted(REAL, key=len, reverse=True) if name.endswith(end)), None)
        # real images of any finding are measured as those generated from whole reports are
        base = name.removesuffix(end or "") + ("_texts" if end == "_real_all" else "")
        if end and base in names:
            found[name] = base
    return found


def number(value: float) -> str:
    """Four decimals below 10 and four digits above; an exponent only where decimals would show nothing.

    >>> number(0.93456), number(126.04), number(12), number(0.00000123), number(-1234.5)
    ('0.9346', '126.0', '12', '1.23e-06', '-1,234')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 1e-4:
        return f"{value:.2e}"
    whole = len(str(int(abs(value))))
    return f"{value:,.{max(4 - whole, 0) if whole > 1 else 4}f}"


def cell(entry: Mapping[str, Any] | None) -> str:
    """A table's cell: the value with its standard error or its interval, where it has one; a dash for nothing.

    >>> cell({"value": 0.5, "ci95": [0.25, 0.75], "settings": {}}), cell(None)
    ('0.5000 (0.2500 to 0.7500)', '–')
    """
    if entry is None:
        return "–"
    error = entry.get("standard_error", entry.get("settings", {}).get("standard_error"))
    if error is not None:
        return f"{number(entry['value'])} ± {number(error)}"
    ends = entry["ci95"]
    return number(entry["value"]) + (f" ({number(ends[0])} to {number(ends[1])})" if ends else "")


def meaning(name: str, difference: str | None = None) -> str:
    """A metric's plain meaning; `difference` says what one of two bundles is, where it is none of a floor.

    >>> meaning("kid_efficientnet_lite0_difference")
    'kernel distance of features, generated (or reconstructed) against real; above the floor'
    >>> meaning("auroc_mean_difference", "first less second")
    'the same as a mean over the findings; first less second'
    >>> meaning("auroc_mean_age_65_and_older_real")
    'the same as a mean over the findings; age: 65 and older; the same on real images'
    """
    if name in MEANINGS:
        return MEANINGS[name]
    start = max((key for key in MEANINGS if name.startswith(key)), key=len, default=None)
    end = max((key for key in VARIANTS if name.endswith(key)), key=len, default=None)
    group = re.search(rf"^(?:kid|auroc)_\w+?_({'|'.join(GROUPS)})_(\w+?)(?:_real)?$", name)
    of = f"{group[1]}: {group[2].replace('_', ' ')}" if group else ""
    parts = [MEANINGS.get(start or "", ""), of, difference or VARIANTS.get(end or "", "")]
    return "; ".join(part for part in parts if part)


def print_table(content: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the table to the terminal; a narrow one folds names and intervals, and cuts nothing."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, TABLE_WIDTH)  # rich would take 80 columns
    narrow = console.width < TABLE_WIDTH
    table = Table(title_justify="left", expand=False, box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD)
    table.add_column("metric", overflow="fold")  # names are folded before numbers are
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=not narrow)
    table.add_column("n", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("direction")
    for row in rows(content):
        value = row["value"] + (f" ± {row['error']}" if row["error"] else "")
        cells = [row["name"], value, row["interval"], row["n"], row["direction"]]
        table.add_row(*cells[: len(table.columns)])
    console.print(table)
    for line in over_lines(content):
        console.print(line, highlight=False)


def over_lines(content: Mapping[str, Any]) -> list[str]:
    """What the intervals of a table are over, that of the most of them last.

    >>> ends = {"ci95": [0, 1], "value": 0.5, "n": 9, "higher_is_better": True, "settings": {}}
    >>> over_lines({name: ends | {"ci95_over": over} for name, over in zip("abc", ("images", "seeds", "seeds"))})
    ['intervals over images: a', 'all other intervals over seeds']
    """
    groups: dict[str, list[str]] = {}
    for row in rows(content):
        if row["over"] != "–":
            groups.setdefault(row["over"], []).append(row["name"])
    if not groups:
        return []
    *fewer, most = sorted(groups, key=lambda over: len(groups[over]))
    lines = [f"intervals over {over}: {', '.join(groups[over])}" for over in fewer]
    return [*lines, f"all {'other ' if lines else ''}intervals over {most}"]


def title(content: Mapping[str, Any]) -> str:
    """Heading of a report, from its run.

    >>> title({"run": {"stage": "ldm", "data": {"name": "phantom"}}})
    'Evaluation of ldm on phantom'
    """
    run = content["run"]
    data = run.get("data")
    name = data.get("name") if isinstance(data, Mapping) else data
    return "Evaluation" + (f" of {run['stage']}" if run.get("stage") else "") + (f" on {name}" if name else "")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def plain(value: Any) -> str:
    """A value of the "run" entry as text: words as they are, all else as JSON."""
    return value if isinstance(value, str) else _json(value)
