"""Any collection described by a CSV, or by the names of its files alone."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any, get_args

from cxr_ldm.data.dicom import Voi, check_voi, header_view, is_dicom, load_image
from cxr_ldm.data.findings import read_findings
from cxr_ldm.data.images import MISSING, is_file, is_missing
from cxr_ldm.data.manifest import Record, Rejected, View, require_root
from cxr_ldm.data.people import sex_of, years
from cxr_ldm.errors import UserError

Row = dict[str, str]
ONE_WAY = "give data.reader.csv with data.reader.image, or data.reader.files with data.reader.pattern, and not both."
VIEWS = {view.lower(): view for view in get_args(View)}


def require_columns(wanted: Sequence[str], existing: Sequence[str], place: str) -> None:
    """Raise UserError naming the first wanted column that is not there, and those that are."""
    for column in wanted:
        if column not in existing:
            raise UserError(f"{place} has no column {column!r}; it has {', '.join(map(repr, existing)) or 'none'}.")


def read_csv(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of a CSV with a header as text, empty where a cell is.

    Raises:
        UserError: the file is missing or no CSV in UTF-8, or one of `columns` is not in it.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            header = reader.fieldnames or []
            # Cells beyond the header come under the key None; a row that is too long keeps its named ones.
            rows = [{name: cell for name, cell in row.items() if name is not None} for row in reader]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; it is the table that names the images.") from None
    except (UnicodeDecodeError, csv.Error, IsADirectoryError) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}).") from None
    require_columns(columns, header, str(path))
    return rows


def columns_of(text: str) -> list[str]:
    """Columns that a column name or a str.format template uses.

    >>> columns_of("Chest X-ray, {view} view. {note}"), columns_of("note")
    (['view', 'note'], ['note'])
    """
    if "{" not in text:
        return [text]
    try:
        return [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise UserError(f"{text!r} is not a template such as 'X-ray, {{view}} view' ({error}).") from None


def fill(text: str, row: Row) -> str:
    """The cell of a column, or a template filled with the cells of its columns; whitespace folded."""
    filled = text.format_map(row) if "{" in text else row[text]
    return " ".join(filled.split())


class TableReader:
    """Images listed in a CSV, or found by a glob with a pattern over their names.

    `image`, `text`, `patient`, `study`, `view`, `age` and `sex` are each a column or a template over columns, such as
    `"images/{id}.png"` or `"Frontal chest X-ray. {finding}"`.

    Args:
        root: folder that image paths start from.
        text: what the model is conditioned on.
        csv: CSV file, relative to root; its columns are those of its header.
        image: path of the image, relative to root (with `csv`).
        files: without `csv`: glob of the image files, relative to root.
        pattern: regular expression searched in each relative path; its named groups are the columns.
        patient: the person; where none is given every image counts as a person of its own.
        study: the report; the image itself where none is given.
        view: or the view itself (PA, AP, frontal, lateral), where all images share it.
        age, sex: of the patient, as `years` and `sex_of` read them.
        labels: columns with classes; several classes in a cell are separated by `|`.
        values: for each column, what a cell's value reads as in `text` and `view`; ids and labels stay as given.
        source: name of the collection.
        voi: window of a DICOM file, see `read_dicom`; a file whose suffix is not that of PNG or JPEG is one.
        frontal_only: reject lateral images, and those of which neither `view` nor a DICOM header says what they are.
    """

    def __init__(
        self,
        root: str | Path,
        text: str,
        csv: str | None = None,
        image: str | None = None,
        files: str | None = None,
        pattern: str | None = None,
        patient: str | None = None,
        study: str | None = None,
        view: str | None = None,
        age: str | None = None,
        sex: str | None = None,
        labels: Sequence[str] = (),
        values: Mapping[str, Mapping[str, str]] | None = None,
        source: str = "table",
        voi: Voi = 0,
        frontal_only: bool = False,
    ):
        check_voi(voi)
        self.root = Path(root)
        self.csv, self.image, self.glob, self.pattern = csv, image, files, pattern
        self.text, self.patient, self.study, self.view = text, patient, study, view
        self.age, self.sex = age, sex
        self.labels = list(labels)
        self.values = {column: dict(mapping) for column, mapping in (values or {}).items()}
        self.source, self.voi, self.frontal_only = source, voi, frontal_only

    def settings(self) -> dict[str, Any]:
        """Every argument but the root."""
        selection = ("csv", "image", "glob", "pattern", "labels", "values", "source")
        columns = ("text", "patient", "study", "view", "age", "sex")
        dicom = {"voi": self.voi, "frontal_only": self.frontal_only}
        return {"reader": "table", **dicom, **{name: getattr(self, name) for name in (*selection, *columns)}}

    def files(self) -> list[Path]:
        """The CSV and the images that are there."""
        require_root(self.root)
        if self.csv is None:
            return self._found()
        images = [self.root / image for image, _ in self._listed()]
        return [self.root / self.csv, *filter(is_file, images)]

    def records(self) -> Iterator[Record | Rejected]:
        """One for each row of the CSV, or each file of the glob in the order of its path."""
        require_root(self.root)
        for image, row in self._listed() if self.csv is not None else self._matched():
            yield self._record(image, row) if row is not None else Rejected(image, "file name does not match pattern")

    def _record(self, image: str, row: Row) -> Record | Rejected:
        reads = {column: self.values.get(column, {}).get(cell, cell) for column, cell in row.items()}
        text = fill(self.text, reads)
        path = self.root / image
        view = VIEWS.get((self.view or "").lower())
        if self.view is not None and view is None:
            written = fill(self.view, reads)
            view = VIEWS.get(written.lower())
            if written and view is None:
                return Rejected(image, f"view {written!r} is none of {', '.join(VIEWS.values())}")
        if not text:
            return Rejected(image, "no text")
        if is_missing(path):
            return Rejected(image, MISSING)
        if view is None and is_dicom(path):
            view = header_view(path)
        if self.frontal_only and view in (None, "lateral"):
            return Rejected(image, "view unknown" if view is None else "lateral")
        classes = [name.strip() for column in self.labels for name in row[column].split("|") if name.strip()]
        return Record(
            image_id=image,
            study_id=fill(self.study, row) if self.study else image,
            patient_id=(fill(self.patient, row) if self.patient else "") or image,
            view=view,
            text=text,
            labels=classes if self.labels else None,
            findings=read_findings(text),
            source=self.source,
            load=partial(load_image, path, self.voi),
            isolate=is_dicom(path),
            age=years(fill(self.age, reads)) if self.age else None,
            sex=sex_of(fill(self.sex, reads)) if self.sex else None,
        )

    def _used_columns(self) -> list[str]:
        specs = [self.text, self.patient, self.study, self.age, self.sex]
        if self.view and self.view.lower() not in VIEWS:
            specs.append(self.view)
        used = [column for spec in specs if spec for column in columns_of(spec)]
        return [*used, *self.labels, *self.values]

    def _listed(self) -> Iterator[tuple[str, Row]]:
        """Image paths and rows of the CSV."""
        if self.csv is None or self.image is None or self.pattern or self.glob:
            raise UserError(ONE_WAY)
        for row in read_csv(self.root / self.csv, [*columns_of(self.image), *self._used_columns()]):
            yield fill(self.image, row), row

    def _found(self) -> list[Path]:
        if self.glob is None or self.pattern is None or self.image:
            raise UserError(ONE_WAY)
        found = sorted(path for path in self.root.glob(self.glob) if path.is_file())
        if not found:
            raise UserError(f"{self.root} holds no file that matches data.reader.files={self.glob!r}.")
        return found

    def _matched(self) -> Iterator[tuple[str, Row | None]]:
        """Relative paths of the files, and the groups of the pattern (empty where a group took no part)."""
        found = self._found()
        try:
            expression = re.compile(self.pattern or "")
        except re.error as error:
            raise UserError(f"data.reader.pattern={self.pattern!r} is not a regular expression ({error}).") from None
        require_columns(self._used_columns(), list(expression.groupindex), f"data.reader.pattern={self.pattern!r}")
        for path in found:
            relative = path.relative_to(self.root).as_posix()
            match = expression.search(relative)
            yield relative, match.groupdict(default="") if match else None
