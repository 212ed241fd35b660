"""Indiana University chest X-rays (Open-i), as published (PNG and XML) or in the Kaggle edition (PNG and two CSVs)."""

import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from cxr_ldm.data.images import MISSING, is_missing, read_grey
from cxr_ldm.data.manifest import Record, Rejected, View, require_root
from cxr_ldm.data.table import read_csv
from cxr_ldm.errors import UserError

SECTIONS = ("comparison", "indication", "findings", "impression")
XML_FOLDER, XML_ARCHIVE = "ecgen-radiology", "NLMCXR_reports.tgz"
REPORTS_CSV, PROJECTIONS_CSV = "indiana_reports.csv", "indiana_projections.csv"
IMAGE_FOLDERS = ("NLMCXR_png", "images/images_normalized")
# CXR1_IM-0001-4001, CXR1_1_IM-0001-4001 (two images are named so) and 1_IM-0001-4001.dcm all name the same image.
IMAGE_NAME = re.compile(r"(?:CXR)?(\d+)(?:_\d+)?_(IM-[\d-]+)(?:\.dcm)?")
FRONTAL: dict[str, View] = {"frontal": "frontal", "lateral": "lateral"}


def image_key(name: str) -> str | None:
    """One id for an image in either edition, from its name without `.png`; None for a name of neither.

    >>> image_key("1_IM-0001-4001.dcm"), image_key("CXR1_1_IM-0001-4001"), image_key("scan7")
    ('CXR1_IM-0001-4001', 'CXR1_IM-0001-4001', None)
    """
    match = IMAGE_NAME.fullmatch(name)
    return f"CXR{match[1]}_{match[2]}" if match else None


def clean(section: str) -> str:
    """Report text without its de-identification marks, whitespace folded.

    A word joined to a mark goes with it, but for "x-XXXX", which was "x-ray" before the name Ray was removed.

    >>> clean("Normal chest x-XXXX.  XXXX-year-old with XXXX XXXX, clear lungs .")
    'Normal chest x-ray. with, clear lungs.'
    """
    text = re.sub(r"\bx-XXXX\b", "x-ray", section, flags=re.IGNORECASE)
    text = re.sub(r"[\w'/-]*X{4,}[\w'/-]*", " ", text)
    text = re.sub(r"\s+([.,;:)])", r"\1", " ".join(text.split()))
    text = re.sub(r"([.,;:])[.,;:]+", r"\1", text)
    return text if re.search(r"\w", text) else ""


@dataclass
class Report:
    """One report: its number, its sections by name, the classes of its coder, and the ids of its images."""

    uid: str
    sections: dict[str, str]
    labels: list[str]
    images: list[str] = field(default_factory=list)


