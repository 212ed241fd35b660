"""A prepared folder as one file, and back: the same rows, the same fingerprint, no test image."""

import zipfile

import cv2
import numpy as np
import pytest

from cxr_ldm.data.pack import decode, encode, pack, psnr, unpack
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.errors import UserError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    reader = PhantomReader(60, 64, 0)
    folder = tmp_path_factory.mktemp("pack") / "a"
    return prepare(reader, folder, Target(64), name="a", splits={"seed": 0, "val": 0.2, "test": 0.3})


def kept(prepared):
    return np.sort(np.concatenate([prepared.rows("train"), prepared.rows("val")]))


def test_without_loss_where_that_fits(prepared, tmp_path):
    facts = pack(prepared.folder, tmp_path / "a.pack", limit_mb=1)
    back, rows = unpack(tmp_path / "a.pack", tmp_path / "b"), kept(prepared)
    assert (facts["format"], facts["psnr"], facts["images"]) == ("png", None, len(rows))
    np.testing.assert_array_equal(back.images, prepared.images[rows])
    assert back.fingerprint == prepared.fingerprint
    assert (back.name, back.kind, back.size) == (prepared.name, prepared.kind, prepared.size)
    everything = np.arange(len(back))
    assert (back.ids(everything), back.texts(everything)) == (prepared.ids(rows), prepared.texts(rows))
    assert back.packed == {key: value for key, value in facts.items() if key != "megabytes"}
    assert prepared.packed is None
    # caches hold one value for each row, and the rows are others
    assert prepared.identity == prepared.fingerprint != back.identity


def test_no_test_image_leaves_the_machine(prepared, tmp_path):
    pack(prepared.folder, tmp_path / "a.pack", limit_mb=1)
    back = unpack(tmp_path / "a.pack", tmp_path / "b")
    assert len(back.rows("test")) == 0
    assert not set(back.ids(np.arange(len(back)))) & set(prepared.ids(prepared.rows("test")))
    with zipfile.ZipFile(tmp_path / "a.pack") as archive:
        assert len([name for name in archive.namelist() if name.isdigit()]) == len(kept(prepared))


def test_else_the_best_quality_that_fits_and_its_cost(prepared, tmp_path):
    whole = pack(prepared.folder, tmp_path / "whole.pack", limit_mb=1)["megabytes"]
    measured = {}

    def measure(original, packed):
        measured["pair"] = original, packed
        return {"kid": 0.5}

    facts = pack(prepared.folder, tmp_path / "a.pack", limit_mb=0.07, measure=measure)
    assert whole > 0.07
    assert (tmp_path / "a.pack").stat().st_size <= 70_000
    assert (facts["format"], facts["kid"]) == ("jpeg", 0.5)
    original, packed = measured["pair"]
    np.testing.assert_array_equal(original, prepared.images[prepared.rows("train")])
    expected = np.mean([cv2.PSNR(*pair) for pair in zip(original, packed, strict=True)])
    assert facts["psnr"] == pytest.approx(expected, abs=1e-6)
    back = unpack(tmp_path / "a.pack", tmp_path / "b")
    np.testing.assert_array_equal(back.images[back.rows("train")], packed)
    assert back.fingerprint == prepared.fingerprint


def test_weights_of_a_mix_come_along(prepared, tmp_path):
    rows = np.arange(len(prepared))
    folder = tmp_path / "weighed"
    folder.mkdir()
    for path in prepared.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    np.save(folder / "weights.npy", rows / 10)
    pack(folder, tmp_path / "a.pack", limit_mb=1)
    back = unpack(tmp_path / "a.pack", tmp_path / "b")
    np.testing.assert_allclose(back.draw_weights(np.arange(len(back))), kept(prepared) / 10)


def test_bad_input_gets_one_sentence(prepared, tmp_path):
    with pytest.raises(UserError, match="limit_mb=0.001 is too small"):
        pack(prepared.folder, tmp_path / "a.pack", limit_mb=0.001)
    pack(prepared.folder, tmp_path / "a.pack", limit_mb=1)
    with pytest.raises(UserError, match="exists already"):
        pack(prepared.folder, tmp_path / "a.pack", limit_mb=1)
    with pytest.raises(UserError, match="exists already"):
        unpack(tmp_path / "a.pack", tmp_path)
    (tmp_path / "cut.pack").write_bytes((tmp_path / "a.pack").read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        unpack(tmp_path / "cut.pack", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_pictures_survive_and_others_are_refused():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    np.testing.assert_array_equal(decode(encode(picture, None), 16), picture)
    assert psnr(picture[None], decode(encode(picture, 98), 16)[None]) > 30
    with pytest.raises(ValueError, match="is not 8 x 8"):
        decode(encode(picture, None), 8)
