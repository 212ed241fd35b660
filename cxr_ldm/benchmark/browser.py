"""The page as a visitor meets it: its server in a process of its own, and a browser without a window."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cxr_ldm.app
from cxr_ldm.errors import UserError

MAIN = Path(cxr_ldm.app.__file__).parent / "main.py"
STARTS_WITHIN = 120  # seconds


@contextmanager
def serving(outputs: Path) -> Iterator[str]:
    """Run the page with the output folder `outputs`; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(MAIN), f"--server.port={port}"],
        cwd=outputs,  # not the project: the page's settings are found beside the script
        env=os.environ | {"CXR_LDM_OUTPUTS": str(outputs.resolve())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait(process, f"{address}/_stcore/health")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def wait(process: subprocess.Popen, address: str) -> None:
    """Until the server answers; raises RuntimeError where it ended or does not."""
    for _ in range(5 * STARTS_WITHIN):
        if process.poll() is not None:
            raise RuntimeError(f"the page's server ended with exit code {process.returncode}")
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the page's server did not answer within {STARTS_WITHIN} seconds")


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright.

    Raises:
        UserError: one of the two is missing.
    """
    executable = shutil.which("chromium")
    if executable is None:
        raise UserError("chromium is missing; `apt-get install chromium` brings it.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError('playwright is missing; `pip install -e ".[test]"` brings it.') from None
    with sync_playwright() as playwright:
        # a container's root has no sandbox of its own
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
