"""Before and after in one place, parted by a line that moves: an input of type range, so that keys move it as well."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image

PAGE = """
<style>
  body {{ margin: 0; font: 14px system-ui, sans-serif; color: #888; }}
  .frame {{ position: relative; max-width: {width}px; }}
  .frame img {{ display: block; width: 100%; height: auto; }}
  .frame img + img {{ position: absolute; inset: 0; clip-path: inset(0 0 0 var(--at)); }}
  .line {{ position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px; background: #1e90ff;
    pointer-events: none; }}
  .frame input {{ position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }}
  .frame:focus-within {{ outline: 3px solid #1e90ff; }}
  .names {{ display: flex; justify-content: space-between; max-width: {width}px; padding: 4px 0; }}
</style>
<div class="frame" style="--at: 50%">
  <img alt="{first}" src="{before}" {size}><img alt="{second}" src="{after}" {size}><div class="line"></div>
  <input type="range" min="0" max="100" value="50" aria-label="divider between {first} and {second}"
    oninput="this.parentElement.style.setProperty('--at', this.value + '%')">
</div>
<div class="names"><span>{first}</span><span>{second}</span></div>
"""


def divider(before: np.ndarray, after: np.ndarray, first: str, second: str) -> str:
    """HTML of two uint8 pictures `[H,W]` of one size; `first` and `second` are our own words, not the user's."""
    # with its size stated, a picture has its place before it is decoded, and the frame around it the right height
    return PAGE.format(
        width=min(before.shape[1], 512),
        size=f'width="{before.shape[1]}" height="{before.shape[0]}"',
        before=embedded(before),
        after=embedded(after),
        first=first,
        second=second,
    )


def embedded(picture: np.ndarray) -> str:
    """A uint8 picture as a data URL."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
