"""Any CSV, or file names alone, become records."""

import numpy as np
import pytest
from dicom_files import file_of, written
from dicom_files import picture as grey_picture
from PIL import Image
from small_pictures import picture

from cxr_ldm.data.pixels.images import display
from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.readers.joined import JoinedReader
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError


def test_a_row_becomes_a_record(table_root, table_options):
    record = list(TableReader(table_root, **table_options).records())[4]
    assert isinstance(record, Record)
    assert (record.image_id, record.patient_id, record.view) == ("images/04.png", "p1", "AP")
    assert record.text == "Note number 4, with a comma."
    assert record.labels == ["A", "B"]
    np.testing.assert_array_equal(record.load(), picture(4))


def test_a_template_reads_mapped_values_and_ids_stay(table_root, table_options):
    options = {
        **table_options,
        "text": "Chest X-ray, {projection} view of {person}.",
        "values": {"projection": {"ap": "AP", "pa": "PA"}, "person": {"p0": "somebody"}},
    }
    record = next(TableReader(table_root, **options).records())
    assert record.text == "Chest X-ray, AP view of somebody."
    assert record.patient_id == "p0"


def test_without_a_patient_column_each_image_is_a_patient(table_root, table_options):
    records = TableReader(table_root, **{**table_options, "patient": None}).records()
    assert len({record.patient_id for record in records}) == 24


@pytest.mark.parametrize(
    ("option", "value"),
    [("text", "report"), ("image", "{path}.png"), ("patient", "mrn"), ("labels", ["finding"]), ("values", {"sex": {}})],
)
def test_a_column_that_is_missing_is_named_with_those_that_exist(table_root, table_options, option, value):
    name = {"text": "report", "image": "path", "patient": "mrn", "labels": "finding", "values": "sex"}[option]
    with pytest.raises(UserError, match=rf"list.csv has no column '{name}'; it has 'file', 'note', 'person'"):
        list(TableReader(table_root, **{**table_options, option: value}).records())


def test_rows_that_cannot_be_used_are_rejected_with_the_reason(table_root, table_options):
    (table_root / "list.csv").write_text(
        "file,note,person,kind,projection\n00,,p0,,pa\n99,Clear.,p1,,pa\n01,Clear.,p2,,oblique\n02,Clear.,p3\n03,Clear.,p4,,pa,,\n"
    )
    results = list(TableReader(table_root, **table_options).records())
    reasons = [item.reason for item in results if isinstance(item, Rejected)]
    assert reasons == [
        "no text",
        "image file is missing",
        "view 'oblique' is none of PA, AP, frontal, lateral; "
        "data.reader.values says what the words of 'projection' mean",
    ]
    short, long = results[3:]
    assert (short.view, short.labels) == (None, [])
    assert (long.view, long.labels) == ("PA", [])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0,Clear.,p0\n1,Small effusion, left,p1\n", "line 3 has 4 cells and the header 3"),
        ('0,"Clear,\nlungs.",p0\n1,a,b,p1\n', "line 4 has 4 cells and the header 3"),
        ('0,Clear.,p0\n1,"Clear.,p1\n2,Clear.,p2\n', "unexpected end of data in the row that begins in line 3"),
        ('0,"A 5" tube, left",p0\n1,Clear.,p1\n', "',' expected after '\"' in the row that begins in line 2"),
    ],
)
def test_a_row_that_would_be_shifted_or_swallowed_is_refused_by_its_line(tmp_path, rows, words):
    (tmp_path / "t.csv").write_text(f"file,note,who\n{rows}")
    with pytest.raises(UserError, match=rf"t\.csv.*{words}"):
        list(TableReader(tmp_path, csv="t.csv", image="file", text="note", patient="who").records())


@pytest.fixture
def three(tmp_path):
    """A table of three pictures that are there, from rows of further cells: its reader."""
    for number in range(3):
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.png")

    def reader(header, *rows, **options):
        lines = [f"file,note,{header}", *(f"{number}.png,Clear.,{row}" for number, row in enumerate(rows))]
        (tmp_path / "t.csv").write_text("\n".join(lines))
        return TableReader(tmp_path, **{"csv": "t.csv", "image": "file", "text": "note", "patient": "none"} | options)

    return reader


def test_rows_without_a_patient_are_counted_and_said(three, capsys):
    reader = three("who", "p1", "", "nan", patient="who")
    assert len({record.patient_id for record in reader.records()}) == 3
    assert "of 3 rows, 2 without a patient, each a patient of its own." in capsys.readouterr().out
    assert reader.steps() == {"rows": 3, "without a patient, each a patient of its own": 2}
    assert JoinedReader({"a": three("who", "p1", "p1", "p2", patient="who")}).steps() == {}


