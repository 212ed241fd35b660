"""Any collection described by a CSV, or by the names of its files alone."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any, get_args

from cxr_ldm.data.cleaning import clean, stated
from cxr_ldm.data.dicom import Voi, check_voi, header_view, is_dicom, load_image
from cxr_ldm.data.findings import read_findings
from cxr_ldm.data.images import MISSING, Grey, is_file, is_missing, upright
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
    """Rows of a CSV with a header as text, empty where a cell is or holds a mark of a missing value such as nan.

    Raises:
        UserError: the file is missing or no CSV in UTF-8, or one of `columns` is not in it.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            header = reader.fieldnames or []
            # Cells beyond the header come under the key None; a row that is too long keeps its named ones.
            rows = [{name: stated(cell) for name, cell in row.items() if name is not None} for row in reader]
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


def is_positive(cell: str) -> bool:
    """Whether a cell holds a finite number above 0."""
    try:
        return 0 < float(cell) < float("inf")
    except ValueError:
        return False


def check_shape(stretched: Sequence[str] | None, turns: Mapping[str, int] | None) -> None:
    """Raises UserError where `stretched` or `turns` of a TableReader are not what they must be."""
    if stretched and len(stretched) != 2:
        raise UserError(f"data.reader.stretched={list(stretched)} must be two columns, of the rows and of the columns.")
    for image, turn in (turns or {}).items():
        if turn not in (90, 180, 270):
            raise UserError(f"data.reader.turns.{image}={turn} must be 90, 180 or 270 degrees clockwise.")


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
        labels: columns with classes; several classes in a cell are separated by `separator`.
        separator: `|` where none is given.
        values: for each column, what a cell's value reads as in `text` and `view`; ids and labels stay as given.
        source: name of the collection.
        voi: window of a DICOM file, see `read_dicom`; a file whose suffix is not that of PNG or JPEG is one.
        frontal_only: reject lateral images, and those of which neither `view` nor a DICOM header says what they are.
        cleaned: whether list numbers and marks of de-identification go from the cells of `text`, as in Open-i.
        needed: columns without which an image is rejected.
        left_out: for each column, cells whose images are rejected, such as the flags of a quality check.
        stretched: the columns with the number of rows and of columns that the picture had before its file was brought
            to another shape; the picture gets that shape back.
        turns: for each image path, degrees clockwise (90, 180 or 270) that set it upright.

    Raises:
        UserError: a turn is none of these, or `stretched` is not two columns.
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
        separator: str = "|",
        cleaned: bool = False,
        needed: Sequence[str] = (),
        left_out: Mapping[str, Sequence[str]] | None = None,
        stretched: Sequence[str] | None = None,
        turns: Mapping[str, int] | None = None,
    ):
        check_voi(voi)
        check_shape(stretched, turns)
        self.root = Path(root)
        self.csv, self.image, self.glob, self.pattern = csv, image, files, pattern
        self.text, self.patient, self.study, self.view = text, patient, study, view
        self.age, self.sex = age, sex
        self.labels = list(labels)
        self.values = {column: dict(mapping) for column, mapping in (values or {}).items()}
        self.source, self.voi, self.frontal_only = source, voi, frontal_only
        # what few collections need; a collection without has the settings, and so the fingerprint, that it always had
        self.separator, self.cleaned, self.needed = separator, cleaned, list(needed)
        self.left_out = {column: list(cells) for column, cells in (left_out or {}).items()}
        self.stretched, self.turns = list(stretched or ()), dict(turns or {})

    def settings(self) -> dict[str, Any]:
        """Every argument but the root."""
        selection = ("csv", "image", "glob", "pattern", "labels", "values", "source")
        columns = ("text", "patient", "study", "view", "age", "sex")
        dicom = {"voi": self.voi, "frontal_only": self.frontal_only}
        own = {"separator": "|", "cleaned": False, "needed": [], "left_out": {}, "stretched": [], "turns": {}}
        changed = {name: getattr(self, name) for name, usual in own.items() if getattr(self, name) != usual}
        return {"reader": "table", **dicom, **{name: getattr(self, name) for name in (*selection, *columns)}, **changed}

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

    def _load(self, path: Path, image: str, row: Row) -> Callable[[], Grey]:
        """What reads the picture, set upright and brought to its own shape where that is to be done."""
        load = partial(load_image, path, self.voi)
        turn = self.turns.get(image, 0)
        if not self.stretched and not turn:
            return load
        shape = (float(row[self.stretched[0]]), float(row[self.stretched[1]])) if self.stretched else None
        return partial(upright, load, shape, turn)

    def _unwanted(self, row: Row) -> str | None:
        """Why this row is left out before its image is looked for; None where it is not."""
        for column in self.needed:
            if not row[column].strip():
                return f"no {column}"
        for column, cells in self.left_out.items():
            if row[column] in cells:
                return f"{column} is {row[column]!r}"
        for column in self.stretched:
            if not is_positive(row[column]):
                return "shape before it was stretched is unknown"
        return None

    def _record(self, image: str, row: Row) -> Record | Rejected:
        reads = {column: self.values.get(column, {}).get(cell, cell) for column, cell in row.items()}
        if self.cleaned:
            reads |= {column: clean(reads[column]) for column in columns_of(self.text)}
        text = fill(self.text, reads)
        path = self.root / image
        unwanted = self._unwanted(row)
        if unwanted is not None:
            return Rejected(image, unwanted)
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
        classes = [name.strip() for column in self.labels for name in row[column].split(self.separator) if name.strip()]
        return Record(
            image_id=image,
            study_id=fill(self.study, row) if self.study else image,
            patient_id=(fill(self.patient, row) if self.patient else "") or image,
            view=view,
            text=text,
            labels=classes if self.labels else None,
            findings=read_findings(text),
            source=self.source,
            load=self._load(path, image, row),
            isolate=is_dicom(path),
            age=years(fill(self.age, reads)) if self.age else None,
            sex=sex_of(fill(self.sex, reads)) if self.sex else None,
        )

    def _used_columns(self) -> list[str]:
        specs = [self.text, self.patient, self.study, self.age, self.sex]
        if self.view and self.view.lower() not in VIEWS:
            specs.append(self.view)
        used = [column for spec in specs if spec for column in columns_of(spec)]
        return [*used, *self.labels, *self.values, *self.needed, *self.left_out, *self.stretched]

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
