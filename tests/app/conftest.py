"""An output folder as a user has one: a small prepared collection, and a model that was trained on it."""

import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import streamlit
from opened import MAIN, RUN, healthy
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from cxr_ldm import artifacts
from cxr_ldm.artifacts import RECORD, read_json
from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import SUMS, write_sums


@pytest.fixture(scope="session")
def made(tmp_path_factory, command) -> Path:
    """Phantoms, and the package's model as if it had been trained on these."""
    folder = tmp_path_factory.mktemp("outputs")
    command("-m", "cxr_ldm.prepare", "data=phantom", "data.reader.n=150", f"paths.outputs={folder}", "name=phantoms")
    bundle = folder / "ldm" / RUN / "bundle"
    shutil.copytree(DEMO, bundle)
    config = read_json(bundle / "config.json")
    config["info"]["data"]["fingerprint"] = read_json(folder / "prepared" / "phantoms" / RECORD)["fingerprint"]
    (bundle / "config.json").write_text(json.dumps(config))
    (bundle / SUMS).unlink()
    write_sums(bundle)
    artifacts.write_record(bundle.parent, {}, complete=True, data="phantoms", finished="2026-01-01T00:00:00")
    return folder


@pytest.fixture(scope="session", autouse=True)
def scanned_once() -> Iterator[None]:
    """Streamlit reads what each installed package says of itself at the start of a server, and a test starts one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(scope="module", autouse=True)
def unloaded() -> Iterator[None]:
    """The page's models end with the file of tests, as with the server."""
    yield
    streamlit.cache_resource.clear()


@pytest.fixture
def outputs(made, monkeypatch) -> Path:
    """The same folder, as the page sees it."""
    monkeypatch.setenv("CXR_LDM_OUTPUTS", str(made))
    return made


@pytest.fixture
def page(outputs):
    """Open a page as a browser would: through main.py."""

    def open_page(name: str) -> AppTest:
        app = AppTest.from_file(str(MAIN), default_timeout=180).run()
        if name != "generate":
            app.switch_page(f"views/{name}.py").run()
        healthy(app)
        return app

    return open_page
