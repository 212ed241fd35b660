"""Indiana University chest X-rays (Open-i), as published (PNG or DICOM, and XML) or in the Kaggle edition (CSV)."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.reports import (
    REPORTS_CSV,
    SECTIONS,
    SEEN,
    XML_ARCHIVE,
    XML_FOLDER,
    Report,
    csv_reports,
    image_key,
    join_steps,
    xml_reports,
)
from cxr_ldm.data.pixels.dicom import Modality, Voi, check_voi, header_view, is_dicom, load_image
from cxr_ldm.data.pixels.images import MISSING, is_missing
from cxr_ldm.data.prepared.manifest import OUTSIDE, Record, Rejected, inside, require_root
from cxr_ldm.data.prepared.people import View
from cxr_ldm.data.readers.columns import read_csv
from cxr_ldm.data.readers.file_search import matching
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Place

PROJECTIONS_CSV = "indiana_projections.csv"
DICOM_FOLDER, DICOM, PNG = "NLMCXR_dcm", ".dcm", ".png"
IMAGE_FOLDERS = ("NLMCXR_png", "images/images_normalized", DICOM_FOLDER)
FRONTAL: dict[str, View] = {"frontal": "frontal", "lateral": "lateral"}


class OpenIReader:
    """Open-i in either layout; one report is one patient, since the collection has one report of each.

    - `xml`: `ecgen-radiology/*.xml` or `NLMCXR_reports.tgz`, with the images in `NLMCXR_png/` or, in folders of any
      depth, `NLMCXR_dcm/`;
    - `csv`: `indiana_reports.csv` and `indiana_projections.csv`, with the images in `images/images_normalized/`.

    Frontal or lateral comes from `indiana_projections.csv`, also beside the XML, which does not say it; for DICOM files
    that the table leaves out, from their headers.

    Args:
        root: folder that holds the reports and the image folder.
        sections: sections that make the text, in this order; a report that lacks one is rejected.
        frontal_only: reject lateral images, and those of which nothing says what they are.
        layout: "auto" takes the XML where there is any.
        voi: window of a DICOM file, see `read_dicom`.
        modality: "assume" takes a DICOM file that does not say what it is for a radiograph, see `read_dicom`.
    """

    def __init__(
        self,
        root: Place,
        sections: Sequence[str] = ("findings", "impression"),
        frontal_only: bool = True,
        layout: Literal["auto", "xml", "csv"] = "auto",
        voi: Voi = 0,
        modality: Modality = "stated",
    ):
        check_voi(voi, modality)
        self.root, self.sections, self.frontal_only, self.layout = Path(root), list(sections), frontal_only, layout
        self.voi, self.modality = voi, modality

    def settings(self) -> dict[str, Any]:
        """Every argument but the root."""
        names = ("sections", "frontal_only", "layout", "voi")
        # with the usual modality, the settings, and so the fingerprint, that there were before the option
        changed = {"modality": self.modality} if self.modality != "stated" else {}
        return {"reader": "openi", **{name: getattr(self, name) for name in names}, **changed}

    def files(self) -> list[Path]:
        """Reports, tables and images that are there."""
        require_root(self.root)
        tables = [self.root / name for name in (XML_ARCHIVE, REPORTS_CSV, PROJECTIONS_CSV)]
        xml = sorted((self.root / XML_FOLDER).glob("*.xml"))
        return [*filter(Path.is_file, tables), *xml, *self._images().values()]

    def records(self) -> Iterator[Record | Rejected]:
        """One for each image that a report or the projections name, by report number."""
        images = self._images()
        views = self._views(images)
        for report in self.reports():
            if isinstance(report, Rejected):
                yield report
                continue
            if not report.images:
                yield Rejected(f"CXR{report.uid}", "report names no image")
            for image in report.images:
                yield self._record(report, image, views.get(image), images)

    def reports(self) -> Iterator[Report | Rejected]:
        """Every report by its number, and what is no readable report."""
        require_root(self.root)
        unknown = [name for name in self.sections if name not in SECTIONS]
        if unknown or not self.sections:
            raise UserError(f"data.reader.sections={self.sections} must be one or more of {', '.join(SECTIONS)}.")
        has_xml = (self.root / XML_FOLDER).is_dir() or (self.root / XML_ARCHIVE).is_file()
        has_csv = (self.root / REPORTS_CSV).is_file()
        if self.layout not in ("auto", "xml", "csv"):
            raise UserError(f"data.reader.layout={self.layout} is unknown; use auto, xml or csv.")
        if has_xml and self.layout != "csv":
            return xml_reports(self.root)
        if has_csv and self.layout != "xml":
            return csv_reports(self.root, list(self._projections()))
        raise UserError(
            f"{self.root} holds no Open-i reports in layout {self.layout}; expected {XML_FOLDER}/*.xml or "
            f"{XML_ARCHIVE} (xml), or {REPORTS_CSV} and {PROJECTIONS_CSV} (csv)."
        )

    def steps(self) -> dict[str, Any]:
        """What each step of the join leaves, and what cleaning removed from the chosen sections of all reports."""
        reports = [report for report in self.reports() if isinstance(report, Report)]
        removed: Counter[str] = Counter()
        for report in reports:
            report.cleaned(self.sections, removed)
        return {
            **join_steps(reports, self._views(self._images()), self.sections, self.frontal_only),
            "removed": dict(removed),
        }

    def _record(self, report: Report, image: str, view: View | None, images: dict[str, Path]) -> Record | Rejected:
        if self.frontal_only and view in (None, "lateral"):
            return Rejected(image, "lateral" if view == "lateral" else "view unknown")
        sections = report.cleaned(self.sections)
        lacking = [name for name, text in sections.items() if not text]
        if lacking:
            return Rejected(image, f"report has no {' and no '.join(lacking)}")
        path = images.get(image, self._image_folder() / f"{image}.png")
        if not inside(self.root, path):
            return Rejected(image, OUTSIDE)
        if is_missing(path):
            return Rejected(image, MISSING, str(path))
        return Record(
            image_id=image,
            study_id=f"CXR{report.uid}",
            patient_id=report.uid,
            view=view,
            text=" ".join(sections.values()),
            labels=report.labels,
            findings=read_findings(" ".join(text for name, text in sections.items() if name in SEEN)),
            source="openi",
            load=partial(load_image, path, self.voi, self.modality),
            isolate=is_dicom(path),
            path=path,
        )

    def _image_folder(self) -> Path:
        """The first image folder that exists, or else the published one."""
        folders = [self.root / name for name in IMAGE_FOLDERS]
        return next(filter(Path.is_dir, folders), folders[0])

    def _images(self) -> dict[str, Path]:
        """Image id → path."""
        folder = self._image_folder()
        paths = matching(folder, f"**/*{DICOM}" if folder.name == DICOM_FOLDER else f"*{PNG}")
        return {key: path for path in paths if (key := image_key(path.stem))}

    def _views(self, images: dict[str, Path]) -> dict[str, View | None]:
        """Image id → view: by the projections table, and by the DICOM header of images that it leaves out."""
        views = self._projections()
        silent = [
            (image, path) for image, path in images.items() if path.suffix.lower() == DICOM and not views.get(image)
        ]
        return views | {image: header_view(path) for image, path in silent}

    def _projections(self) -> dict[str, View | None]:
        """Image id → view by the projections table, empty where there is none."""
        table = self.root / PROJECTIONS_CSV
        rows = read_csv(table, ["uid", "filename", "projection"]) if table.is_file() else []
        views = {
            re.sub(r"\.png$", "", row["filename"], flags=re.I): FRONTAL.get(row["projection"].lower()) for row in rows
        }
        return {key: view for name, view in views.items() if (key := image_key(name))}
