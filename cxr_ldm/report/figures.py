"""The pictures of a report that are drawn from its numbers."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from cxr_ldm.evaluation.curves import points

AXES = {"guidance": "guidance scale", "steps": "sampling steps"}
# What a curve is worth showing for, by the beginning of its name, with its axis label.
SHOWN = {
    "kid_": "KID (lower is better)",
    "adherence_finding": "finding as prompted",
    "adherence_side": "side as prompted",
    "auroc_mean": "mean AUROC by prompt",
    "seconds_per_image": "seconds for an image",
}


def curve_figure(content: Mapping[str, Any], axis: str) -> bytes | None:
    """An SVG of the curves of a metrics.json along `axis` with their 95 % intervals; None where it has none."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = points(content, axis)
    shown = [(label, found[name]) for name, label in _chosen(found)]
    if not shown:
        return None
    with matplotlib.rc_context({"svg.hashsalt": "cxr_ldm", "font.size": 10, "axes.spines.top": False}):
        figure, panels = pyplot.subplots(1, len(shown), figsize=(3.4 * len(shown), 2.8), layout="constrained")
        for panel, (label, each) in zip(panels if len(shown) > 1 else [panels], shown, strict=True):
            _panel(panel, each)
            panel.set(xlabel=AXES[axis], title=label)
            panel.spines["right"].set_visible(False)
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    return buffer.getvalue()


def _chosen(found: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return [(name, label) for start, label in SHOWN.items() for name in found if name.startswith(start)]


def _panel(panel: Any, each: Sequence[tuple[float, Mapping[str, Any]]]) -> None:
    x, y = [setting for setting, _ in each], [entry["value"] for _, entry in each]
    panel.plot(x, y, marker="o", color="#1668b8")
    ends = [entry["ci95"] for _, entry in each]
    if all(ends):
        panel.fill_between(x, [low for low, _ in ends], [high for _, high in ends], color="#1668b8", alpha=0.18, lw=0)
    panel.grid(alpha=0.3)
