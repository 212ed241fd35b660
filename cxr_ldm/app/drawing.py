"""The architecture of a model as a graph in DOT, from its blocks as they ran."""

from collections.abc import Sequence
from itertools import pairwise

from cxr_ldm.inspection.layers import Layer

GREY = "#808080"  # legible on light and on dark
ATTENDS = "#1e90ff"


def architecture(layers: Sequence[Layer], latent: tuple[int, int, int]) -> str:
    """A cluster for each part with its blocks in order; blue are the blocks that look at the text.

    >>> print(architecture([Layer("network", "conv_in", "Conv2d", (4, 8, 8), 10, False)], (4, 8, 8)).count("->"))
    0
    """
    lines = [
        "digraph {",
        f'rankdir=TB; bgcolor="transparent"; fontcolor="{GREY}"; fontname="sans-serif"; color="{GREY}";',
        f'node [shape=box, style=rounded, color="{GREY}", fontcolor="{GREY}", fontname="sans-serif", fontsize=11];',
        f'edge [color="{GREY}", fontcolor="{GREY}", fontname="sans-serif", fontsize=10];',
    ]
    ends: dict[str, tuple[str, str]] = {}
    for number, part in enumerate(dict.fromkeys(layer.part for layer in layers)):
        names = []
        lines.append(f'subgraph cluster_{number} {{ label="{part}"; style=dashed;')
        for index, layer in enumerate(layer for layer in layers if layer.part == part):
            names.append(f"n{number}_{index}")
            shape = [" × ".join(map(str, layer.shape))] if layer.shape else []
            label = "\\n".join([f"{layer.name} ({layer.kind})", *shape, f"{layer.parameters:,} parameters"])
            paint = f', color="{ATTENDS}", penwidth=2' if layer.attends else ""
            lines.append(f'{names[-1]} [label="{label}"{paint}];')
        lines += [f"{one} -> {other};" for one, other in pairwise(names)]
        lines.append("}")
        ends[part] = names[0], names[-1]
    size = " × ".join(map(str, latent))
    for source, target, label in (
        ("text_encoder", "network", "states"),
        ("attributes", "network", "tokens"),
        ("network", "decoder (VAE)", f"latent {size}"),
    ):
        if source in ends and target in ends:
            lines.append(f'{ends[source][1]} -> {ends[target][0]} [label="{label}"];')
    return "\n".join([*lines, "}"])
