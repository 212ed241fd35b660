"""A server with an output folder of its own."""

import os
from pathlib import Path

import pytest

from cxr_ldm.benchmark.browser import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory, command):
    """The page's address; it has phantoms to explore, and the package's own model.

    The server ends with the file of tests, for it takes a gigabyte.
    """
    folder = tmp_path_factory.mktemp("outputs")
    command("-m", "cxr_ldm.prepare", "data=phantom", "data.reader.n=120", f"paths.outputs={folder}", "name=phantoms")
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """Where pictures of the pages go: the folder that CXR_LDM_SCREENSHOTS names, else a scratch one."""
    return Path(os.environ.get("CXR_LDM_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """A failed test says what stood on the page, since no picture of it comes back from elsewhere."""
    report = yield
    if report.when == "call" and report.failed and "visit" in item.funcargs:
        report.sections.append(("the page", item.funcargs["visit"][0].locator("body").inner_text()))
    return report
