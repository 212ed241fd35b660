"""A brush over a picture, whose strokes are the hole that is drawn anew: a canvas, moved by mouse, pen or finger."""

import base64
import binascii
from io import BytesIO
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from cxr_ldm.app.divider import embedded

LONGEST = 4 * 2**20  # letters of a mask that a browser may send
PREFIX = "data:image/png;base64,"
HTML = """
<div class="frame"><img alt="the image to paint on" draggable="false"><canvas aria-label="brush"></canvas></div>
<div class="row"><label>Brush <input type="range" min="2" max="30" value="10" aria-label="width of the brush"></label>
<button type="button">Clear</button></div>
"""
CSS = """
.frame { position: relative; max-width: 512px; touch-action: none; }
.frame img { display: block; width: 100%; user-select: none; }
.frame canvas { position: absolute; inset: 0; width: 100%; height: 100%; opacity: .55; cursor: crosshair; }
.row { display: flex; gap: 1rem; align-items: center; padding: .4rem 0; font: 14px system-ui, sans-serif; }
.row, .row label { color: var(--st-text-color); }
"""
# a picture that changes starts a clean canvas; the same one keeps its strokes, since Streamlit calls this at each rerun
JS = """
export default function ({ data, parentElement, setStateValue }) {
  const image = parentElement.querySelector("img"), canvas = parentElement.querySelector("canvas");
  const width = parentElement.querySelector("input"), clear = parentElement.querySelector("button");
  if (image.dataset.of !== data.image) {
    if (image.dataset.of) setStateValue("mask", null);  // strokes of another picture
    image.dataset.of = image.src = data.image;
    canvas.width = canvas.height = data.side;
  }
  const pen = canvas.getContext("2d");
  const place = (event) => {
    const frame = canvas.getBoundingClientRect();
    const scale = data.side / frame.width;
    return [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
  };
  let last = null;
  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    canvas.onpointermove(event);
  };
  canvas.onpointermove = (event) => {
    if (!last) return;
    const next = place(event);
    pen.lineWidth = width.value / 100 * data.side; pen.lineCap = "round"; pen.strokeStyle = "#ff4b4b";
    pen.beginPath(); pen.moveTo(...last); pen.lineTo(next[0] + 0.01, next[1]); pen.stroke();
    last = next;
  };
  canvas.onpointerup = canvas.onpointercancel = () => {
    if (last) setStateValue("mask", canvas.toDataURL("image/png"));
    last = null;
  };
  clear.onclick = () => { pen.clearRect(0, 0, data.side, data.side); setStateValue("mask", null); };
}
"""

_component = st.components.v2.component("cxr_ldm_brush", html=HTML, css=CSS, js=JS)


def brush(picture: np.ndarray, side: int, key: str) -> np.ndarray | None:
    """Let the visitor paint on a picture.

    Args:
        picture: uint8 `[H,W]` for the screen.
        side: of the mask in pixels.

    Returns:
        255 where there is paint, uint8 `[side,side]`; None where there is none.
    """
    result = _component(data={"image": embedded(picture), "side": side}, key=key, on_mask_change=lambda: None)
    return mask_of(getattr(result, "mask", None), side)


def mask_of(sent: Any, side: int) -> np.ndarray | None:
    """The mask in what a browser sent; None where that is no painted PNG of this size.

    >>> mask_of("data:image/png;base64,xyz", 8) is None
    True
    """
    if not isinstance(sent, str) or not sent.startswith(PREFIX) or len(sent) > LONGEST:
        return None
    try:
        image = Image.open(BytesIO(base64.b64decode(sent.removeprefix(PREFIX), validate=True)), formats=("PNG",))
        if image.size != (side, side):
            return None
        paint = np.asarray(image.convert("RGBA"))[..., 3] > 0
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # as of a broken PNG
        return None
    return np.where(paint, 255, 0).astype(np.uint8) if paint.any() else None
