"""Figures that a page offers as files."""

from collections.abc import Sequence
from io import BytesIO

from cxr_ldm.inspection.attention import AttentionMaps


def attention_figure(maps: AttentionMaps, chosen: Sequence[int]) -> bytes:
    """A PNG of the image and of the maps of some words over it, each from its own lowest to its own highest share."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(chosen) + 1)
    rows = -(-(len(chosen) + 1) // columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(2.6 * columns, 2.9 * rows), layout="constrained", squeeze=False
    )
    flat = panels.ravel()
    for panel in flat:
        panel.axis("off")
    picture = maps.image[0].numpy()
    flat[0].imshow(picture, cmap="gray", vmin=-1, vmax=1)
    flat[0].set_title("synthetic image", fontsize=9)
    for panel, index in zip(flat[1 : len(chosen) + 1], chosen, strict=True):
        share = maps.maps[index]
        panel.imshow(picture, cmap="gray", vmin=-1, vmax=1)
        panel.imshow(share.numpy(), cmap="inferno", alpha=0.55, interpolation="bilinear")
        panel.set_title(f"{maps.words[index]}  {float(share.min()):.3f}–{float(share.max()):.3f}", fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Description": "synthetic, not for diagnosis"})
    pyplot.close(figure)
    return buffer.getvalue()
