"""Image files of every kind become the same 8-bit greyscale, and no cast wraps (defect 10a)."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from cxr_ldm.data.pixels.images import UnreadableImage, read_grey, resize_square, to_uint8
from cxr_ldm.errors import UserError

RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))


def saved(tmp_path: Path, image: Image.Image, name: str = "image.png", **options) -> Path:
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_grey_stays_grey_in_every_mode(tmp_path, mode):
    image = Image.fromarray(RAMP)
    image = image if mode == "P" else image.convert(mode)
    if mode == "P":
        image = image.quantize(256)
    np.testing.assert_array_equal(read_grey(saved(tmp_path, image)), RAMP)


def test_colour_becomes_luma(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    # 255 times the weights 0.299, 0.587, 0.114 of ITU-R 601.
    np.testing.assert_array_equal(read_grey(saved(tmp_path, Image.fromarray(colours))), [[76, 150, 29]])


def test_transparency_lies_over_black(tmp_path):
    pixels = np.array([[[200, 255], [200, 0]]], dtype=np.uint8)
    np.testing.assert_array_equal(read_grey(saved(tmp_path, Image.fromarray(pixels, "LA"))), [[200, 0]])


def test_twelve_bits_in_sixteen_are_scaled_by_their_range(tmp_path):
    levels = np.linspace(100, 4095, 256).round().astype(np.uint16)
    grey = read_grey(saved(tmp_path, Image.fromarray(np.tile(levels, (4, 1)))))
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, RAMP[:4])


def wide_png(pixels: np.ndarray, path: Path) -> Path:
    """A PNG file of 16 bits [H, W, channels]: grey and alpha, RGB, or RGBA; written here, since Pillow writes none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_in_several_channels_are_scaled_by_their_range_as_grey_is(tmp_path, channels):
    levels = np.tile(np.linspace(100, 4095, 256).round(), (4, 1))
    pixels = np.repeat(levels[..., None], channels, axis=2)
    if channels != 3:
        pixels[..., -1] = 65535
    grey = read_grey(wide_png(pixels, tmp_path / "wide.png"))
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, RAMP[:4])


@pytest.mark.parametrize("channels", [2, 4])
def test_what_is_transparent_is_black_and_not_counted_in_the_range(tmp_path, channels):
    pixels = np.full((1, 5, channels), 60000)
    pixels[..., -1] = [65535, 65535, 65535, 0, 32768]
    pixels[0, :3, :-1] = np.array([1000, 2000, 3000])[:, None]
    pixels[0, 4, :-1] = 3000
    np.testing.assert_array_equal(read_grey(wide_png(pixels, tmp_path / "wide.png")), [[0, 128, 255, 0, 128]])


def test_sixteen_bit_colour_becomes_luma(tmp_path):
    colours = np.array([[[65535, 0, 0], [0, 65535, 0], [0, 0, 65535], [0, 0, 0], [65535, 65535, 65535]]])
    np.testing.assert_array_equal(read_grey(wide_png(colours, tmp_path / "wide.png")), [[76, 150, 29, 0, 255]])


def test_one_bit_images_are_black_and_white(tmp_path):
    grey = read_grey(saved(tmp_path, Image.fromarray(RAMP > 127)))
    np.testing.assert_array_equal(grey, np.where(RAMP > 127, 255, 0))


def test_exif_orientation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying; shown after a quarter turn clockwise
    path = saved(tmp_path, Image.fromarray(RAMP), "image.jpg", exif=exif, quality=100)
    grey = read_grey(path)
    assert grey.shape == (256, 16)
    np.testing.assert_allclose(grey[:, 0].astype(int), np.arange(256), atol=3)


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_every_exif_orientation_is_that_of_pillow(tmp_path, orientation, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = np.random.default_rng(0).integers(0, 256, (3, 5)).astype(np.uint8 if mode == "L" else np.uint16)
    path = saved(tmp_path, Image.fromarray(values), exif=exif)
    with Image.open(path) as file:
        np.testing.assert_array_equal(read_grey(path), to_uint8(np.asarray(ImageOps.exif_transpose(file))))


def test_an_exif_tag_of_the_wrong_type_does_not_hide_the_orientation(tmp_path):
    """Pillow raises TypeError on writing such a block anew, which is no need of ours."""
    block = b"II*\0" + struct.pack("<IH", 8, 2)
    block += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation
    block += struct.pack("<HHI4s", 0x011A, 2, 4, b"abc\0")  # the resolution is a text, and no ratio
    path = saved(tmp_path, Image.fromarray(RAMP), "image.jpg", exif=b"Exif\0\0" + block + b"\0\0\0\0", quality=100)
    assert read_grey(path).shape == (256, 16)


class NobodyKnowsThisError(Exception):
    """Of no class that a reader could list."""


@pytest.mark.parametrize("part", ["load", "getexif"])
def test_whatever_a_decoder_raises_rejects_the_file_by_name(tmp_path, monkeypatch, part):
    path = saved(tmp_path, Image.fromarray(RAMP))

    def fail(self):
        raise NobodyKnowsThisError

    monkeypatch.setattr(PngImageFile, part, fail)
    if part == "getexif":
        np.testing.assert_array_equal(read_grey(path), RAMP)
        return
    with pytest.raises(UnreadableImage, match=r"image\.png: image is not a readable PNG or JPEG file"):
        read_grey(path)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-300, -1, 0, 255, 256, 70_000]], dtype=np.int32),
        np.array([[-2000, 0, 2000]], dtype=np.int16),
        np.array([[0, 256, 65_535]], dtype=np.uint16),
        np.array([[-1.0, -0.001, 0.0, 0.999, 1.0]], dtype=np.float32),
        np.array([[-1e30, 0.0, 1e30]]),
        np.array([[False, True]]),
        np.array([[-128, -1, 0, 127]], dtype=np.int8),
    ],
    ids=lambda values: str(values.dtype),
)
def test_no_cast_wraps(values):
    """A cast that wraps breaks the order of the values: 256 would come out below 255, and -1 above 0."""
    grey = to_uint8(values)
    assert grey.dtype == np.uint8
    assert (grey[0, 0], grey[0, -1]) == (0, 255)
    assert (np.diff(grey[0].astype(int)) >= 0).all()
    exact = (values.astype(np.float64) - values.min()) / (float(values.max()) - float(values.min())) * 255
    assert np.abs(grey - exact).max() <= 0.5


