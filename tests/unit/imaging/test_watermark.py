"""The invisible mark: found after JPEG, not found where it is not, not seen; and the command that looks for it."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from cxr_ldm.data.phantom import PhantomReader
from cxr_ldm.errors import UserError
from cxr_ldm.imaging import verify
from cxr_ldm.imaging.dicom import Study, write_dicom
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.provenance import provenance, save_png
from cxr_ldm.imaging.watermark import THRESHOLD, as_jpeg, mark, score

FACTS = provenance(prompt="Normal.", seed=0, steps=2, guidance=1.0, sampler="ddim", bundle_sha256="ab" * 32)


@pytest.fixture(scope="module")
def phantoms():
    """300 pictures of 64 × 64, uint8."""
    records = PhantomReader(n=300, size=64, seed=5).records()
    return np.stack([record.load() for record in records])


def test_it_outlives_jpeg_at_quality_80(phantoms):
    marked = [mark(picture) for picture in phantoms[:200]]
    found = [score(as_jpeg(picture)) > THRESHOLD for picture in marked]
    assert np.mean(found) >= 0.99, f"{np.mean(found):.3f} of 200 outlive it"


def test_no_false_alarm(phantoms):
    values = np.array([score(picture) for picture in phantoms])
    assert values.max() < THRESHOLD - 1
    # the tail of a standard normal is what `false_alarm` promises
    assert abs(values.mean()) < 0.7
    assert 0.7 < values.std() < 1.3


def test_it_is_not_seen(phantoms):
    ratios = [peak_signal_noise_ratio(picture, mark(picture)) for picture in phantoms[:50]]
    assert min(ratios) > 41


def test_odd_sizes_and_extremes():
    noise = np.random.default_rng(0).integers(0, 256, (131, 77)).astype(np.uint8)
    assert score(mark(noise)) > score(noise) + 2
    assert np.array_equal(mark(noise)[128:], noise[128:]), "what makes no whole block stays as it is"
    assert score(np.zeros((64, 64), np.uint8)) == 0.0
    assert score(np.zeros((20, 20), np.uint8)) == 0.0
    with pytest.raises(UserError, match="32 × 32 pixels are too few"):
        mark(np.zeros((32, 32), np.uint8))


def test_finish_keeps_the_marked_levels(phantoms):
    """What is written is what was marked: going through [-1, 1] changes no level."""
    pixels = torch.from_numpy(phantoms[:2]).float()[:, None] / 127.5 - 1
    finished = Finish(watermark=True)(pixels)
    assert np.array_equal(
        ((finished + 1) * 127.5).round().byte().numpy()[:, 0], np.stack([mark(p) for p in phantoms[:2]])
    )
    assert torch.equal(Finish()(pixels), pixels)
    assert Finish(resolution=128)(pixels).shape == (2, 1, 128, 128)
    with pytest.raises(UserError, match="resolution=32 must be a whole number of pixels from 64"):
        Finish(resolution=32, watermark=True)


def test_the_command_tells_marked_from_unmarked(tmp_path, phantoms, capsys):
    pixels = torch.from_numpy(phantoms[0]).float()[None] / 127.5 - 1
    marked = Finish(watermark=True)(pixels[None])[0]
    save_png(tmp_path / "marked.png", marked, FACTS)
    write_dicom(tmp_path / "marked.dcm", marked, FACTS, Study.new(), 1)
    Image.open(tmp_path / "marked.png").save(tmp_path / "sent.jpg", quality=80)  # its text is lost here
    Image.fromarray(phantoms[1]).save(tmp_path / "other.png")

    names = ["marked.png", "marked.dcm", "sent.jpg"]
    assert verify.main([str(tmp_path / name) for name in names]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert ["no provenance" in line for line in lines] == [False, False, True]
    assert all("watermark found" in line for line in lines)
    assert last == "2 of 3 with provenance, 3 with the watermark, which 3 of these 3 keep after JPEG at quality 80."

    assert verify.main([str(tmp_path / "other.png")]) == 1
    assert "no provenance; no watermark" in capsys.readouterr().out


def test_the_command_refuses_what_it_cannot_read(tmp_path, capsys):
    (tmp_path / "a.png").write_text("hello")
    assert verify.main([str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert verify.main([str(tmp_path / "missing.dcm")]) == 2
    assert verify.main([]) == 2
