"""Images from any generator: what other scripts do to them is not done here."""

import json
import zipfile

import numpy as np
import pytest
import torch
from dicom_files import file_of, picture, written
from PIL import Image

from cxr_ldm.data.pictures import Listed, Pictures, listed, read_pictures, unpacked, with_prompts
from cxr_ldm.data.pixels.dicom import load_image
from cxr_ldm.data.readers.files import FilesReader, images_below, is_image, may_crash
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.scoring import paired_places
from cxr_ldm.imaging.dicom import Study, write_dicom
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.imaging.provenance import save_png

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))


@pytest.fixture
def folder(tmp_path):
    """Three pictures, and files that are none."""
    place = tmp_path / "set"
    (place / "deep").mkdir(parents=True)
    Image.fromarray(RAMP).save(place / "a.png")
    Image.fromarray(RAMP.T.copy()).save(place / "deep" / "b.JPG", "JPEG", quality=95)
    write_dicom(place / "c.dcm", torch.from_numpy(RAMP / 127.5 - 1), {"prompt": "x"}, Study.new(), 1)
    (place / "c.json").unlink()
    (place / "notes.txt").write_text("hello")
    return place


def read(place, cache, size=64, **options):
    return read_pictures(listed(place, cache), size, "pad", cache, **options)


def test_png_jpeg_and_our_own_dicom_are_read_and_nothing_else(folder, tmp_path):
    found = read(folder, tmp_path / "cache")
    assert [each.name for each in found.listed] == ["a.png", "c.dcm", "deep/b.JPG"]
    assert np.array_equal(found.images[0], RAMP)
    assert np.array_equal(found.images[1], RAMP)
    assert np.abs(found.images[2].astype(int) - RAMP.T).max() < 6
    assert found.sizes == {"64 x 64": 3}
    assert found.prompts is None
    again = read(folder, tmp_path / "cache")
    assert again.fingerprint == found.fingerprint
    assert np.array_equal(again.images, found.images)


