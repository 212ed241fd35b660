"""Enhancements against OpenCV, scikit-image and scipy."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage import exposure, filters

from cxr_ldm.errors import UserError
from cxr_ldm.imaging import enhance
from cxr_ldm.imaging.enhance import STEPS, clahe, edges, equalise, median, vignette, window
from cxr_ldm.imaging.presets import apply, presets, read_preset


@pytest.fixture(params=[(16, 16), (64, 96), (201, 133)])
def picture(request):
    return smooth_picture(request.param)


def smooth_picture(shape):
    """A smooth picture with noise, float64 in [0, 1]."""
    noise = np.random.default_rng(0).random(shape)
    smooth = ndimage.gaussian_filter(noise, 3)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return 0.9 * smooth + 0.1 * noise


def test_window_is_scikit_images_rescaling(picture):
    ours = window(picture, center=0.4, width=0.5)
    theirs = exposure.rescale_intensity(picture, in_range=(0.15, 0.65), out_range=(0, 1))
    assert np.abs(ours - theirs).max() < 1e-6


@pytest.mark.parametrize("clip_limit", [1.0, 2.0, 4.0, 10.0])
@pytest.mark.parametrize("shape", [(512, 512), (511, 387)])
def test_clahe_is_opencvs(shape, clip_limit):
    """On 8-bit levels, to OpenCV's rounding of mapping and result; it shares out whole pixels, so tiles are large."""
    levels = np.rint(smooth_picture(shape) * 255).astype(np.uint8)
    theirs = cv2.createCLAHE(clip_limit, (2, 2)).apply(levels) / 255
    assert np.abs(clahe(levels / 255, clip_limit=clip_limit, tiles=2) - theirs).max() < 1.6 / 255


def test_clahe_is_near_scikit_images():
    """Theirs reads the tiles' borders differently and limits in counts of its own; the pictures are alike."""
    picture = smooth_picture((256, 256))
    theirs = exposure.equalize_adapthist(picture, kernel_size=64, clip_limit=4 / 256)
    ours = clahe(picture, clip_limit=4.0, tiles=4)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("side", [16, 64, 256])
def test_the_clip_limit_limits_at_every_size(side):
    """Contrast grows with the limit and at most by one more than it, on floats as on their 8 bits.

    With 65,536 bins, as in OpenCV on 16 bits, the limit would change nothing.
    """
    picture = 0.4 + 0.2 * smooth_picture((side, side))
    for levels in (picture, np.rint(picture * 255) / 255):
        spread = [float(clahe(levels, clip_limit=limit, tiles=1).std() / levels.std()) for limit in (1.0, 1.5, 3.0)]
        assert 1 < spread[0] < 2
        assert spread[0] * 1.1 < spread[1] < 2.5
        assert spread[1] * 1.2 < spread[2] < 4
    flat = clahe(np.full((side, side), 0.4), clip_limit=2.0, tiles=4)
    assert np.ptp(flat) < 1e-6


def test_clahe_of_the_largest_picture_is_that_of_its_parts():
    """Rows are mapped in portions; where they meet, nothing shows."""
    picture = smooth_picture((64, 64))
    whole = clahe(picture, clip_limit=3.0, tiles=4)
    enhance.MAPPED, before = 64 * 5, enhance.MAPPED
    try:
        assert np.array_equal(clahe(picture, clip_limit=3.0, tiles=4), whole)
    finally:
        enhance.MAPPED = before


def test_edges_are_scikit_images_unsharp_mask(picture):
    theirs = filters.unsharp_mask(picture, radius=1.5, amount=0.8)
    # the two cut the Gaussian's tails at slightly different places
    assert np.abs(edges(picture, radius=1.5, amount=0.8) - theirs).max() < 2e-3


def test_median_is_scipys(picture):
    theirs = ndimage.median_filter(picture.astype(np.float32), 5, mode="nearest")
    assert np.array_equal(median(picture, size=5), theirs)


def test_equalisation_is_scikit_images():
    picture = smooth_picture((201, 133))
    theirs = exposure.equalize_hist(picture, nbins=256)
    # theirs has its levels in the middles of bins over the picture's range: a level's share of pixels apart
    assert np.abs(equalise(picture) - theirs).max() < 0.02
    spread = np.histogram(equalise(picture), bins=8, range=(0, 1))[0] / picture.size
    assert np.abs(spread - 1 / 8).max() < 0.03


def test_equalisation_leaves_the_noise_of_a_black_background_invisible():
    """The model's floats and their 8 bits look the same, also where a third of the picture is nearly black."""
    picture = smooth_picture((64, 64))
    picture[:22] = np.random.default_rng(1).random((22, 64)) / 600
    result = equalise(picture)
    assert result[:22].max() < 0.01
    assert np.abs(result - equalise(np.rint(picture * 255) / 255)).max() < 0.03


