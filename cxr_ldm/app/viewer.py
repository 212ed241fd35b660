"""Pictures as a reader of radiographs looks at them: grey window by dragging, zoom, a ruler, a histogram, R and L."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from cxr_ldm.app.divider import embedded

HTML = """
<div class="bar" role="toolbar" aria-label="viewer">
  <button type="button" data-tool="window" title="Drag: sideways contrast, up and down brightness">Window</button>
  <button type="button" data-tool="move" title="Drag to move, wheel or + and - to zoom">Move</button>
  <button type="button" data-tool="ruler" title="Drag to measure in pixels of the image">Ruler</button>
  <button type="button" data-switch="inverted" title="White on black, or black on white">Invert</button>
  <button type="button" data-switch="histogram" title="How often each grey level occurs">Histogram</button>
  <button type="button" data-do="reset">Reset</button>
</div>
<div class="grid"></div>
"""

HERE = Path(__file__).parent
_component = st.components.v2.component(
    "cxr_ldm_viewer",
    html=HTML,
    css=(HERE / "viewer.css").read_text(encoding="utf-8"),
    js=(HERE / "viewer.js").read_text(encoding="utf-8"),
)


def viewer(pictures: Sequence[np.ndarray], captions: Sequence[str], key: str, columns: int = 2) -> None:
    """Show radiographs side by side; window, zoom and tool are those of all of them.

    Args:
        pictures: uint8 `[H,W]` in standard display, the patient's right at the left.
        captions: of each.
        key: of the place on the page.
        columns: pictures in a line.
    """
    shown = [{"src": embedded(each), "caption": said} for each, said in zip(pictures, captions, strict=True)]
    _component(data={"pictures": shown, "columns": min(columns, len(shown))}, key=key, height="content")