def test_a_file_that_cannot_be_read_is_named_and_becomes_no_black_image(folder, tmp_path):
    """CheXGenBench's loader, among others, goes on with a blank picture, which is then measured."""
    whole = (folder / "a.png").read_bytes()
    (folder / "bad.png").write_bytes(whole[: len(whole) // 2])
    (folder / "worse.jpg").write_text("no picture")
    with pytest.raises(UserError, match=r"2 of 5 images cannot be read \(bad\.png: .*worse\.jpg"):
        read(folder, tmp_path / "cache")
    found = read(folder, tmp_path / "cache", skip=True)
    assert set(found.skipped) == {"bad.png", "worse.jpg"}
    assert len(found.images) == len(found.listed) == 3
    assert found.images.reshape(3, -1).std(axis=1).min() > 50


def test_a_picture_that_is_no_square_is_padded_and_not_squashed(tmp_path):
    Image.fromarray(np.full((32, 64), 200, np.uint8)).save(tmp_path / "wide.png")
    image = read_pictures(listed(tmp_path, tmp_path), 64, "pad", tmp_path / "cache").images[0]
    assert (image[16:48] == 200).all()
    assert not image[:16].any()
    assert not image[48:].any()
    cropped = read_pictures(listed(tmp_path, tmp_path), 64, "crop", tmp_path / "cache").images[0]
    assert (cropped == 200).all()


def test_sixteen_bits_and_colour_are_the_same_picture_and_nothing_wraps(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "8.png")
    deep = (RAMP.astype(np.uint32) * 65535 // RAMP.max()).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "16.png")
    Image.fromarray(np.stack([RAMP] * 3, axis=-1)).save(tmp_path / "colour.png")
    found = read_pictures(listed(tmp_path, tmp_path), 64, "pad", tmp_path / "cache").images
    by_name = dict(zip(["16", "8", "colour"], found.astype(int), strict=True))
    assert np.abs(by_name["16"] * RAMP.max() // 255 - RAMP).max() <= 1
    assert np.array_equal(by_name["8"], by_name["colour"])


def test_a_generator_that_repeats_itself_or_draws_black_is_measured_as_it_is(tmp_path):
    for name in ("a", "b", "c"):
        Image.fromarray(RAMP).save(tmp_path / f"{name}.png")
    Image.new("L", (64, 64)).save(tmp_path / "d.png")
    found = read_pictures(listed(tmp_path, tmp_path), 64, "pad", tmp_path / "cache")
    assert len(found.images) == 4
    assert not found.images[3].any()


def test_prompts_come_from_the_table_the_provenance_or_a_csv(folder, tmp_path):
    (folder / "table.csv").write_text("img_savename,annotated_prompt\na.png,Left effusion\ndeep/b.JPG,Normal\n")
    table = read(folder / "table.csv", tmp_path / "cache")
    assert table.prompts == ["Left effusion", "Normal"]
    (tmp_path / "prompts.csv").write_text("Image,Prompt\nb.JPG,one\na.png,two\nc.dcm,three\n")
    found = with_prompts(listed(folder, tmp_path), tmp_path / "prompts.csv")
    assert [each.prompt for each in found] == ["two", "three", "one"]
    (tmp_path / "few.csv").write_text("file,text\na.png,two\n")
    with pytest.raises(UserError, match=r"no prompt for 2 images, such as c\.dcm"):
        with_prompts(listed(folder, tmp_path), tmp_path / "few.csv")
    (tmp_path / "none.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UserError, match="needs a column of images"):
        with_prompts(listed(folder, tmp_path), tmp_path / "none.csv")


def test_a_table_whose_rows_would_be_cut_is_refused(folder, tmp_path):
    for name in ("table", "prompts"):
        (folder / f"{name}.csv").write_text("image,prompt\na.png,Effusion, left\n")
    with pytest.raises(UserError, match=r"table\.csv: line 2 has 3 cells and the header 2"):
        listed(folder / "table.csv", tmp_path)
    with pytest.raises(UserError, match=r"prompts\.csv: line 2 has 3 cells and the header 2"):
        with_prompts(listed(folder, tmp_path), folder / "prompts.csv")


@pytest.mark.parametrize(("header", "name"), [("image,prompt,prompt", "prompt"), ("Image,image ,prompt", "image")])
def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path, header, name):
    (tmp_path / "t.csv").write_text(f"{header}\na.png,one,two\n")
    with pytest.raises(UserError, match=rf"t\.csv has 2 columns '{name}'"):
        listed(tmp_path / "t.csv", tmp_path)


def test_of_a_folder_of_ours_the_images_alone_are_taken_with_their_prompts(tmp_path):
    for name in ("0000", "0001", "0000_before"):
        save_png(tmp_path / f"{name}.png", torch.zeros(1, 64, 64), {"prompt": f"of {name}"})
    for name in ("grid", "0000_difference"):
        Image.fromarray(RAMP).save(tmp_path / f"{name}.png")
    (tmp_path / "run.json").write_text(json.dumps({}))
    assert [(each.name, each.prompt) for each in listed(tmp_path, tmp_path)] == [
        ("0000.png", "of 0000"),
        ("0001.png", "of 0001"),
    ]


def test_a_zip_gives_its_images_and_writes_nothing_outside(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(folder / "a.png", "x/a.png")
        archive.write(folder / "a.png", "../outside.png")
        archive.writestr("x/run.sh", "echo")
        archive.writestr("__MACOSX/x/._a.png", "junk")
    place = unpacked(tmp_path / "set.zip", tmp_path / "cache")
    assert [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()] == ["x/a.png"]
    assert not (tmp_path / "outside.png").exists()
    found = read(tmp_path / "set.zip", tmp_path / "cache")
    assert np.array_equal(found.images[0], RAMP)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="cannot be unpacked"):
        read(tmp_path / "bad.zip", tmp_path / "cache")


def test_a_zip_of_a_folder_of_ours_gives_its_images_alone(tmp_path):
    (tmp_path / "set").mkdir()
    for name in ("0000", "0000_before", "grid"):
        save_png(tmp_path / "set" / f"{name}.png", torch.zeros(1, 64, 64), {"prompt": "x"})
    (tmp_path / "set" / "grid.json").unlink()
    (tmp_path / "set" / "run.json").write_text("{}")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in (tmp_path / "set").iterdir():
            archive.write(path, f"set/{path.name}")
    assert [each.name for each in listed(tmp_path / "set.zip", tmp_path / "cache")] == ["set/0000.png"]
    assert [each.name for each in listed(tmp_path / "set", tmp_path)] == ["0000.png"]


def test_prompts_that_are_not_clear_or_empty_are_none(folder, tmp_path):
    (tmp_path / "prompts.csv").write_text("image,prompt\nx/a.png,one\ny/a.png,two\nc.dcm,three\nb.JPG,four\n")
    with pytest.raises(UserError, match=r"several prompts for a\.png"):
        with_prompts(listed(folder, tmp_path), tmp_path / "prompts.csv")
    for cell in (" ", "nan", "-", "[]"):
        (folder / "table.csv").write_text(f"image,prompt\na.png,{cell}\n")
        assert read(folder / "table.csv", tmp_path / "cache").prompts is None


def test_sets_are_paired_by_the_names_that_both_have():
    def pictures(names):
        return Pictures(np.zeros((len(names), 8, 8), np.uint8), [Listed(name, None) for name in names], {}, {}, "")

    assert paired_places(pictures("abcd"), pictures("bcd")) == ([1, 2, 3], [0, 1, 2])
    assert paired_places(pictures("abc"), pictures("xy")) == ([0, 1], [0, 1])


def test_what_names_no_images_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("image\na.png\na.png\n")
    (tmp_path / "b.csv").write_text("image\nmissing.png\n")
    (tmp_path / "c.csv").write_text("x\n1\n")
    (tmp_path / "d.txt").write_text("x")
    for name, words in (
        ("nowhere", "does not exist"),
        ("empty", "holds no PNG"),
        ("a.csv", "more than once"),
        ("c.csv", "no column of images"),
        ("d.txt", "no folder, CSV or ZIP"),
    ):
        with pytest.raises(UserError, match=words):
            listed(tmp_path / name, tmp_path)
    with pytest.raises(UserError, match=r"1 of 1 images are not there, such as missing\.png"):
        read(tmp_path / "b.csv", tmp_path / "cache")


def test_files_are_known_by_their_first_bytes_whatever_they_are_called(folder):
    (folder / "scan").write_bytes((folder / "c.dcm").read_bytes())
    assert is_image(folder / "scan")
    assert not is_image(folder / "notes.txt")
    names = [path.name for path in images_below(folder)]
    assert "scan" in names
    reader = FilesReader(folder, "test", "set")
    records = list(reader.records())
    assert [record.split for record in records] == ["test"] * 4
    last = next(record for record in records if record.image_id == "scan")
    assert np.array_equal(last.load(), to_uint8(torch.from_numpy(RAMP / 127.5 - 1)))


def test_what_a_dicom_decoder_reads_is_read_apart_whatever_it_is_called(tmp_path):
    """A decoder that damaged bytes bring down would take the program with it."""
    dicom, png = tmp_path / "c.png", tmp_path / "c.dcm"
    written(file_of(picture()), dicom)
    Image.fromarray(picture()).save(png, "PNG")
    assert may_crash(dicom)
    assert not may_crash(png)
    assert not may_crash(tmp_path / "absent.png")


def test_pictures_of_other_formats_are_counted_and_named(tmp_path, capsys):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    for name in ("b.tif", "c.tif", "d.webp"):
        Image.fromarray(picture()).save(tmp_path / name)
    assert [path.name for path in images_below(tmp_path)] == ["a.png"]
    assert f"{tmp_path}: left out 2 TIFF, 1 WebP; PNG, JPEG and DICOM files are read." in capsys.readouterr().out
    with pytest.raises(UserError, match=r"b\.tif: image is a TIFF file; PNG, JPEG and DICOM files are read"):
        load_image(tmp_path / "b.tif")
    Image.fromarray(picture()).save(tmp_path / "e.jfif", "JPEG")
    assert load_image(tmp_path / "e.jfif").shape == picture().shape
