"""streamlit run cxr_ldm/app/main.py: the frame around the pages."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # Streamlit puts the script's own folder there
    sys.path.insert(0, str(ROOT))

from cxr_ldm.app.door import admitted  # noqa: E402
from cxr_ldm.app.signing import signer  # noqa: E402
from cxr_ldm.errors import UserError  # noqa: E402

PAGES = {
    "generate": ("Generate", ":material/draw:"),
    "edit": ("Edit", ":material/brush:"),
    "enhance": ("Enhance", ":material/tune:"),
    "dataset": ("Dataset", ":material/grid_view:"),
    "quiz": ("Quiz", ":material/quiz:"),
    "cards": ("Cards", ":material/badge:"),
    "model": ("Model", ":material/account_tree:"),
    "research": ("Research", ":material/science:"),
}

# the prompt and its button stand near the top, and a radiograph has corners
STYLE = """<style>
.stMainBlockContainer { padding-top: 4.5rem; }
[data-testid=stImage] img { border-radius: 0; }
</style>"""
# widgets of a page lose their values when another one is opened; these are kept for the way back
KEPT = ["prompt", "negative", "n", "seed", "locked", "steps", "sampler", "guidance", "model"]
KEPT += ["view", "sex", "age", "enhance", "resolution", "upscale", "watermark"]

# a picture of ours: the browser would fetch a named icon from a host of fonts
st.set_page_config(page_title="cxr_ldm", page_icon=str(Path(__file__).parent / "icon.png"), layout="wide")
st.html(STYLE)
if not admitted():
    st.stop()
for key in KEPT:
    if key in st.session_state:
        st.session_state[key] = st.session_state[key]
pages = [
    st.Page(f"views/{name}.py", title=title, icon=icon, default=name == "generate")
    for name, (title, icon) in PAGES.items()
]
chosen = st.navigation(pages, position="top")
try:
    signer()  # a certificate that is none is said before anyone draws
    chosen.run()
except UserError as error:  # such as an environment that names no model
    st.error(str(error))
