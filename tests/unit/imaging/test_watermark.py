"""The invisible mark: found after JPEG, not found where it is not, not seen; and the command that looks for it."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.errors import UserError
from cxr_ldm.imaging import verify
from cxr_ldm.imaging.dicom import Study, write_dicom
from cxr_ldm.imaging.finish import Finish
from cxr_ldm.imaging.grids import save_grid
from cxr_ldm.imaging.presets import apply, presets
from cxr_ldm.imaging.provenance import provenance, save_png
from cxr_ldm.imaging.watermark import KEY, THRESHOLD, as_jpeg, dither, false_alarm, mark, score

FACTS = provenance(prompt="Normal.", seed=0, steps=2, guidance=1.0, sampler="ddim", bundle_sha256="ab" * 32)


@pytest.fixture(scope="module")
def phantoms():
    """1,000 pictures of 64 × 64, uint8."""
    records = PhantomReader(n=1000, size=64, seed=5).records()
    return np.stack([record.load() for record in records])


def test_it_outlives_jpeg_at_quality_80(phantoms):
    """All of 240, plain and through each preset, with room to spare."""
    chains = [[], *(preset.steps for preset in presets().values())]
    for number, picture in enumerate(phantoms[:240]):
        stages = apply(picture / 255, chains[number % len(chains)])
        enhanced = np.rint(stages[-1].image * 255).astype(np.uint8) if stages else picture
        assert score(as_jpeg(mark(enhanced))) > 2 * THRESHOLD


def test_no_false_alarm(phantoms):
    """None of 1,000, and of each of them not after JPEG either; the scores are those of chance."""
    values = np.array([score(picture) for picture in phantoms])
    assert values.max() < THRESHOLD - 1
    assert max(score(as_jpeg(picture)) for picture in phantoms[:240]) < THRESHOLD - 1
    assert abs(values.mean()) < 0.7
    assert 0.7 < values.std() < 1.3


def test_the_bound_on_false_alarms_holds():
    """For any picture, over the dithers: here for one of one grey and one of noise, under 2,000 other dithers."""
    generator = np.random.default_rng(0)
    for phases in (np.zeros(768), generator.random(768)):
        shifts = generator.random((2000, 768))
        scores = np.cos(2 * np.pi * (phases - shifts)).sum(1) * math.sqrt(2 / 768)
        for value in (0.5, 1.0, 2.0, 3.0):
            assert np.mean(scores >= value) <= false_alarm(value)
    assert false_alarm(THRESHOLD) < 1e-7


def test_it_is_not_seen(phantoms):
    ratios = [peak_signal_noise_ratio(picture, mark(picture)) for picture in phantoms[:100]]
    assert min(ratios) > 44.5
    changes = [(mark(picture).astype(int) - picture).mean() for picture in phantoms[:100]]
    assert np.abs(changes).max() < 1, "no change of brightness but what black cuts off"


def test_marks_made_today_are_found_tomorrow():
    """The dither is part of the format: another would leave all earlier marks unread."""
    assert KEY == b"cxr_ldm: synthetic"
    assert (dither(2, 2)[[0, 1], [0, 1], [0, 11]] * 65536).tolist() == [24126, 9090]
    assert np.array_equal(dither(9, 7).ravel()[:100], dither(20, 30).ravel()[:100])


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("shape", [(64, 64), (131, 77), (1024, 1024)])
def test_flat_pictures_hold_it_too(shape, grey):
    flat = np.full(shape, grey, np.uint8)
    assert score(flat) < 3
    assert score(as_jpeg(mark(flat))) > 2 * THRESHOLD


def test_odd_sizes_and_extremes():
    noise = np.random.default_rng(0).integers(0, 256, (131, 77)).astype(np.uint8)
    before, marked = noise.copy(), mark(noise)
    assert np.array_equal(noise, before), "the input stays"
    assert score(marked) > 2 * THRESHOLD > 0 > score(noise) - 4
    assert np.array_equal(marked[128:], noise[128:]), "what makes no whole block stays as it is"
    assert np.abs(mark(marked).astype(int) - marked).max() <= 2, "a second mark changes next to nothing"
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
    with pytest.raises(UserError, match="this model draws 32 × 32 pixels"):
        Finish(watermark=True).check_size(32)
    with pytest.raises(UserError, match="step 'blur' is none of"):
        Finish(steps=[{"step": "blur"}])


def test_the_facts_state_every_parameter():
    facts = Finish("own", [{"step": "clahe", "tiles": 4}], 128, True).facts()
    assert facts["enhance"] == {"name": "own", "steps": [{"step": "clahe", "clip_limit": 2.0, "tiles": 4}]}
    assert (facts["resolution"], facts["watermark"]) == (128, True)
    assert Finish().facts() == {}


def test_the_command_tells_marked_from_unmarked(tmp_path, phantoms, capsys):
    pixels = torch.from_numpy(phantoms[:1]).float()[:, None] / 127.5 - 1
    marked = Finish(watermark=True)(pixels)
    save_png(tmp_path / "marked.png", marked[0], FACTS)
    write_dicom(tmp_path / "marked.dcm", marked[0], FACTS, Study.new(), 1)
    save_grid(tmp_path / "grid.png", marked, 1, ["Normal. (seed 0)"], FACTS, watermark=True)
    Image.open(tmp_path / "marked.png").save(tmp_path / "sent.jpg", quality=80)  # its text is lost here
    (tmp_path / "sent.jpg").rename(tmp_path / "renamed")
    Image.fromarray(phantoms[1]).save(tmp_path / "other.png")
    save_png(tmp_path / "plain.png", pixels[0], FACTS)

    names = ["marked.png", "marked.dcm", "grid.png", "renamed"]
    assert verify.main([str(tmp_path / name) for name in names]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert ["no provenance" in line for line in lines] == [False, False, False, True]
    assert all("watermark found (score" in line and "; outlives JPEG at quality 80 (" in line for line in lines)
    assert last == (
        "3 of 4 files with provenance, 4 with the watermark, which 4 of these 4 keep after JPEG at quality 80 (100%)."
    )

    assert verify.main([str(tmp_path / name) for name in ("marked.png", "other.png", "plain.png")]) == 1
    _, other, plain, last = capsys.readouterr().out.splitlines()
    assert "no provenance; no watermark (score" in other
    assert "provenance of cxr_ldm" in plain
    assert "no watermark (score" in plain
    assert last.startswith("2 of 3 files with provenance, 1 with the watermark, which 1 of these 1 keep")


def test_a_mark_that_jpeg_removes_is_not_counted(tmp_path, phantoms, capsys):
    """Two of eight rows of blocks are marked: enough to be found as they are, too little after JPEG."""
    weak = phantoms[0].copy()
    weak[48:] = mark(phantoms[0])[48:]
    Image.fromarray(weak).save(tmp_path / "weak.png")
    found = verify.examine(tmp_path / "weak.png")
    assert found.after_jpeg < THRESHOLD < found.score
    assert verify.main([str(tmp_path / "weak.png")]) == 0
    line, last = capsys.readouterr().out.splitlines()
    assert "does not outlive JPEG at quality 80" in line
    assert "1 with the watermark, which 0 of these 1 keep after JPEG at quality 80 (0%)." in last


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.png", b"hello", "not a readable PNG, JPEG or DICOM file"),
        ("a.png", b"\x89PNG\r\n\x1a\n broken", "not a readable PNG or JPEG"),
        ("a.dcm", b"", "not a readable PNG, JPEG or DICOM file"),
        ("missing.dcm", None, "image file is missing"),
        (".", None, "Is a directory"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        verify.main([str(tmp_path / name)])
    assert words in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_no_file_is_an_error_and_help_is_none(capsys):
    with pytest.raises(UserError, match="no file is named"):
        verify.main([])
    assert verify.main(["--help"]) == 0
    assert "Exit code 0" in capsys.readouterr().out


def test_a_truncated_dicom_file_is_refused(tmp_path, phantoms):
    write_dicom(tmp_path / "a.dcm", torch.zeros(64, 64), FACTS, Study.new(), 1)
    content = (tmp_path / "a.dcm").read_bytes()
    for length in (200, 1200, len(content) - 2000):
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        with pytest.raises(UserError, match="cut.dcm"):
            verify.examine(tmp_path / "cut.dcm")
