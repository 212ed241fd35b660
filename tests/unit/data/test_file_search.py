"""Files behind links, with extensions in capitals, and places that cannot be read."""

import os
from pathlib import Path

import pytest
from PIL import Image
from small_pictures import picture

from cxr_ldm.data.prepared.manifest import Record, Rejected
from cxr_ldm.data.readers.file_search import in_either_case, matching
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names(root: Path, pattern: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in matching(root, pattern)]


def test_without_links_and_capitals_it_is_the_glob_of_pathlib(tmp_path):
    touch(*(tmp_path / name for name in ("a.png", "x/b.png", "x/y/c.png", "x/y/d.jpg", "x1/z/.e.png", "w.png/f.png")))
    for pattern in ("*.png", "**/*.png", "*/*.png", "x/**/*.png", "x*/*/*.png", "**/y/*", "[x]/*.p?g", "**/**/*"):
        assert matching(tmp_path, pattern) == sorted(path for path in tmp_path.glob(pattern) if path.is_file()), pattern


def test_linked_folders_and_files_are_followed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root / "classA" / "0.png", elsewhere / "1.png", elsewhere / "deep" / "2.png", tmp_path / "3.png")
    (root / "classB").symlink_to("../elsewhere")
    (root / "classC").symlink_to(elsewhere)  # one folder by two names is two classes
    (root / "link.png").symlink_to(tmp_path / "3.png")
    expected = ["classA/0.png"] + [f"class{letter}/{name}" for letter in "BC" for name in ("1.png", "deep/2.png")]
    assert names(root, "**/*.png") == [*expected, "link.png"]


def test_a_loop_of_links_ends(tmp_path):
    touch(tmp_path / "a" / "b" / "0.png")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    assert names(tmp_path, "**/*.png") == ["a/b/0.png"]


def test_a_link_to_nothing_and_a_folder_that_cannot_be_read_are_named(tmp_path, capsys, monkeypatch):
    touch(tmp_path / "a.png", tmp_path / "shut" / "b.png")
    (tmp_path / "c.png").symlink_to("gone.png")
    listed = Path.iterdir

    def iterdir(self):
        if self.name == "shut":
            raise PermissionError(13, os.strerror(13))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert names(tmp_path, "**/*.png") == ["a.png"]
    out = capsys.readouterr().out
    assert f"{tmp_path} holds 1 links to files that are not there" in out
    assert f"{tmp_path / 'shut'} cannot be read (Permission denied)" in out


def test_the_case_of_an_extension_does_not_count(tmp_path):
    touch(tmp_path / "a.PNG", tmp_path / "b.png", tmp_path / "c.Png", tmp_path / "A.DCM", tmp_path / "d")
    assert names(tmp_path, "*.png") == ["a.PNG", "b.png", "c.Png"]
    assert names(tmp_path, "*.Dcm") == ["A.DCM"]
    assert names(tmp_path, "D.dcm") == []
    assert in_either_case(tmp_path / "a.png") == tmp_path / "a.PNG"
    assert in_either_case(tmp_path / "b.PNG") == tmp_path / "b.png"
    assert in_either_case(tmp_path / "d") == tmp_path / "d"
    assert in_either_case(tmp_path / ("long" * 100)) == tmp_path / ("long" * 100)


@pytest.fixture
def shouting(table_root):
    """The files of `table_root` with their extension in capitals."""
    for path in (table_root / "images").iterdir():
        path.rename(path.with_suffix(".PNG"))
    return table_root


def test_a_table_names_files_whose_extension_is_in_capitals(shouting, table_options):
    reader = TableReader(shouting, **table_options)
    assert sum(isinstance(item, Record) for item in reader.records()) == 24
    assert len(reader.files()) == 25


def test_an_image_may_be_elsewhere_and_is_missing_even_without_its_folder(table_root, table_options):
    options = table_options | {"image": "jpg/{file}.jpg"}
    assert set(TableReader(table_root, **options).records()) == {
        Rejected(f"jpg/{number:02d}.jpg", "image file is missing", f"{table_root}/jpg/{number:02d}.jpg")
        for number in range(24)
    }
    reader = TableReader(table_root, elsewhere=["png/{file}.png", "images/{file}.png"], **options)
    first = next(reader.records())
    assert (first.image_id, first.path) == ("jpg/00.jpg", table_root / "images" / "00.png")
    assert first.load().shape == picture(0).shape
    assert table_root / "images" / "00.png" in reader.files()


def test_images_that_share_no_patient_are_said_to(table_root, table_options, capsys):
    without = {key: value for key, value in table_options.items() if key != "patient"}
    list(TableReader(table_root, **without).records())
    assert "each of 24 images of" in (line := capsys.readouterr().out)
    assert line.count("\n") == 1
    records = list(TableReader(table_root, patient="none", **without).records())
    assert len({record.patient_id for record in records}) == 24
    list(TableReader(table_root, **table_options).records())
    assert capsys.readouterr().out == ""


def test_a_template_takes_names_with_points_and_formats_of_numbers(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "007.png")
    (tmp_path / "r.csv").write_text('"Image.Index","Report.Text","Id"\n"0","Clear lungs.","7"\n"1","Clear.","7.0"\n')
    options = {"csv": "r.csv", "image": "{Id:03d}.png", "text": "{Report.Text} {Image.Index}", "patient": "Image.Index"}
    records = list(TableReader(tmp_path, **options).records())
    assert [record.text for record in records] == ["Clear lungs. 0", "Clear. 1"]
    assert {record.image_id for record in records} == {"007.png"}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("{Report.Text:01d}.png", "column 'Report.Text' holds 'Clear lungs.', which the format '01d'"),
        ("{Id:{Id}}.png", "is not a template"),
        ("{Id!r}.png", "is not a template"),
        ("{}.png", "is not a template"),
        ("{Id:%%}.png", "column 'Id' holds '7', which the format '%%'"),
    ],
)
def test_a_template_that_cannot_be_filled_is_one_sentence(tmp_path, image, message):
    (tmp_path / "r.csv").write_text('"Image.Index","Report.Text","Id"\n"0.png","Clear lungs.","7"\n')
    with pytest.raises(UserError, match=message):
        list(TableReader(tmp_path, csv="r.csv", image=image, text="Report.Text").records())