def test_equalisation_is_opencvs(picture):
    """On 8-bit levels, a third of the picture black, to OpenCV's rounding: black stays black."""
    levels = np.rint(np.clip(picture - np.quantile(picture, 0.33), 0, 1) * 255).astype(np.uint8)
    assert np.abs(equalise(levels / 255) - cv2.equalizeHist(levels) / 255).max() <= 0.5001 / 255
    one_grey = np.full((16, 16), 0.4, np.float32)
    assert np.array_equal(equalise(one_grey), one_grey)


def test_vignette_follows_its_equation(picture):
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in picture.shape), indexing="ij")
    distance = np.hypot(rows, columns) / np.sqrt(2)
    expected = picture * (1 - 0.6 * np.clip((distance - 0.3) / 0.7, 0, 1) ** 2)
    assert np.abs(vignette(picture, strength=0.6, radius=0.3) - expected).max() < 1e-6


IDENTITY = {
    "window": {"center": 0.5, "width": 1.0},
    "edges": {"amount": 0.0},
    "median": {"size": 1},
    "equalise": {"strength": 0.0},
    "vignette": {"strength": 0.0},
}


@pytest.mark.parametrize("name", IDENTITY)
def test_identity_parameters_change_nothing(picture, name):
    assert np.abs(STEPS[name](picture, **IDENTITY[name]) - picture).max() < 1e-6


@pytest.mark.parametrize("name", STEPS)
def test_every_step_is_pure_and_stays_in_range(picture, name):
    before = picture.copy()
    for end in ("low", "high", "default"):
        values = {parameter.name: getattr(parameter, end) for parameter in STEPS[name].parameters}
        result = STEPS[name](picture, **values)
        assert np.array_equal(picture, before)
        assert result.shape == picture.shape
        assert result.dtype == np.float32
        assert result.min() >= 0
        assert result.max() <= 1
        assert not np.shares_memory(result, picture)
        assert np.array_equal(result, STEPS[name](picture, **values)), "the same again"


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("window", {"width": 0.0}, "window.width=0.0 must be a number from 0.05 to 2.0."),
        ("median", {"size": 4}, "median.size=4 must be a whole number from 1 to 5 in steps of 2."),
        ("clahe", {"tiles": 2.5}, "clahe.tiles=2.5 must be a whole number from 1 to 16."),
        ("edges", {"amount": True}, "edges.amount=True must be a number from 0.0 to 5.0."),
        ("vignette", {"radius": float("nan")}, "vignette.radius=nan must be a number"),
    ],
)
def test_values_out_of_range_are_refused(name, values, sentence):
    with pytest.raises(UserError, match="^" + sentence.split(" must")[0].replace(".", r"\.")) as error:
        STEPS[name](np.zeros((16, 16)), **values)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("image", [np.zeros((2, 16, 16)), np.full((16, 16), 1.5), np.full((16, 16), np.nan)])
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(UserError):
        median(image)


def test_presets_are_chains_in_order(picture):
    found = presets()
    assert [preset.label for preset in found.values()] == [
        "Balanced",
        "High Contrast",
        "Radiographic Film",
        "Sharp Detail",
    ]
    for preset in found.values():
        stages = apply(picture, preset.steps)
        assert len(stages) == len(preset.steps)
        by_hand = picture
        for step, stage in zip(preset.steps, stages, strict=True):
            by_hand = STEPS[step["step"]](by_hand, **{k: v for k, v in step.items() if k != "step"})
            assert np.array_equal(stage.image, by_hand)
        assert np.abs(stages[-1].image - picture).max() > 0.02, "a preset that does nothing"


def test_order_matters_and_mistakes_have_a_sentence(picture):
    steps = [{"step": "window", "width": 0.3}, {"step": "vignette", "strength": 0.5}]
    one, other = apply(picture, steps)[-1].image, apply(picture, steps[::-1])[-1].image
    assert np.abs(one - other).max() > 0.05
    with pytest.raises(UserError, match="step 'blur' is none of window, clahe"):
        apply(picture, [{"step": "blur"}])
    with pytest.raises(UserError, match="median has no parameter 'radius'; it has size"):
        apply(picture, [{"step": "median", "radius": 3}])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "cannot be read as YAML"),
        ("name: own\nlabel: Own\nsteps: []\n", "must hold name, label, description, steps"),
        ("name: other\nlabel: Own\ndescription: x\nsteps: []\n", "name 'other' must be that of the file"),
        ("name: own\nlabel: Own\ndescription: x\nsteps: clahe\n", "enhance.steps=clahe must be a list"),
        ("name: own\nlabel: Own\ndescription: x\nsteps: [{step: median, size: 9}]\n", "median.size=9 must be"),
    ],
)
def test_a_preset_is_checked_when_it_is_read(tmp_path, text, words):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_preset(path)
    assert str(error.value).startswith(str(path))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
