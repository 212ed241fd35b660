"""Small files and settings that would grow beyond all bounds are refused before they do."""

import io
import tarfile
import time
import zlib

import numpy as np
import pytest
from dicom_files import file_of, picture
from pydicom import dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxr_ldm.data import download
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.pixels import dicom_file
from cxr_ldm.data.pixels.dicom import header_view, read_dicom
from cxr_ldm.data.pixels.images import UnreadableImage
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.joined import JoinedReader
from cxr_ldm.data.readers.mix import MixReader
from cxr_ldm.errors import UserError


def deflated(path, **changes):
    dataset = file_of(picture(), ViewPosition="PA", **changes)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def bomb(path, megabytes):
    """A deflated file whose data set goes on with zeros, in a thousandth of their size."""
    whole = deflated(path).read_bytes()
    meta = 128 + 4 + 12 + int.from_bytes(whole[128 + 4 + 8 : 128 + 4 + 12], "little")
    inside = zlib.decompress(whole[meta:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [packer.compress(inside)] + [packer.compress(bytes(1 << 20)) for _ in range(megabytes)] + [packer.flush()]
    path.write_bytes(whole[:meta] + b"".join(parts))
    return path


def test_a_deflated_file_reads_as_any_other(tmp_path):
    plain = tmp_path / "plain.dcm"
    dcmwrite(plain, file_of(picture(), ViewPosition="PA"), enforce_file_format=True)
    packed = deflated(tmp_path / "packed.dcm")
    assert packed.stat().st_size < plain.stat().st_size
    np.testing.assert_array_equal(read_dicom(packed).image.values, read_dicom(plain).image.values)
    assert header_view(packed) == "PA"


def test_a_deflated_file_that_would_fill_the_memory_is_refused_at_once(tmp_path):
    path = bomb(tmp_path / "bomb.dcm", 600)
    assert path.stat().st_size < 2 << 20
    began = time.monotonic()
    with pytest.raises(UnreadableImage, match="DICOM file inflates beyond 256 MB"):
        read_dicom(path)
    assert header_view(path) is None
    assert time.monotonic() - began < 60


def test_what_counts_is_the_inflated_size(tmp_path, monkeypatch):
    path = bomb(tmp_path / "small.dcm", 8)
    monkeypatch.setattr(dicom_file, "MOST_BYTES", 4 << 20)
    with pytest.raises(UnreadableImage, match="inflates beyond 4 MB"):
        read_dicom(path)


def archive(path, sizes):
    with tarfile.open(path, "w:gz") as file:
        for number, size in enumerate(sizes):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = size
            file.addfile(member, io.BytesIO(bytes(size)))
    return path


def test_an_archive_that_grows_as_no_collection_does_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1 << 20)
    path = archive(tmp_path / "bomb.tgz", [1 << 20] * 12)
    with pytest.raises(UserError, match="would grow to more than 50 times its size"):
        download.unpack(path, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bomb.tgz"]


def test_an_archive_without_room_on_the_disk_is_refused(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.tgz", [100])
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("usage", (), {"free": 99}))
    with pytest.raises(UserError, match="the disk has no room"):
        download.unpack(path, tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tgz"]


@pytest.mark.parametrize("weight", [1e9, 1001, 0, -1, float("nan")])
def test_no_weight_makes_a_pass_of_any_length(weight, tmp_path):
    with pytest.raises(UserError, match="at most 1000"):
        JoinedReader({"a": PhantomReader(n=4, size=16, seed=0)}, weights={"a": weight})


@pytest.mark.parametrize("tiles", [99_999, 17, 0, 1.5])
def test_no_more_tiles_than_the_image_has_pixels_for(tiles):
    Target(size=32, clahe={"clip_limit": 2.0, "tiles": 16}).check()
    with pytest.raises(UserError, match="whole tiles from 1 to half of"):
        Target(size=32, clahe={"clip_limit": 2.0, "tiles": tiles}).check()


def test_a_mix_bounds_its_weights(monkeypatch):
    monkeypatch.setattr("cxr_ldm.data.readers.mix.Prepared", lambda folder: folder)
    with pytest.raises(UserError, match="at most 1000"):
        MixReader(["a", "b"], [1, 1e9])
