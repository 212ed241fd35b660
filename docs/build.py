"""The docs site, built strictly into build/site: `make docs`.

Links are written as GitHub reads them, relative to the file that holds them. The site has the pages of docs/ at its
top, the README as its front page, and these rules for what else is linked:

- another Markdown file (DATA.md, a model's card) becomes a page of the site;
- any other file of the repository becomes a page that shows it, below source/, a notebook cell by cell;
- a folder becomes a page that lists its files, each of which is such a page.

A comment behind a command stands above it there, since a screen is narrower than a terminal.

A link that leads to nothing, and whatever Zensical or mkdocstrings warns of, is an error.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
# Code, which stays as it is, or a link, whose text may have code in it.
TOKEN = re.compile(
    r"^```.*?^```|(?P<start>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<to>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)|`[^`\n]+`",
    re.DOTALL | re.MULTILINE,
)
BEHIND = re.compile(r"^(\S.*?) +# (.*)$", re.MULTILINE)
COMPLAINT = re.compile(r"\b(warning|error|critical)\b|^griffe:", re.IGNORECASE)
SHOWN = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "sh", ".cff": "yaml", ".ipynb": "python"}
# Rooms whose docstrings are shown, each a page of the reference; all of them could be used from a notebook.
ROOMS = {
    "Python": ["pipeline", "commands/python", "editing", "bundle", "hub", "artifacts", "register", "ranges", "errors"],
    "Data": ["data", "text"],
    "Networks": ["networks"],
    "Diffusion": ["diffusion"],
    "Training": ["stages", "training", "callbacks"],
    "Evaluation": ["evaluation", "report"],
    "Metrics": ["metrics"],
    "Images": ["imaging", "inspection"],
    "Other formats": ["portable", "as_diffusers", "foreign"],
}


class Site:
    """The pages of one build: repository paths that stand in it, and where."""

    def __init__(self, pages: Path) -> None:
        self.pages = pages
        self.waiting: list[PurePosixPath] = []
        self.written: dict[PurePosixPath, PurePosixPath] = {}

    def place(self, path: PurePosixPath) -> PurePosixPath:
        """Where a file or folder of the repository stands in the site; a new one waits to be written."""
        if path not in self.written:
            self.written[path] = target_of(path)
            self.waiting.append(path)
        return self.written[path]

    def write_all(self) -> None:
        """Write what waits, and what its links lead to."""
        while self.waiting:
            path = self.waiting.pop()
            out = self.pages / self.written[path]
            out.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / path).is_dir():
                out.write_text(self.listing(path), encoding="utf-8")
            elif path.suffix == ".md":
                out.write_text(self.linked(path), encoding="utf-8")
            elif out.suffix == ".md":
                out.write_text(shown(path), encoding="utf-8")
            else:
                shutil.copyfile(ROOT / path, out)

    def linked(self, path: PurePosixPath) -> str:
        """A Markdown file with its links as they are in the site."""
        here = self.written[path].parent

        def moved(token: re.Match[str]) -> str:
            if token[0].startswith(("```sh", "```bash")):
                return BEHIND.sub(r"# \2\n\1", token[0])
            to, anchor = token["to"], token["anchor"] or ""
            if not to or "://" in to or to.startswith("mailto:"):
                return token[0]
            meant = PurePosixPath(os.path.normpath(path.parent / to))
            if not (ROOT / meant).exists():
                sys.exit(f"{path} links to {to}, which does not exist.")
            return f"{token['start']}{os.path.relpath(self.place(meant), here)}{anchor})"

        return TOKEN.sub(moved, (ROOT / path).read_text(encoding="utf-8"))

    def listing(self, folder: PurePosixPath) -> str:
        """A page of the files of a folder."""
        here = self.written[folder].parent
        files = [PurePosixPath(file.relative_to(ROOT)) for file in sorted((ROOT / folder).rglob("*")) if file.is_file()]
        rows = [
            f"- [{file.relative_to(folder)}]({os.path.relpath(self.place(file), here)}){first_words(file)}"
            for file in files
            if file.suffix in {".md", *SHOWN}
        ]
        return "\n".join([f"# {folder}", "", *rows, ""])


def first_words(path: PurePosixPath) -> str:
    """The first sentence of what a file says of itself, in a comment, a docstring or a heading."""
    lines = [line for line in (ROOT / path).read_text(encoding="utf-8").splitlines() if "@package" not in line]
    said = " ".join(line[2:] for line in itertools.takewhile(lambda line: line.startswith("# "), lines))
    if lines and lines[0].startswith('"""'):
        said = lines[0].strip('"')
    return f": {said.split('. ')[0].rstrip('.:')}" if said else ""


def target_of(path: PurePosixPath) -> PurePosixPath:
    """The place of a repository path in the site.

    >>> [str(target_of(PurePosixPath(path))) for path in ("README.md", "docs/data.md", "conf/enhance", "train.py")]
    ['index.md', 'data.md', 'source/conf/enhance/index.md', 'source/train.py.md']
    """
    if str(path) == "README.md":
        return PurePosixPath("index.md")
    inside = path.relative_to("docs") if path.is_relative_to("docs") else path
    if (ROOT / path).is_dir():
        return PurePosixPath("source") / path / "index.md"
    if path.suffix == ".md":
        return inside.with_name("card.md") if path.name == "README.md" else inside
    if path.suffix == ".png" and not path.is_relative_to("docs"):
        return PurePosixPath("source") / path
    if path.suffix in SHOWN or not path.is_relative_to("docs"):
        return PurePosixPath("source") / path.with_name(f"{path.name}.md")
    return inside


def shown(path: PurePosixPath) -> str:
    """A page that shows a file as it is."""
    text = (ROOT / path).read_text(encoding="utf-8").rstrip()
    if path.suffix == ".ipynb":
        cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(text)["cells"]]
        blocks = [text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in cells]
        return "\n\n".join([*blocks, f"The notebook is `{path}`.", ""])
    return f"# {path}\n\n````{SHOWN.get(path.suffix, 'text')}\n{text}\n````\n"


def modules(room: str) -> list[str]:
    """The modules of a room, by their address."""
    folder = ROOT / "cxr_ldm" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def reference(title: str, rooms: list[str]) -> str:
    """A page of the docstrings of some rooms."""
    blocks = [f"# {title}", "", *(line for room in rooms for name in modules(room) for line in (f"::: {name}", ""))]
    return "\n".join(blocks)


def write_pages(pages: Path) -> None:
    """All pages of the site as Markdown."""
    shutil.rmtree(pages, ignore_errors=True)
    site = Site(pages)
    for path in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs").glob("*.css"),
    ):
        site.place(PurePosixPath(path.relative_to(ROOT)))
    site.write_all()
    (pages / "reference").mkdir()
    for title, rooms in ROOMS.items():
        name = title.lower().replace(" ", "_")
        (pages / "reference" / f"{name}.md").write_text(reference(title, rooms), encoding="utf-8")


def run_strictly(folder: Path) -> None:
    """Run Zensical on the settings in a folder, or end with what it complains of.

    It counts its own warnings alone in its strict mode, so what mkdocstrings prints is looked at as well.
    """
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    complaints = [line for line in done.stdout.splitlines() if COMPLAINT.search(line)]
    if done.returncode or complaints:
        sys.exit(f"{done.stdout}\nThe docs were not built: {complaints or done.returncode}")


if __name__ == "__main__":
    write_pages(PAGES)
    run_strictly(ROOT)
    print(ROOT / "build" / "site")
