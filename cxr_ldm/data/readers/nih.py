"""NIH ChestX-ray14: an image list with labels, rendered into short report sentences."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cxr_ldm.data.findings.reading import read_findings
from cxr_ldm.data.pixels.images import MISSING, is_missing, read_grey
from cxr_ldm.data.prepared.manifest import OUTSIDE, Record, Rejected, inside, require_root
from cxr_ldm.data.prepared.people import View, sex_of, years
from cxr_ldm.data.readers.columns import Row, read_csv, read_rows, require_columns
from cxr_ldm.data.readers.file_search import lower_extension
from cxr_ldm.data.readers.one_hot import NO_FINDING, listed, phrase
from cxr_ldm.ranges import Place

IMAGE, LABELS, PATIENT = "Image Index", "Finding Labels", "Patient ID"
AGE, SEX, VIEW = "Patient Age", "Patient Gender", "View Position"
TABLE, TABLE_OF_2020 = "Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"
SEX_OF_2020 = "Patient Sex"


def person(age: str, sex: str) -> str:
    """Age group and sex in words; an age above 120 years is a typing error of the list, so no age is named.

    >>> person("58", "M"), person("014Y", "F"), person("412", "M"), person("7M", "")
    ('adult male', 'adolescent female', 'male patient', 'child')
    """
    gender, age_in_years = sex_of(sex) or "", years(age)
    if age_in_years is None:
        return f"{gender} patient".strip()
    if age_in_years < 13:
        return f"{gender} child".strip()
    return f"{'adult' if age_in_years >= 18 else 'adolescent'} {gender}".strip()


def report(labels: list[str], view: str | None, age: str, sex: str) -> str:
    """A report in two sentences: what was taken of whom, and what is seen.

    >>> report(["Cardiomegaly", "Effusion"], "AP", "58", "M")
    'Chest X-ray, AP view, adult male. Cardiomegaly and pleural effusion.'
    >>> report(["No Finding"], "PA", "30", "F")
    'Chest X-ray, PA view, adult female. No acute cardiopulmonary abnormality.'
    """
    header = ["Chest X-ray", *([f"{view} view"] if view else []), person(age, sex)]
    phrases = [phrase(label) for label in labels if label != NO_FINDING]
    seen = listed(phrases, "and") if phrases else "no acute cardiopulmonary abnormality"
    return f"{', '.join(header)}. {seen[0].upper()}{seen[1:]}."


class NIHReader:
    """`Data_Entry_2017.csv` with its images in `images/`, or in `images_001/images/` and so on as published.

    Args:
        root: folder that holds the list and the image folders.
        table: name of the list; where that of 2017 is not there, `Data_Entry_2017_v2020.csv` is taken, its edition of
            2020.
    """

    def __init__(self, root: Place, table: str = TABLE):
        self.root, self.table = Path(root), table

    def settings(self) -> dict[str, Any]:
        """The name of the list."""
        return {"reader": "nih", "table": self.table}

    def files(self) -> list[Path]:
        """The list and the images that are there."""
        require_root(self.root)
        images = self._images()
        rows = read_csv(self._table(), [IMAGE])
        names = [lower_extension(row[IMAGE]) for row in rows]
        return [self._table(), *(images[name] for name in names if name in images)]

    def records(self) -> Iterator[Record | Rejected]:
        """One for each row of the list, in its order."""
        require_root(self.root)
        header, rows = read_rows(self._table())
        sex = SEX_OF_2020 if SEX_OF_2020 in header and SEX not in header else SEX
        require_columns([IMAGE, LABELS, PATIENT, AGE, VIEW, sex], header, str(self._table()))
        images = self._images()
        for row in rows:
            path = images.get(lower_extension(row[IMAGE]), self.root / "images" / row[IMAGE])
            yield self._record(row, path, row[sex])

    def _table(self) -> Path:
        """The list, or its edition of 2020 where that alone is there."""
        later = self.root / TABLE_OF_2020
        path = self.root / self.table
        return later if self.table == TABLE and later.is_file() and not path.is_file() else path

    def _images(self) -> dict[str, Path]:
        """File name, its extension in lower case → path, over every image folder."""
        folders = [*self.root.glob("images*"), *self.root.glob("images*/images")]
        return {lower_extension(path.name): path for folder in folders for path in folder.glob("*.*")}

    def _record(self, row: Row, path: Path, sex: str) -> Record | Rejected:
        labels = [name.strip() for name in row[LABELS].split("|") if name.strip()]
        if not labels or not row[PATIENT]:
            return Rejected(row[IMAGE], "no labels" if row[PATIENT] else "no patient id")
        if not inside(self.root, path):
            return Rejected(row[IMAGE], OUTSIDE)
        if is_missing(path):
            return Rejected(row[IMAGE], MISSING, str(path))
        view: View | None = row[VIEW] if row[VIEW] in ("PA", "AP") else None  # type: ignore[assignment]
        text = report(labels, view, row[AGE], sex)
        return Record(
            image_id=row[IMAGE],
            study_id=Path(row[IMAGE]).stem,
            patient_id=row[PATIENT],
            view=view,
            text=text,
            labels=labels,
            findings=read_findings(text),
            source="nih",
            load=partial(read_grey, path),
            age=years(row[AGE]),
            sex=sex_of(sex),
            path=path,
        )
