"""Any collection described by a CSV, or by the names of its files alone."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from cxr_ldm.data.findings.cleaning import clean
from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.findings.words import NO_FINDING
from cxr_ldm.data.pixels.dicom import Modality, Voi, check_voi, header_view, is_dicom, load_image
from cxr_ldm.data.pixels.images import MISSING, Grey, is_file, upright
from cxr_ldm.data.prepared.manifest import OUTSIDE, Record, Rejected, inside, require_root
from cxr_ldm.data.prepared.people import View, sex_of, view_in, years
from cxr_ldm.data.readers.columns import (
    Row,
    columns_of,
    fill,
    has_words,
    read_joined,
    require_columns,
    split_columns,
    table_file,
)
from cxr_ldm.data.readers.file_search import in_either_case, matching
from cxr_ldm.data.readers.gaps import of_patients, unmet, unparted, unread
from cxr_ldm.data.readers.one_hot import check_classes, sentences, states_of
from cxr_ldm.data.readers.proposal import proposal
from cxr_ldm.errors import UserError
from cxr_ldm.ranges import Place, Text, Word

ONE_WAY = "give data.reader.csv with data.reader.image, or data.reader.files with data.reader.pattern, and not both."
CLASSES = "classes"  # the column that one_hot adds: its sentences
NO_PATIENT = "none"
VIEWS = {view.lower(): view for view in get_args(View)}


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
        patient: the person; where none is given every image counts as a person of its own, which a line says unless
            it is `none`, for a collection with one image of each.
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

        elsewhere: other places of the image, of the same kind as `image`, where there is no file there. Not one of the
            settings, since the raw files' names are.
        one_hot: columns of one class each, which say 1 (present), 0 (absent), -1 (uncertain) or nothing (unknown). What
            is present is among the labels, and the column `classes` holds all that is stated as sentences for `text`.
        beside: for each further CSV, the columns by which its rows belong to those of `csv`.
        parts: for each column, a regular expression searched in its cells; its named groups are columns too.
        modality: "assume" takes a DICOM file that does not say what it is for a radiograph, see `read_dicom`.
        outside: whether the table may name images that are not below root.

    Raises:
        UserError: a turn is none of these, `stretched` is not two columns, `separator` is empty, or `voi` or
            `modality` is impossible.
    """

    def __init__(
        self,
        root: Place,
        text: Text,
        csv: Word | None = None,
        image: Text | None = None,
        files: Text | None = None,
        pattern: Text | None = None,
        patient: Text | None = None,
        study: Text | None = None,
        view: Text | None = None,
        age: Text | None = None,
        sex: Text | None = None,
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
        elsewhere: Sequence[str] = (),
        one_hot: Sequence[str] = (),
        beside: Mapping[str, Sequence[str]] | None = None,
        parts: Mapping[str, str] | None = None,
        modality: Modality = "stated",
        outside: bool = False,
    ):
        check_voi(voi, modality)
        check_shape(stretched, turns)
        if not separator:
            raise UserError(
                "data.reader.separator is empty; give what stands between the classes of a cell, such as |."
            )
        self.root = Path(root)
        self.csv, self.image, self.glob, self.pattern = csv, image, files, pattern
        self.text, self.study, self.view = text, study, view
        self.patient, self.meant = (None, True) if patient == NO_PATIENT else (patient, patient is not None)
        self.age, self.sex = age, sex
        self.labels = list(labels)
        # cells are text, also where Hydra reads a number
        self.values = {
            column: {str(cell): word for cell, word in words.items()} for column, words in (values or {}).items()
        }
        self.source, self.voi, self.frontal_only = source, voi, frontal_only
        # what few collections need; a collection without has the settings, and so the fingerprint, that it always had
        self.separator, self.cleaned, self.needed = separator, cleaned, list(needed)
        self.left_out = {column: [*map(str, cells)] for column, cells in (left_out or {}).items()}
        self.stretched, self.turns = list(stretched or ()), dict(turns or {})
        self.elsewhere, self.one_hot, self.modality = list(elsewhere), list(one_hot), modality
        self.beside = {name: list(keys) for name, keys in (beside or {}).items()}
        self.parts, self.outside = dict(parts or {}), outside

    def settings(self) -> dict[str, Any]:
        """Every argument but the root and other places of the images."""
        selection = ("csv", "image", "glob", "pattern", "labels", "values", "source")
        columns = ("text", "patient", "study", "view", "age", "sex")
        dicom = {"voi": self.voi, "frontal_only": self.frontal_only}
        own = {"separator": "|", "cleaned": False, "needed": [], "left_out": {}, "stretched": [], "turns": {}}
        own |= {"one_hot": [], "beside": {}, "parts": {}, "modality": "stated", "outside": False}
        changed = {name: getattr(self, name) for name, usual in own.items() if getattr(self, name) != usual}
        return {"reader": "table", **dicom, **{name: getattr(self, name) for name in (*selection, *columns)}, **changed}

    def files(self) -> list[Path]:
        """Each CSV and the images that are there."""
        self._require_columns_named()
        if self.csv is None:
            return self._found()
        images = [self._path(image, row) for image, row in self._listed()[0] if row is not None]
        images = [path for path in images if self._taken(path) and is_file(path)]
        return [*(table_file(self.root / name) for name in (self.csv, *self.beside)), *images]

    def records(self) -> Iterator[Record | Rejected]:
        """One for each row of the CSV, or each file of the glob in the order of its path."""
        self._require_columns_named()
        key = "file name does not match pattern" if self.csv is None else "cell does not match data.reader.parts"
        count = 0
        listed, alone = self._items()
        for image, row in listed:
            item = self._record(image, row) if row is not None else Rejected(image, key)
            count += isinstance(item, Record)
            yield item
        if count and not self.meant:
            print(
                f"data.reader.patient is not given: each of {count} images of {self.root} counts as a patient of its "
                f"own, so that images of one person may come into training and test; name the column of the patient, "
                f"or say data.reader.patient={NO_PATIENT} where there is one image of each."
            )
        for what, rows in self._gaps(listed, alone).items():
            print(f"{self.root}: of {len(listed)} rows, {rows} {what}.")

    def steps(self) -> dict[str, Any]:
        """Of how many rows some leave open who, how old or of which sex, and what is asked of them in vain."""
        listed, alone = self._items()
        gaps = self._gaps(listed, alone)
        return {"rows": len(listed), **gaps} if gaps else {}

    def _items(self) -> tuple[list[tuple[str, Row | None]], dict[str, int]]:
        """Images with their rows, and what `read_joined` says of further tables."""
        return self._listed() if self.csv is not None else (list(self._matched()), {})

    def _gaps(self, listed: Sequence[tuple[str, Row | None]], alone: Mapping[str, int]) -> dict[str, int]:
        """Number of rows by what is to be said of them, in the words of `gaps`."""
        rows = [row for _, row in listed if row is not None]
        found = of_patients([fill(self.patient, row) for row in rows]) if self.patient else {}
        found |= {f"without a row in {name}": count for name, count in alone.items() if count}
        for spec, read, what in ((self.age, years, "age"), (self.sex, sex_of, "sex")):
            found |= unread((fill(spec, self._read(row)) for row in rows), read, what) if spec else {}
        for column in self.labels:
            found |= unparted(rows, column, self.separator)
        found |= unmet(rows, self.values, "data.reader.values") | unmet(rows, self.left_out, "data.reader.left_out")
        there = {image for image, _ in listed}
        return found | {f"of {image} (data.reader.turns)": 0 for image in self.turns if image not in there}

    def _require_columns_named(self) -> None:
        """Raises UserError without a folder, and with the columns that seem to be meant where none is named."""
        require_root(self.root)
        if self.image is None and self.glob is None and self.pattern is None:
            raise UserError(proposal(self.root, self.csv))

    def _path(self, image: str, row: Row) -> Path:
        """Where an image is: at its place or at another one, with its extension in either case."""
        paths = [in_either_case(self.root / place) for place in self._places(image, row)]
        return next(filter(is_file, paths), self.root / image)

    def _places(self, image: str, row: Row) -> list[str]:
        return [image, *(fill(place, row) for place in self.elsewhere)]

    def _unplaced(self, written: str) -> str:
        """Why a view is not taken, and the setting that says what it means."""
        column = (columns_of(self.view or "") or ["COLUMN"])[0]
        views = ", ".join(get_args(View))
        return f"view {written!r} is none of {views}; data.reader.values says what the words of {column!r} mean"

    def _taken(self, path: Path) -> bool:
        return self.outside or inside(self.root, path)

    def _load(self, path: Path, image: str, row: Row) -> Callable[[], Grey]:
        """What reads the picture, set upright and brought to its own shape where that is to be done."""
        load = partial(load_image, path, self.voi, self.modality)
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

    def _read(self, row: Row) -> Row:
        """The cells, with what `values` says in place of some."""
        return {column: self.values.get(column, {}).get(cell, cell) for column, cell in row.items()}

    def _record(self, image: str, row: Row) -> Record | Rejected:
        reads = self._read(row)
        if self.cleaned:
            reads |= {column: clean(reads[column]) for column in columns_of(self.text)}
        try:
            states = states_of(row, self.one_hot)
        except UserError as error:
            return Rejected(image, str(error))
        seen = sentences(states)
        text = fill(self.text, reads | ({CLASSES: seen} if self.one_hot else {}))
        path = self._path(image, row)
        unwanted = self._unwanted(row)
        if unwanted is not None:
            return Rejected(image, unwanted)
        view = VIEWS.get((self.view or "").lower())
        if self.view is not None and view is None:
            written = fill(self.view, reads)
            view = view_in(written)
            if written.strip() and view is None:
                return Rejected(image, self._unplaced(written))
        if not has_words(text):
            return Rejected(image, "no text")
        if not self._taken(path):
            return Rejected(image, f"{OUTSIDE}; data.reader.outside=true takes it")
        if not is_file(path):
            return Rejected(image, MISSING, " or ".join(str(self.root / place) for place in self._places(image, row)))
        if view is None and is_dicom(path):
            view = header_view(path)
        if self.frontal_only and view in (None, "lateral"):
            return Rejected(image, "view unknown" if view is None else "lateral")
        classes = [name.strip() for column in self.labels for name in row[column].split(self.separator) if name.strip()]
        classes += [name for name, state in states.items() if state == "present"]
        known = bool(self.labels) or any(states.values())
        findings = read_findings(text)
        # what the columns say and the text does not; that nothing was found, only where the text names nothing at all
        named = {finding["name"] for finding in findings} | ({NO_FINDING} if findings else set())
        return Record(
            image_id=image,
            study_id=fill(self.study, row) if self.study else image,
            patient_id=(fill(self.patient, row) if self.patient else "") or image,
            view=view,
            text=text,
            labels=classes if known else None,
            findings=[*findings, *(finding for finding in read_findings(seen) if finding["name"] not in named)],
            source=self.source,
            load=self._load(path, image, row),
            isolate=is_dicom(path),
            age=years(fill(self.age, reads)) if self.age else None,
            sex=sex_of(fill(self.sex, reads)) if self.sex else None,
            path=path,
        )

    def _require_columns(self, header: Sequence[str], place: str) -> None:
        """Raises UserError where a setting uses a column that is not there, with its key."""
        templates = {name: getattr(self, name) for name in ("image", "text", "patient", "study", "age", "sex")}
        if self.view and self.view.lower() not in VIEWS:
            templates["view"] = self.view
        used = {name: columns_of(spec) for name, spec in templates.items() if spec}
        used["elsewhere"] = [column for spec in self.elsewhere for column in columns_of(spec)]
        lists = ("one_hot", "labels", "values", "needed", "left_out", "stretched")
        known = [*header, CLASSES] if self.one_hot and CLASSES not in header else header
        for name, columns in (used | {name: list(getattr(self, name)) for name in lists}).items():
            require_columns(columns, known, f"data.reader.{name}: {place}")

    def _listed(self) -> tuple[list[tuple[str, Row | None]], dict[str, int]]:
        """Image paths and rows of the CSV, and how many have none in further ones; no row where a part is not found."""
        if self.csv is None or self.image is None or self.pattern or self.glob:
            raise UserError(ONE_WAY)
        table = table_file(self.root / self.csv)
        if not table.is_file():
            raise UserError(f"data.reader.csv={self.csv}: {table} does not exist, or is no file.")
        header, rows, alone = read_joined(self.root, self.csv, self.beside)
        groups, rows_or_columns = split_columns(header, rows, self.parts, self.csv)
        named = [*header, *(group for group in groups if group not in header)]  # a group replaces its column
        self._require_columns(named, str(self.root / self.csv))
        check_classes(self.labels, rows)
        image = self.image
        return [(row, None) if isinstance(row, str) else (fill(image, row), row) for row in rows_or_columns], alone

    def _found(self) -> list[Path]:
        if self.glob is None or self.pattern is None or self.image:
            raise UserError(ONE_WAY)
        found = matching(self.root, self.glob)
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
        self._require_columns(list(expression.groupindex), f"data.reader.pattern={self.pattern!r}")
        for path in found:
            relative = path.relative_to(self.root).as_posix()
            match = expression.search(relative)
            yield relative, match.groupdict(default="") if match else None
