"""Damaged reports and tables: UserError or a row with its reason, never another exception, no hang, no expansion."""

import io
import random
import tarfile
import time

import pytest

from cxr_ldm.data.findings.cleaning import clean
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.reports import LARGEST
from cxr_ldm.data.pixels.images import MISSING, is_missing
from cxr_ldm.data.prepared.making import dry_run, sift
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.readers.nih import NIHReader
from cxr_ldm.data.readers.openi import OpenIReader
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR7"/><MedlineCitation><Article><Abstract>
<AbstractText Label="INDICATION">Cough, XXXX.</AbstractText>
<AbstractText Label="FINDINGS">The heart is  mildly enlarged. No effusion; small right nodule &amp; scar.</AbstractText>
<AbstractText Label="IMPRESSION">1. Cardiomegaly. 2. Possible right nodule.</AbstractText>
</Abstract></Article></MedlineCitation><MeSH><major>Cardiomegaly/mild</major></MeSH>
<parentImage id="CXR7_IM-0001-4001"><figureId>F1</figureId></parentImage></eCitation>"""
REPORTS = """uid,MeSH,Problems,image,indication,comparison,findings,impression
7,Cardiomegaly/mild,Cardiomegaly,Chest,"Cough, XXXX.",None.,"The heart is enlarged. No effusion.",1. Cardiomegaly.
8,normal,normal,Chest,,,"Clear lungs, ""no"" effusion.",Normal.
"""
PROJECTIONS = """uid,filename,projection
7,7_IM-0001-4001.dcm.png,Frontal
8,8_IM-0002-1001.dcm.png,Frontal
8,8_IM-0002-2001.dcm.png,Lateral
"""
NIH = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position
00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA
00000002_000.png,No Finding,0,2,16,F,AP
"""
TABLE = """file,note,person,view
a.png,"Large left effusion, no pneumothorax.",p1,PA
b.png,Normal chest.,p2,AP
"""


def archive() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as file:
        for name in ("7", "8"):
            member = tarfile.TarInfo(f"ecgen-radiology/{name}.xml")
            member.size = len(XML.encode())
            file.addfile(member, io.BytesIO(XML.encode()))
    return data.getvalue()


OPENI = {"indiana_reports.csv": REPORTS.encode(), "indiana_projections.csv": PROJECTIONS.encode()}
# For each kind: the files of the collection, the one that is damaged, and the reader.
KINDS = {
    "xml": ({"ecgen-radiology/7.xml": XML.encode(), **OPENI}, "ecgen-radiology/7.xml", OpenIReader),
    "archive": ({"NLMCXR_reports.tgz": archive(), **OPENI}, "NLMCXR_reports.tgz", OpenIReader),
    "reports": (OPENI, "indiana_reports.csv", OpenIReader),
    "projections": (OPENI, "indiana_projections.csv", OpenIReader),
    "nih": ({"Data_Entry_2017.csv": NIH.encode(), "images/00000001_000.png": b""}, "Data_Entry_2017.csv", NIHReader),
    "table": (
        {"t.csv": TABLE.encode(), "a.png": b""},
        "t.csv",
        lambda root: TableReader(root, "Note: {note}", csv="t.csv", image="file", patient="person", view="view"),
    ),
}
NASTY = (
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"\n",
    b",",
    b"\r",
    b"<",
    b"&a;",
    b"]]>",
    b"{",
    b"}",
    b"/" * 300,
    b"X" * 5000,
    b"9" * 400,
)
NASTY += (b'<!DOCTYPE x [<!ENTITY a "aaaa">]>', b'<!DOCTYPE x SYSTEM "file:///etc/passwd">', "\u2028é".encode())


def mutated(content: bytes, seed: str) -> bytes:
    """`content` with one to four changes: bytes flipped, a part dropped, doubled or replaced, the end cut off."""
    draw = random.Random(seed)
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(data) + 1)
        end = min(len(data), place + draw.choice([1, 2, 8, 60]))
        kind = draw.choice(["flip", "drop", "double", "nasty", "cut"])
        if kind == "flip" and place < len(data):
            data[place] ^= 1 << draw.randrange(8)
        elif kind == "drop":
            del data[place:end]
        elif kind == "double":
            data[place:place] = data[place:end]
        elif kind == "nasty":
            data[place:end] = draw.choice(NASTY)
        elif draw.random() < 0.3:
            del data[place:]
    return bytes(data)


def check(kind: str, root, seeds) -> None:
    """Read the collection with each mutation of its file; only UserError and rows with reasons may come out."""
    files, damaged, reader = KINDS[kind]
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    assert any(isinstance(item, Record) for item in reader(root).records())
    for seed in seeds:
        (root / damaged).write_bytes(mutated(files[damaged], f"{kind} {seed}"))
        try:
            records, rejected = sift(reader(root))
            counts = dry_run(reader(root))
        except UserError:
            continue
        except Exception as error:
            raise AssertionError(f"mutation {kind} {seed} raised {error!r}") from error
        assert all(isinstance(item, Rejected) and item.reason for item in rejected)
        assert counts["listed"] == len(records) + len(rejected)
        assert all(record.image_id and record.patient_id and record.text for record in records)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_a_user_error_or_a_reason(kind, tmp_path):
    check(kind, tmp_path, range(70))


@pytest.mark.fuzz
@pytest.mark.parametrize("block", range(10))
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files_are_user_errors_or_reasons(kind, block, tmp_path):
    """20,040 mutations in all."""
    check(kind, tmp_path, range(1000 + 334 * block, 1000 + 334 * (block + 1)))


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a" * 300 + "/b.png", "a\x00.png"])
def test_what_cannot_be_a_file_name_is_missing(name, tmp_path):
    assert is_missing(tmp_path / name)
    (tmp_path / "Data_Entry_2017.csv").write_text(NIH.replace("00000001_000.png", name), newline="")
    (tmp_path / "images").mkdir()
    assert {item.reason for item in NIHReader(tmp_path).records()} == {MISSING}


def test_a_link_without_a_target_is_no_report(tmp_path):
    with tarfile.open(tmp_path / "NLMCXR_reports.tgz", "w:gz") as file:
        link = tarfile.TarInfo("ecgen-radiology/9.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "gone.xml"
        file.addfile(link)
    assert list(OpenIReader(tmp_path).records()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_report_of_many_megabytes_is_rejected(tmp_path, packed):
    large = XML.replace("Cough", "cough " * (LARGEST // 5)).encode()
    if packed:
        with tarfile.open(tmp_path / "NLMCXR_reports.tgz", "w:gz") as file:
            member = tarfile.TarInfo("ecgen-radiology/7.xml")
            member.size = len(large)
            file.addfile(member, io.BytesIO(large))
    else:
        (tmp_path / "ecgen-radiology").mkdir()
        (tmp_path / "ecgen-radiology" / "7.xml").write_bytes(large)
    assert list(OpenIReader(tmp_path).records()) == [Rejected("CXR7", "report is too large")]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "X" * 200_000,
        " " * 200_000,
        "no effusion " * 15_000,
        "the heart and " * 15_000,
        "1. " * 60_000,
        "\n" * 200_000,
    ],
)
def test_no_text_takes_long(text):
    """Seconds would mean that some step takes the square of the length."""
    begin = time.process_time()
    read_findings(clean(text))
    assert time.process_time() - begin < 3
