"""Small pictures that are chosen by a click on them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st

from cxr_ldm.app.divider import embedded

HTML = '<div class="strip"></div>'
CSS = """
.strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--side), 1fr)); gap: .5rem; }
.strip.line { display: flex; overflow-x: auto; padding-bottom: .3rem; }
.strip.line button { flex: 0 0 var(--side); }
button { padding: 0; border: 2px solid transparent; background: transparent; cursor: pointer; text-align: left;
  min-width: 0; }
button:hover, button:focus-visible, button[aria-current=true] { border-color: var(--st-primary-color); outline: none; }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: #000; }
small { display: block; font: 12px system-ui, sans-serif; color: var(--st-text-color); padding: .2rem; opacity: .8;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
"""
JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const strip = parentElement.querySelector(".strip");
  strip.classList.toggle("line", data.line);
  strip.style.setProperty("--side", `${data.side}px`);
  strip.replaceChildren(...data.pictures.map((picture, number) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: picture.title });
    const image = Object.assign(document.createElement("img"), { alt: picture.title, src: picture.src });
    const caption = Object.assign(document.createElement("small"), { textContent: picture.caption });
    button.setAttribute("aria-current", number === data.chosen);
    button.append(image, caption);
    button.onclick = () => setTriggerValue("clicked", number);
    return button;
  }));
}
"""

_component = st.components.v2.component("cxr_ldm_gallery", html=HTML, css=CSS, js=JS)


def gallery(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    key: str,
    titles: Sequence[str] | None = None,
    chosen: int | None = None,
    line: bool = False,
    side: int = 120,
    on_click: Callable[[int], None] | None = None,
) -> int | None:
    """Show pictures that can be clicked.

    Args:
        pictures: uint8 `[H,W]`.
        captions: below each, cut to its width.
        key: of the place on the page.
        titles: what is said of each in full; None says the captions.
        chosen: number of the one that is marked.
        line: one line that scrolls sideways, in place of as many lines as are needed.
        side: of a picture on the screen in pixels, at least.
        on_click: called with the number of the clicked picture before the page is made anew.

    Returns:
        The number of the picture that was just clicked, or None.
    """
    told = zip(pictures, captions, titles or captions, strict=True)
    shown = [{"src": embedded(each), "caption": caption, "title": title} for each, caption, title in told]

    def called() -> None:
        number = number_of(st.session_state.get(key), len(shown))
        if on_click is not None and number is not None:
            on_click(number)

    data = {"pictures": shown, "chosen": chosen, "line": line, "side": side}
    return number_of(_component(data=data, key=key, height="content", on_clicked_change=called), len(shown))


def number_of(result: Any, count: int) -> int | None:
    """The number in what a browser sent; None where that is none of `count` pictures."""
    number = getattr(result, "clicked", None)
    return number if type(number) is int and 0 <= number < count else None