def test_a_constant_image_is_black_and_not_a_number_is_refused():
    assert to_uint8(np.full((2, 2), 7.0)).max() == 0
    with pytest.raises(UserError, match="not finite"):
        to_uint8(np.array([[0.0, np.nan]]))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_files_are_refused_by_name(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), f"half.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImage, match=rf"half\.{suffix}: image is truncated") as error:
        read_grey(path)
    assert str(tmp_path) not in error.value.reason


def test_what_is_no_image_is_refused_by_name(tmp_path):
    (tmp_path / "note.png").write_text("not an image")
    with pytest.raises(UnreadableImage, match=r"note\.png: image is not a readable PNG or JPEG"):
        read_grey(tmp_path / "note.png")
    with pytest.raises(UnreadableImage, match=r"gone\.png: image file is missing"):
        read_grey(tmp_path / "gone.png")


@pytest.mark.parametrize("suffix", ["PNG", "JPEG"])
def test_damaged_files_give_an_image_or_the_one_error(tmp_path, suffix):
    buffer = io.BytesIO()
    Image.fromarray(RAMP).save(buffer, suffix)
    whole, generator = buffer.getvalue(), np.random.default_rng(1)
    for _ in range(200):
        damaged = bytearray(whole[: generator.integers(1, len(whole) + 1)])
        for place in generator.integers(0, len(damaged), 4):
            damaged[place] = generator.integers(0, 256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        with contextlib.suppress(UnreadableImage):
            assert read_grey(path).dtype == np.uint8


def test_padding_keeps_everything_and_centres_it():
    square = resize_square(np.full((100, 50), 200, dtype=np.uint8), 20, "pad")
    assert (square[:, 5:15] == 200).all()
    assert square[:, :5].max() == square[:, 15:].max() == 0


def test_cropping_keeps_the_centre():
    image = np.zeros((60, 20), dtype=np.uint8)
    image[20:40] = 90
    assert (resize_square(image, 10, "crop") == 90).all()
    assert (resize_square(image.T, 10, "crop") == 90).all()


def test_shrinking_is_the_mean_of_the_area():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    means = image.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(resize_square(image, 8, "pad"), means, atol=0.51)


def test_enlarging_does_not_wrap_at_an_edge():
    edge = np.zeros((8, 8), dtype=np.uint8)
    edge[:, 4:] = 255
    large = resize_square(edge, 64, "pad")
    assert large[:, :24].max() < 30
    assert large[:, 40:].min() > 225
    ramp = large[:, 24:40].astype(int)
    assert (np.diff(ramp) >= 0).all()
    assert ramp.mean() == pytest.approx(127.5, abs=3)


def test_an_unknown_fit_is_refused():
    with pytest.raises(UserError, match="use pad or crop"):
        resize_square(RAMP, 8, "stretch")


def test_a_picture_whose_rows_are_not_all_there_is_refused(tmp_path):
    """Decoders fill in the rest, and say nothing where the file's end is in its place."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (64, 96), dtype=np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels).save(path, quality=95)
    data = path.read_bytes()
    assert read_grey(path).shape == (64, 96)
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    with pytest.raises(UnreadableImage, match=r"a\.jpg: image is truncated or damaged"):
        read_grey(path)
    black = np.zeros((64, 96), np.uint8)
    black[:32] = pixels[:32]
    Image.fromarray(black).save(path, quality=95)  # a margin of its own
    assert read_grey(path).shape == (64, 96)
    for image in (black, np.dstack([black] * 3), black.astype(np.uint16) * 257):
        png = tmp_path / "b.png"
        Image.fromarray(image).save(png)
        assert read_grey(png).shape == (64, 96)
        whole = png.read_bytes()
        at = whole.index(b"IDAT")
        size = int.from_bytes(whole[at - 4 : at])
        rows = zlib.decompress(whole[at + 4 : at + 4 + size])
        half = zlib.compress(rows[: len(rows) // 2])
        chunk = b"IDAT" + half
        end = whole[at + 8 + size :]
        png.write_bytes(whole[: at - 4] + len(half).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + end)
        with pytest.raises(UnreadableImage, match=r"b\.png: image is truncated or damaged"):
            read_grey(png)


def test_a_transparent_value_of_a_16_bit_png_counts_in_no_range(tmp_path):
    values = np.tile(np.linspace(100, 3000, 64).astype(np.uint16), (40, 1))
    alone = read_grey(saved(tmp_path, Image.fromarray(values), "plain.png"))
    framed = np.full((40, 80), 65535, np.uint16)
    framed[:, 8:-8] = values
    path = saved(tmp_path, Image.fromarray(framed), "framed.png")
    data = path.read_bytes()
    chunk = b"tRNS" + (65535).to_bytes(2)
    at = data.index(b"IDAT") - 4
    path.write_bytes(data[:at] + (2).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + data[at:])
    grey = read_grey(path)
    np.testing.assert_array_equal(grey[:, 8:-8], alone)
    assert grey[:, :8].max() == 0
    assert len(np.unique(alone)) > 50
