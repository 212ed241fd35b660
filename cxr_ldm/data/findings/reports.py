"""Radiology reports of Open-i: parsed from XML or CSV, cut into sections, cleaned with every removal counted."""

import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from cxr_ldm.data.findings.cleaning import clean, stated
from cxr_ldm.data.prepared.manifest import Rejected
from cxr_ldm.data.readers.columns import read_csv
from cxr_ldm.errors import UserError

SECTIONS = ("comparison", "indication", "findings", "impression")
# Sections that say what was seen; the others say what was asked and what there was before.
SEEN = ("findings", "impression")
XML_FOLDER, XML_ARCHIVE = "ecgen-radiology", "NLMCXR_reports.tgz"
REPORTS_CSV = "indiana_reports.csv"
# CXR1_IM-0001-4001, CXR1_1_IM-0001-4001 (two images are named so) and 1_IM-0001-4001.dcm all name the same image.
IMAGE_NAME = re.compile(r"(?:CXR)?(\d+)(?:_\d+)?_(IM-[\d-]+)(?:\.(?:dcm|DCM))?")

# A published report has at most 17 kB; what is far larger is none, and would only cost memory.
LARGEST = 1_000_000


@dataclass
class Report:
    """One report.

    Attributes:
        uid: its number.
        sections: name → text as published.
        labels: headings of its coder, the first word alone: "Pleural Effusion".
        headings: the same in full: "Pleural Effusion/left/moderate".
        images: ids of its images.
    """

    uid: str
    sections: dict[str, str]
    labels: list[str]
    headings: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def cleaned(self, names: Sequence[str], removed: Counter[str] | None = None) -> dict[str, str]:
        """The named sections after `clean`, empty where the report has none; counts go to `removed`."""
        return {name: clean(self.sections.get(name, ""), removed) for name in names}


def image_key(name: str) -> str | None:
    """One id for an image in either edition, from its name without `.png`; None for a name of neither.

    >>> image_key("1_IM-0001-4001.dcm"), image_key("CXR1_1_IM-0001-4001"), image_key("scan7")
    ('CXR1_IM-0001-4001', 'CXR1_IM-0001-4001', None)
    """
    match = IMAGE_NAME.fullmatch(name)
    return f"CXR{match[1]}_{match[2]}" if match else None


def csv_reports(root: Path, images: Sequence[str]) -> Iterator[Report | Rejected]:
    """Reports of the Kaggle edition with those of `images` that they name, then the images of no report."""
    rows = read_csv(root / REPORTS_CSV, ["uid", "MeSH", "Problems", *SECTIONS])
    reports = {
        row["uid"]: Report(
            row["uid"],
            {name: row[name] for name in SECTIONS},
            _unique(row["Problems"].split(";")),
            _unique(row["MeSH"].split(";")),
        )
        for row in rows
    }
    orphans: list[str] = []
    for image in images:
        uid = image.removeprefix("CXR").split("_")[0]
        (reports[uid].images if uid in reports else orphans).append(image)
    yield from reports.values()
    yield from (Rejected(image, "no report") for image in orphans)


def xml_reports(root: Path) -> Iterator[Report | Rejected]:
    """Reports of the folder, or else of the archive, by number."""
    documents = dict(_xml_documents(root))
    for name in sorted(documents, key=lambda name: (len(name), name)):
        if len(documents[name]) > LARGEST:
            yield Rejected(f"CXR{name}", "report is too large")
            continue
        try:
            tree = ElementTree.fromstring(documents[name], forbid_dtd=True)
        except (ParseError, DefusedXmlException, ValueError, LookupError):  # LookupError: an encoding nobody knows
            yield Rejected(f"CXR{name}", "report is not readable XML")
            continue
        yield _xml_report(name, tree)


def _xml_documents(root: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each report, read no further than one byte past LARGEST."""
    if (root / XML_FOLDER).is_dir():
        for path in (root / XML_FOLDER).glob("*.xml"):
            with open(path, "rb") as file:
                yield path.stem, file.read(LARGEST + 1)
        return
    try:
        with tarfile.open(root / XML_ARCHIVE) as archive:
            for member in archive:
                # A link's target need not be there, and is a member of its own where it is.
                packed = archive.extractfile(member) if member.isfile() else None
                if packed and member.name.endswith(".xml"):
                    yield Path(member.name).stem, packed.read(LARGEST + 1)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{root / XML_ARCHIVE} is not a complete archive ({error}); fetch it again.") from None


def _xml_report(uid: str, tree: Element) -> Report:
    sections = {node.get("Label", "").lower(): stated("".join(node.itertext())) for node in tree.iter("AbstractText")}
    headings = _unique([node.text or "" for node in tree.iter("major")])
    # "Pleural Effusion/left/moderate": the heading alone is the class, as in the column Problems of the Kaggle edition.
    labels = _unique([heading.split("/")[0] for heading in headings])
    names = [node.get("id", "") for node in tree.iter("parentImage")]
    return Report(uid, sections, labels, headings, [image_key(name) or name for name in names])


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, map(str.strip, names))))


def join_steps(
    reports: Sequence[Report], views: Mapping[str, str | None], names: Sequence[str], frontal_only: bool
) -> dict[str, int]:
    """How many reports and images each step of the join leaves, whatever image files there are.

    Args:
        reports: all that were parsed.
        views: image id → view.
        names: the sections that a report must have.
        frontal_only: leave other views out.
    """
    texts = {report.uid: report.cleaned(SECTIONS) for report in reports}
    named = [(image, report.uid) for report in reports for image in report.images]
    viewed = [(image, uid) for image, uid in named if not frontal_only or views.get(image) not in (None, "lateral")]
    joined = [(image, uid) for image, uid in viewed if all(texts[uid][name] for name in names)]
    return {
        "reports": len(reports),
        "images named": len(named),
        **{f"reports without {name}": sum(not r.sections.get(name, "").strip() for r in reports) for name in SEEN},
        "reports without an image": sum(not report.images for report in reports),
        "images frontal" if frontal_only else "images of any view": len(viewed),
        f"images with {' and '.join(names)}": len(joined),
        "reports of these images": len({uid for _, uid in joined}),
    }