@pytest.mark.parametrize(("one", "other"), [("7", "007"), ("7", "7.0"), ("AB1", "ab1")])
def test_patients_that_may_be_one_are_named(three, one, other):
    reader = three("who", one, other, "9", patient="who")
    assert reader.steps() == {
        "rows": 3,
        f"of patients {min(one, other)!r} and {max(one, other)!r}, who count as two people": 2,
    }
    assert three("who", one, one, "9", patient="who").steps() == {}


def test_rows_without_a_partner_are_counted_and_a_table_without_any_is_refused(three, tmp_path, capsys):
    (tmp_path / "more.csv").write_text("who,age\n1,58\n3,60\n")
    options = {"patient": "who", "age": "age", "beside": {"more.csv": ["who"]}}
    assert [record.age for record in three("who", "1", "2", "3", **options).records()] == [58, None, 60]
    assert "of 3 rows, 1 without a row in more.csv." in capsys.readouterr().out
    with pytest.raises(UserError, match=r"more\.csv has a row for none of the 3 of .*such as '001' and there '1'"):
        list(three("who", "001", "002", "003", **options).records())


@pytest.mark.parametrize(
    "cells", [("0", "1", "1"), ("1", "9", "True"), ("absent", "present", ""), ("1.0", "0.0", "yes")]
)
def test_codes_are_no_classes(three, cells):
    with pytest.raises(UserError, match=r"labels names the column 'kind', whose cells are .* data\.reader\.one_hot"):
        list(three("kind", *cells, labels=["kind"]).records())


def test_one_hot_reads_the_words_that_are_no_classes(three):
    records = three("Edema", "present", "Absent", "uncertain", text="{classes}", one_hot=["Edema"]).records()
    assert [record.text for record in records] == [
        "Pulmonary edema.",
        "No pulmonary edema.",
        "Possible pulmonary edema.",
    ]


def test_a_list_in_a_cell_of_classes_is_no_class(three, capsys):
    with pytest.raises(UserError, match=r"where \"\['Edema', 'Mass'\]\" is a list in brackets"):
        list(three("kind", "Edema", "\"['Edema', 'Mass']\"", labels=["kind"]).records())
    reader = three("kind", "Edema", "Edema;Mass", '"Edema, Mass"', labels=["kind"])
    assert reader.steps() == {
        "rows": 3,
        "whose 'kind' has ';' and is one class, since data.reader.separator is '|'": 1,
        "whose 'kind' has ',' and is one class, since data.reader.separator is '|'": 1,
    }
    list(reader.records())
    assert "of 3 rows, 1 whose 'kind' has ';' and is one class" in capsys.readouterr().out
    assert three("kind", "Edema|Mass", '"Disease, Chronic"', labels=["kind"]).steps() == {}
    with pytest.raises(UserError, match=r"data\.reader\.separator is empty"):
        three("kind", "Edema", labels=["kind"], separator="")


def test_ages_and_sexes_in_words_are_read_and_others_are_counted(three, capsys):
    reader = three("age,sex", "58 years,F.", '"45,5",Woman', ">89,W", age="age", sex="sex")
    found = [(record.age, record.sex) for record in reader.records()]
    assert found == [(58.0, "female"), (45.5, "female"), (None, None)]
    assert "of 3 rows, 1 whose sex is not read, such as 'W'." in capsys.readouterr().out
    said = {"whose age is not read, such as '>89'": 1, "whose sex is not read, such as 'W'": 1}
    assert reader.steps() == {"rows": 3, **said}
    told = three("age,sex", "58,W", "59,M", "60,", age="age", sex="sex", values={"sex": {"W": "female"}})
    assert ([record.sex for record in told.records()], told.steps()) == (["female", "male", None], {})


def test_cells_and_images_that_a_setting_names_and_no_row_has_are_said(three, capsys):
    options = {"values": {"side": {"PA": "AP", "pa": "PA"}}, "left_out": {"side": ["LL"]}}
    reader = three("side", "pa", "ap", **options, turns={"0.png": 90, "x.png": 90})
    list(reader.records())
    assert "of 2 rows, 0 whose 'side' is 'PA' (data.reader.values)." in capsys.readouterr().out
    assert reader.steps() == {
        "rows": 2,
        "whose 'side' is 'PA' (data.reader.values)": 0,
        "whose 'side' is 'LL' (data.reader.left_out)": 0,
        "of x.png (data.reader.turns)": 0,
    }