class OpenIReader:
    """Open-i in either layout; one report is one patient, since the collection has one report of each.

    - `xml`: `ecgen-radiology/*.xml` or `NLMCXR_reports.tgz`, with the images in `NLMCXR_png/`;
    - `csv`: `indiana_reports.csv` and `indiana_projections.csv`, with the images in `images/images_normalized/`.

    Frontal or lateral comes from `indiana_projections.csv`, also beside the XML, which does not say it.

    Args:
        root: folder that holds the reports and the image folder.
        sections: sections that make the text, in this order; a report that lacks one is rejected.
        frontal_only: reject lateral images, and those of which nothing says what they are.
        layout: "auto" takes the XML where there is any.
    """

    def __init__(
        self,
        root: str | Path,
        sections: Sequence[str] = ("findings", "impression"),
        frontal_only: bool = True,
        layout: Literal["auto", "xml", "csv"] = "auto",
    ):
        self.root, self.sections, self.frontal_only, self.layout = Path(root), list(sections), frontal_only, layout

    def settings(self) -> dict[str, Any]:
        """Every argument but the root."""
        names = ("sections", "frontal_only", "layout")
        return {"reader": "openi", **{name: getattr(self, name) for name in names}}

    def files(self) -> list[Path]:
        """Reports, tables and images that are there."""
        require_root(self.root)
        tables = [self.root / name for name in (XML_ARCHIVE, REPORTS_CSV, PROJECTIONS_CSV)]
        xml = sorted((self.root / XML_FOLDER).glob("*.xml"))
        return [*filter(Path.is_file, tables), *xml, *self._images().values()]

    def records(self) -> Iterator[Record | Rejected]:
        """One for each image that a report or the projections name, by report number."""
        require_root(self.root)
        unknown = [name for name in self.sections if name not in SECTIONS]
        if unknown or not self.sections:
            raise UserError(f"data.reader.sections={self.sections} must be one or more of {', '.join(SECTIONS)}.")
        views, images = self._views(), self._images()
        for report in self._reports(views):
            if isinstance(report, Rejected):
                yield report
                continue
            if not report.images:
                yield Rejected(f"CXR{report.uid}", "report names no image")
            for image in report.images:
                yield self._record(report, image, views.get(image), images)

    def _record(self, report: Report, image: str, view: View | None, images: dict[str, Path]) -> Record | Rejected:
        if self.frontal_only and view != "frontal":
            return Rejected(image, "lateral" if view == "lateral" else "view unknown")
        sections = {name: clean(report.sections.get(name, "")) for name in self.sections}
        lacking = [name for name, text in sections.items() if not text]
        if lacking:
            return Rejected(image, f"report has no {' and no '.join(lacking)}")
        path = images.get(image, self._image_folder() / f"{image}.png")
        if is_missing(path):
            return Rejected(image, MISSING)
        return Record(
            image_id=image,
            study_id=f"CXR{report.uid}",
            patient_id=report.uid,
            view=view,
            text=" ".join(sections.values()),
            labels=report.labels,
            findings=None,
            source="openi",
            load=partial(read_grey, path),
        )

    def _image_folder(self) -> Path:
        """The first image folder that exists, or else the published one."""
        folders = [self.root / name for name in IMAGE_FOLDERS]
        return next(filter(Path.is_dir, folders), folders[0])

    def _images(self) -> dict[str, Path]:
        """Image id → path."""
        paths = sorted(self._image_folder().glob("*.png"))
        return {key: path for path in paths if (key := image_key(path.stem))}

    def _views(self) -> dict[str, View | None]:
        """Image id → view, empty where there is no projections table."""
        table = self.root / PROJECTIONS_CSV
        rows = read_csv(table, ["uid", "filename", "projection"]) if table.is_file() else []
        views = {row["filename"].removesuffix(".png"): FRONTAL.get(row["projection"].lower()) for row in rows}
        return {key: view for name, view in views.items() if (key := image_key(name))}

    def _reports(self, views: dict[str, View | None]) -> Iterator[Report | Rejected]:
        has_xml = (self.root / XML_FOLDER).is_dir() or (self.root / XML_ARCHIVE).is_file()
        has_csv = (self.root / REPORTS_CSV).is_file()
        if self.layout not in ("auto", "xml", "csv"):
            raise UserError(f"data.reader.layout={self.layout} is unknown; use auto, xml or csv.")
        if has_xml and self.layout != "csv":
            return _xml_reports(self.root)
        if has_csv and self.layout != "xml":
            return _csv_reports(self.root, views)
        raise UserError(
            f"{self.root} holds no Open-i reports in layout {self.layout}; expected {XML_FOLDER}/*.xml or "
            f"{XML_ARCHIVE} (xml), or {REPORTS_CSV} and {PROJECTIONS_CSV} (csv)."
        )


def _csv_reports(root: Path, views: dict[str, View | None]) -> Iterator[Report | Rejected]:
    rows = read_csv(root / REPORTS_CSV, ["uid", "Problems", *SECTIONS])
    reports = {
        row["uid"]: Report(
            row["uid"],
            {name: row[name] for name in SECTIONS},
            _unique(row["Problems"].split(";")),
        )
        for row in rows
    }
    orphans: list[str] = []
    for image in views:
        uid = image.removeprefix("CXR").split("_")[0]
        (reports[uid].images if uid in reports else orphans).append(image)
    yield from reports.values()
    yield from (Rejected(image, "no report") for image in orphans)


def _xml_reports(root: Path) -> Iterator[Report | Rejected]:
    """Reports of the folder, or else of the archive, by number."""
    documents = dict(_xml_documents(root))
    for name in sorted(documents, key=lambda name: (len(name), name)):
        try:
            tree = ElementTree.fromstring(documents[name], forbid_dtd=True)
        except (ParseError, DefusedXmlException, ValueError, LookupError):  # LookupError: an encoding nobody knows
            yield Rejected(f"CXR{name}", "report is not readable XML")
            continue
        yield _xml_report(name, tree)


def _xml_documents(root: Path) -> Iterator[tuple[str, bytes]]:
    if (root / XML_FOLDER).is_dir():
        yield from ((path.stem, path.read_bytes()) for path in (root / XML_FOLDER).glob("*.xml"))
        return
    try:
        with tarfile.open(root / XML_ARCHIVE) as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file and member.name.endswith(".xml"):
                    yield Path(member.name).stem, file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{root / XML_ARCHIVE} is not a complete archive ({error}); fetch it again.") from None


def _xml_report(uid: str, tree: Element) -> Report:
    sections = {node.get("Label", "").lower(): "".join(node.itertext()) for node in tree.iter("AbstractText")}
    # "Pleural Effusion/left/moderate": the heading alone is the class, as in the column Problems of the Kaggle edition.
    headings = _unique([(node.text or "").split("/")[0] for node in tree.iter("major")])
    names = [node.get("id", "") for node in tree.iter("parentImage")]
    images = [image_key(name) or name for name in names]
    return Report(uid, sections, headings, images)


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, map(str.strip, names))))
