"""Where the page is, and what holds on all of its pages."""

from pathlib import Path

from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
MAIN = ROOT / "cxr_ldm" / "app" / "main.py"
RUN = "phantom-64-copy"  # the run in the output folder of these tests


def healthy(app: AppTest) -> None:
    """No page ends in a traceback, and each carries the banner."""
    assert not app.exception, app.exception[0].message
    assert "Not for diagnosis" in app.warning[0].value