@pytest.mark.parametrize(("column", "used"), [("note", True), ("who", True), ("x", False), ("", False)])
def test_a_name_that_two_columns_have_is_refused_where_it_is_used(tmp_path, column, used):
    (tmp_path / "t.csv").write_text(f"file,note,who,x,,{column}\n0.png,Clear.,p1,,,second\n")
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    reader = TableReader(tmp_path, csv="t.csv", image="file", text="note", patient="who")
    if used:
        with pytest.raises(UserError, match=rf"t\.csv has 2 columns '{column}'; give each a name"):
            list(reader.records())
    else:
        (record,) = reader.records()
        assert (record.text, record.patient_id) == ("Clear.", "p1")


def test_a_column_that_two_columns_of_a_further_table_are_called_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("file,note\n0.png,Clear.\n")
    (tmp_path / "more.csv").write_text("file,age,age\n0.png,58,59\n")
    options = {"csv": "t.csv", "image": "file", "text": "note", "beside": {"more.csv": ["file"]}}
    with pytest.raises(UserError, match="2 columns 'age'"):
        list(TableReader(tmp_path, age="age", **options).records())


def test_a_separator_at_the_end_of_every_row_changes_nothing(tmp_path):
    (tmp_path / "t.csv").write_text('file,note,who\n\n0.png,"A 5"" tube, left",p1,,\n')
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    (record,) = TableReader(tmp_path, csv="t.csv", image="file", text="note", patient="who").records()
    assert (record.text, record.patient_id) == ('A 5" tube, left', "p1")


