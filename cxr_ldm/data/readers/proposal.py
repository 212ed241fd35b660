"""What a folder with a CSV seems to mean: its columns of image, text and patient, from their names and cells."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cxr_ldm.data.readers.columns import Row, read_rows
from cxr_ldm.data.readers.file_search import lower_extension, matching
from cxr_ldm.data.readers.files import IMAGE_SUFFIXES
from cxr_ldm.errors import UserError

LOOKED_AT = 200  # rows of a table
# what a column is for, by the words of its name, see `words_of`
WHO = "(patient|subject|person|participant)s?"
PATIENT = (  # the first that a column has
    re.compile(rf"\b({WHO} ?(id|uid|identifier|number|no|nr|key|code)|pid|mrn)\b"),
    re.compile(rf"^({WHO}|uid)$"),
    re.compile(rf"\b{WHO} ?name\b"),
)
TEXTS = re.compile(r"\b(report|finding|impression|text|note|caption|description)s?\b")
OTHERS = {
    "view": re.compile(r"\b(view|projection)( ?position)?\b"),
    "age": re.compile(rf"^({WHO} ?)?age$"),
    "sex": re.compile(rf"^({WHO} ?)?(sex|gender)$"),
}


def words_of(name: str) -> str:
    """The words of a column's name in lower case.

    >>> words_of("PatientID"), words_of("view_position"), words_of("Finding Labels")
    ('patient id', 'view position', 'finding labels')
    """
    return " ".join(re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+", name)).lower()


def proposal(root: Path, csv: str | None = None) -> str:
    """A sentence with the command that would read the folder, and what stays open.

    Args:
        csv: the table, relative to root; None looks for one there.

    Raises:
        UserError: there is no table, or no column of one names files below `root`.
    """
    tables = [csv] if csv else [path.relative_to(root).as_posix() for path in matching(root, "*.csv")]
    if not tables:
        raise UserError(
            f"{root} holds no CSV file; name it by data.reader.csv=, or read file names by data.reader.files= and "
            "data.reader.pattern=."
        )
    files = [path.relative_to(root).as_posix() for path in matching(root, "**/*.*")]
    pictures = [name for name in files if lower_extension(name).endswith(IMAGE_SUFFIXES)]
    for table in tables:
        header, rows = read_rows(root / table)
        words = columns(header, rows[:LOOKED_AT], pictures)
        if words:
            return _sentence(root, table, words, rows)
    raise UserError(
        f"{root}: no column of {' or '.join(tables)} names one of the {len(pictures):,} PNG, JPEG or DICOM files "
        "below it; name the column or a template over columns, such as data.reader.image=images/{id}.png."
    )


def columns(header: Sequence[str], rows: Sequence[Row], pictures: Sequence[str]) -> dict[str, str]:
    """What data.reader.image, text, patient, view, age and sex should be; nothing where no column names pictures.

    >>> rows = [{"id": name, "note": "Left effusion.", "subject": "7"} for name in ("a1", "a2")]
    >>> columns(list(rows[0]), rows, ["scans/a1.png", "scans/a2.png"])
    {'image': 'scans/{id}.png', 'text': 'note', 'patient': 'subject'}
    """
    image = _image(header, rows, pictures)
    if image is None:
        return {}
    column, template = image
    words = {"image": template}
    rest = [name for name in header if name != column]
    text = _text(rest, rows)
    if text:
        words["text"] = text
    filled = [name for name in rest if any(row[name] for row in rows)]
    patient = next((name for kind in PATIENT for name in filled if kind.search(words_of(name))), None)
    if patient:
        words["patient"] = patient
    for key, names in OTHERS.items():
        found = next((name for name in rest if names.search(words_of(name))), None)
        if found:
            words[key] = found
    return words


def _image(header: Sequence[str], rows: Sequence[Row], pictures: Sequence[str]) -> tuple[str, str] | None:
    """The column that names most pictures, with the template that makes paths of its cells."""
    whole = set(pictures)
    places = {name.rsplit("/", 1)[-1]: name for name in pictures} | {
        name.rsplit("/", 1)[-1].rsplit(".", 1)[0]: name for name in pictures
    }
    best: tuple[int, str, str] = (0, "", "")
    for column in header:
        templates: Counter[str] = Counter()
        for row in rows:
            cell = row[column].strip()
            if cell in whole:
                templates[column] += 1
            elif cell in places:
                before, _, after = places[cell].rpartition(cell)
                templates[f"{before}{{{column}}}{after}"] += 1
        if templates and templates.most_common(1)[0][1] > best[0]:
            template, count = templates.most_common(1)[0]
            best = (count, column, template)
    return best[1:] if best[0] else None


def _text(header: Sequence[str], rows: Sequence[Row]) -> str | None:
    """Findings and impression where both are there, else the column that reads most like text."""
    lower = {name.lower(): name for name in header}
    if {"findings", "impression"} <= lower.keys():
        return f"{{{lower['findings']}}} {{{lower['impression']}}}"

    def words(name: str) -> float:
        cells = [row[name] for row in rows if row[name]]
        said = [len(cell.split()) for cell in cells if re.search("[A-Za-z]{3}", cell) and "://" not in cell]
        usual = sum(said) / len(rows) if len(said) > len(cells) / 2 else 0.0
        return usual + (2.0 if usual and TEXTS.search(words_of(name)) else 0.0)

    best = max(header, key=words, default=None)
    return best if best is not None and words(best) >= 0.5 else None


def _sentence(root: Path, table: str, words: dict[str, str], rows: Sequence[Row]) -> str:
    settings = [f"data.root={root}", f"data.reader.csv={table}"]
    settings += [f"data.reader.{key}={value}" for key, value in words.items()]
    command = shlex.join(["python", "-m", "cxr_ldm.prepare", "data=table", *settings])
    unknown = []
    if "text" not in words:
        unknown.append("no column reads like a text: name one, or write one, such as 'data.reader.text=X-ray. {label}'")
    if "patient" not in words:
        unknown.append(
            "no column names the patient: name one, or say data.reader.patient=none where there is one image of each"
        )
    more = "".join(f"; {each}" for each in unknown)
    return (
        f"data=table needs data.reader.image and others. {table} ({len(rows):,} rows) looks like\n\n  {command}\n\n"
        f"which prepare.dry_run=true tries{more}."
    )