def test_a_missing_root_or_table_is_an_error_and_never_an_empty_set(tmp_path, table_options):
    with pytest.raises(UserError, match=r"data.root=.*nowhere is not a folder"):
        list(TableReader(tmp_path / "nowhere", **table_options).records())
    with pytest.raises(UserError, match=r"list.csv does not exist"):
        list(TableReader(tmp_path, **table_options).records())


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'file,note\n"' + b"x" * 200_000, b""])
def test_what_is_no_csv_is_refused(table_root, table_options, content):
    (table_root / "list.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"list.csv (is not a CSV|has no column)"):
        list(TableReader(table_root, **table_options).records())


@pytest.mark.parametrize("options", [{"files": "*.png"}, {"csv": "list.csv", "image": "file", "pattern": "x"}])
def test_the_two_ways_are_not_mixed(table_root, options):
    with pytest.raises(UserError, match="and not both"):
        list(TableReader(table_root, text="note", **options).records())


@pytest.mark.parametrize("options", [{}, {"csv": "list.csv"}])
def test_where_no_image_is_named_the_columns_are_proposed(table_root, options):
    with pytest.raises(UserError, match=r"needs data\.reader\.image and others\. list\.csv \(24 rows\) looks like"):
        list(TableReader(table_root, text="note", **options).records())


def test_an_unclosed_template_is_refused(table_root, table_options):
    with pytest.raises(UserError, match="is not a template"):
        list(TableReader(table_root, **{**table_options, "text": "Chest {note"}).records())


PATTERN = {
    "files": "**/*.png",
    "pattern": r"(?P<label>SICK|WELL)/(?P<who>p\d+)(?:_(?P<cause>virus))?",
    "text": "X-ray. {cause}",
    "values": {"cause": {"virus": "Viral.", "": "Clear."}},
    "patient": "who",
    "view": "frontal",
    "labels": ["label", "cause"],
}


@pytest.fixture
def named_root(tmp_path):
    for name in ("SICK/p1_virus_a.png", "WELL/p1_b.png", "other/scan.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(0)).save(tmp_path / name)
    return tmp_path


def test_file_names_alone_are_enough(named_root):
    sick, well, other = TableReader(named_root, **PATTERN).records()
    assert (sick.image_id, sick.patient_id, sick.text) == ("SICK/p1_virus_a.png", "p1", "X-ray. Viral.")
    assert (well.text, well.view, well.patient_id) == ("X-ray. Clear.", "frontal", "p1")
    assert (sick.labels, well.labels) == (["SICK", "virus"], ["WELL"])
    assert other == Rejected("other/scan.png", "file name does not match pattern")


def test_bad_patterns_are_refused(named_root):
    with pytest.raises(UserError, match="is not a regular expression"):
        list(TableReader(named_root, **{**PATTERN, "pattern": "(?P<label>"}).records())
    with pytest.raises(UserError, match="has no column 'age'; it has 'label', 'who', 'cause'"):
        list(TableReader(named_root, **{**PATTERN, "text": "{age}"}).records())
    with pytest.raises(UserError, match="holds no file"):
        TableReader(named_root, **{**PATTERN, "files": "*.dcm"}).files()


def test_joined_readers_share_no_id(named_root, table_root, table_options):
    table = TableReader(table_root, **table_options)
    joined = JoinedReader({"a": table, "b": table, "c": TableReader(named_root, **{**PATTERN, "files": "[!r]*/*.png"})})
    results = list(joined.records())
    assert len(results) == 24 + 24 + 3 == len({item.image_id for item in results})
    records = [item for item in results if isinstance(item, Record)]
    assert {record.patient_id for record in records if record.source == "b"} == {f"b/p{number}" for number in range(8)}
    assert results[-1] == Rejected("c/other/scan.png", "file name does not match pattern")
    assert joined.settings()["readers"]["a"] == table.settings()
    assert len(joined.files()) == 25 + 25 + 3
    assert joined.steps() == {}
    table.steps = lambda: {"reports": 24}
    assert joined.steps() == {"a": {"reports": 24}, "b": {"reports": 24}}


def test_a_table_of_dicom_files_takes_the_view_of_their_headers_and_rejects_laterals_where_asked(tmp_path):
    views = {"a": "PA", "b": "LL", "c": None}
    lines = ["file,note", *(f"{name}.dcm,Clear lungs." for name in views)]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    for name, view in views.items():
        extra = {"ViewPosition": view} if view else {}
        written(file_of(grey_picture(), **extra), tmp_path / f"{name}.dcm")
    options = {"csv": "list.csv", "image": "file", "text": "note"}
    records = list(TableReader(tmp_path, **options).records())
    assert [record.view for record in records] == ["PA", "lateral", None]
    assert np.abs(display(records[0].load()).astype(int) - grey_picture()).max() <= 1
    first, *rejected = TableReader(tmp_path, **options, frontal_only=True).records()
    assert first.view == "PA"
    assert [(item.image_id, item.reason) for item in rejected] == [("b.dcm", "lateral"), ("c.dcm", "view unknown")]


def test_age_and_sex_are_read_where_columns_are_named(table_root, table_options):
    lines = (table_root / "list.csv").read_text().splitlines()
    people = [("70", "F"), ("", "O"), ("6M", "male"), ("old", "")] * 6
    cells = [f"{line},{age},{sex}" for line, (age, sex) in zip(lines[1:], people, strict=True)]
    (table_root / "list.csv").write_text("\n".join([f"{lines[0]},years,gender", *cells]) + "\n")
    records = list(TableReader(table_root, **table_options, age="years", sex="gender").records())
    expected = [(70.0, "female"), (None, None), (0.5, "male"), (None, None)]
    assert [(record.age, record.sex) for record in records[:4]] == expected
    with pytest.raises(UserError, match="has no column 'birthday'"):
        list(TableReader(table_root, **table_options, age="birthday").records())


@pytest.mark.parametrize("cell", ["../../secret", "/etc/secret"])
def test_a_table_names_no_image_outside_its_folder_unless_that_is_allowed(table_root, table_options, cell):
    (table_root.parent / "secret.png").write_bytes((table_root / "images" / "00.png").read_bytes())
    table = table_root / "list.csv"
    table.write_text(table.read_text().replace("\n00,", f"\n{cell},"))
    options = table_options | {"image": "{file}.png" if cell.startswith("/") else "images/{file}.png"}
    reader = TableReader(table_root, **options)
    first = next(reader.records())
    assert first.reason == "image path leads out of the collection's folder; data.reader.outside=true takes it"
    assert all(path.is_relative_to(table_root) and ".." not in path.parts for path in reader.files())
    allowed = TableReader(table_root, **options, outside=True)
    assert allowed.settings() == reader.settings() | {"outside": True}
    taken = next(allowed.records())
    assert isinstance(taken, Record) if cell.startswith("..") else taken.reason == "image file is missing"


@pytest.mark.parametrize(
    ("cell", "view"),
    [
        ("AP Supine", "AP"),
        ("ap_semi_erect", "AP"),
        ("PORTABLE PA", "PA"),
        ("Left Lateral", "lateral"),
        ("LL", "lateral"),
    ],
)
def test_a_view_is_read_from_the_words_of_its_cell(table_root, table_options, cell, view):
    (table_root / "list.csv").write_text(f"file,note,person,kind,projection\n00,Clear.,p0,,{cell}\n")
    (record,) = TableReader(table_root, **table_options).records()
    assert record.view == view


@pytest.mark.parametrize("cell", ["left lateral decubitus", "PA/LAT", "AP oblique", "apical", "lordotic AP", "-"])
def test_a_cell_that_names_another_view_or_two_is_refused(table_root, table_options, cell):
    (table_root / "list.csv").write_text(f"file,note,person,kind,projection\n00,Clear.,p0,,{cell}\n")
    (rejected,) = TableReader(table_root, **table_options).records()
    assert rejected.reason.startswith(f"view {cell!r} is none of PA, AP, frontal, lateral; data.reader.values says")
