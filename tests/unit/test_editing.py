"""An image that is drawn anew: what is read, what stays, and what is said of it."""

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import load_bundle
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.diffusion.guidance_rule import Guidance
from cxr_ldm.diffusion.sampling import Sampling
from cxr_ldm.editing import REGIONS, Original, box_mask, hole_of, pasted, read_original, square_of
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.dicom import Study, dataset, write_dicom
from cxr_ldm.imaging.differences import difference
from cxr_ldm.imaging.finish import LABEL, Finish, labelled
from cxr_ldm.imaging.grids import to_uint8
from cxr_ldm.imaging.provenance import provenance
from cxr_ldm.networks.student import StudentUNet
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.text.changing import without_finding

FEW = Sampling(4, Guidance(1.0))


@pytest.fixture(scope="module")
def pipeline():
    return TextToCXR.from_bundle(DEMO, "cpu")


@pytest.fixture(scope="module")
def phantoms():
    """Two phantoms `[2,1,64,64]` and their texts."""
    records = [record for record in PhantomReader(n=3, size=64, seed=8).records() if hasattr(record, "load")][:2]
    return torch.cat([square_of(record.load(), 64) for record in records]), [record.text for record in records]


def test_outside_the_hole_stays_what_the_vae_makes_of_the_image(pipeline, phantoms):
    pixels, _ = phantoms
    hole = hole_of((64, 64), 64, region="right_lung")
    images = pipeline.draw(["Right pleural effusion."] * 2, [0, 1], FEW, original=Original(pixels, 1.0, hole))
    seen = pipeline.decode(pipeline.encode(pixels))
    far = slice(48, 64)  # columns that the decoder does not mix with the hole's
    assert (images - seen)[..., far].abs().mean() < 0.01
    assert (images - seen)[..., 5:28].abs().mean() > 0.05
    back = pasted(images, pixels, hole)
    outside = ~hole.expand_as(pixels)
    assert torch.equal(back[outside], pixels[outside])
    deep = (slice(None), slice(None), slice(20, 40), slice(12, 22))
    torch.testing.assert_close(back[deep], images[deep])


def test_an_image_follows_from_its_own_original_prompt_and_seed(pipeline, phantoms):
    """Not from its neighbours, the batch size, or whether the original is given once or for each."""
    pixels, _ = phantoms
    hole = hole_of((64, 64), 64, region="left_base")
    texts = ["Left pleural effusion.", "Nodule."]
    both = pipeline.draw(texts, [3, 4], FEW, original=Original(pixels, 0.7, hole))
    parts = pipeline.draw(texts, [3, 4], FEW, batch_size=1, original=Original(pixels, 0.7, hole.expand(2, 1, 64, 64)))
    torch.testing.assert_close(parts, both, rtol=1e-3, atol=1e-3)
    alone = pipeline(texts[1], [4], original=Original(pixels[1:], 0.7, hole), steps=4, guidance=1.0)
    torch.testing.assert_close(alone, both[1:], rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match="2 prompts and 3 images"):
        pipeline.draw(texts, [3, 4], FEW, original=Original(torch.cat([pixels, pixels[:1]]), 0.5))


def test_holes_and_source_texts_of_another_number_than_the_prompts_are_refused(pipeline, phantoms):
    pixels, texts = phantoms
    hole = hole_of((64, 64), 64, region="left_base").expand(3, 1, 64, 64)
    for original, words in (
        (Original(pixels, 0.7, hole), "2 prompts and 3 holes"),
        (Original(pixels, source=texts[:1]), "2 prompts and 1 source texts"),
        (Original(pixels, source=texts[0]), "a list of texts"),
    ):
        with pytest.raises(UserError, match=words):
            pipeline.draw(texts, [3, 4], FEW, original=original)


def test_a_small_strength_changes_little_and_a_large_one_much(pipeline, phantoms):
    pixels, texts = phantoms
    seen = pipeline.decode(pipeline.encode(pixels))
    moved = [
        (pipeline.draw(texts, [0, 1], Sampling(8, Guidance(1.0)), original=Original(pixels, strength)) - seen)
        .abs()
        .mean()
        .item()
        for strength in (0.02, 0.4, 0.9)
    ]
    assert moved[0] < 0.02
    assert moved == sorted(moved)


def test_an_image_that_is_followed_back_to_its_noise_comes_again(pipeline, phantoms):
    """Within the VAE's error: a hundredth of it lies between this and the VAE's reconstruction."""
    pixels, texts = phantoms
    seen = pipeline.decode(pipeline.encode(pixels))
    again = pipeline.draw(texts, [0, 0], Sampling(20, Guidance(1.0)), original=Original(pixels, source=texts))
    assert (again - seen).abs().mean() < 0.01 * (seen - pixels).abs().mean()
    other = pipeline.draw(["Cardiomegaly."] * 2, [0, 0], FEW, original=Original(pixels, source=texts))
    assert (other - seen).abs().mean() > 0.5 * (seen - pixels).abs().mean()


def test_a_students_steps_are_not_followed_back(phantoms):
    pixels, texts = phantoms
    bundle = load_bundle(DEMO, "ldm")
    arguments = {key: value for key, value in bundle.spec["network"].items() if key != "part"}
    bundle.parts["network"] = StudentUNet(scales=[1.0, 4.0], **arguments)
    with pytest.raises(UserError, match="take its teacher"):
        TextToCXR.of(bundle, "cpu").draw(texts, [0, 1], FEW, original=Original(pixels, source=texts))


def test_what_cannot_be_meant_is_refused(phantoms):
    pixels, _ = phantoms
    for arguments, words in (
        ({"strength": 0.0}, "above 0"),
        ({"strength": 1.0}, "keeps nothing"),
        ({"hole": torch.zeros(1, 1, 64, 64, dtype=torch.bool)}, "hole is empty"),
        ({"hole": torch.ones(1, 1, 32, 32, dtype=torch.bool)}, r"hole is \(32, 32\)"),
    ):
        with pytest.raises(UserError, match=words):
            Original(pixels, **arguments)


def test_the_same_provenance_does_not_draw_it_again(pipeline):
    facts = provenance(prompt="x", seed=0, bundle_sha256=pipeline.sha256, **FEW.facts(), edit={"strength": 0.5})
    with pytest.raises(UserError, match="drawn from another"):
        pipeline.again(facts)


def test_holes_by_box_mask_and_region_lie_where_they_say():
    wide = hole_of((100, 200), 64, box=(100, 0, 200, 100))  # the right half, padded above and below
    assert wide.shape == (1, 1, 64, 64)
    assert wide[0, 0, 16:48, 32:].all()
    assert not wide[0, 0, :, :31].any()
    assert not wide[0, 0, :15].any()
    cropped = hole_of((100, 200), 64, fit="crop", box=(100, 0, 200, 100))
    assert cropped[0, 0, :, 33:].all()
    mask = np.zeros((100, 200), np.uint8)
    mask[:, 100:] = 255
    assert torch.equal(hole_of((100, 200), 64, mask=mask), wide)
    right, left = (hole_of((64, 64), 64, region=f"{side}_lung")[0, 0].nonzero()[:, 1] for side in ("right", "left"))
    assert right.max() < 32 <= left.min(), "the patient's right is at the left of the image"
    assert hole_of((64, 64), 64) is None
    assert all(hole_of((64, 64), 64, region=name).any() for name in REGIONS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"box": (0, 0, 0, 10)}, "left, top, right and bottom"),
        ({"box": (0, 0, 10, 101)}, "200 × 100"),
        ({"region": "liver"}, "not one of right_lung"),
        ({"mask": np.zeros((100, 200), np.uint8)}, "mask is empty"),
        ({"mask": np.ones((50, 50), np.uint8)}, "50 × 50"),
        ({"box": (0, 0, 9, 9), "region": "heart"}, "box= and region="),
    ],
)
def test_holes_that_are_none_are_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        hole_of((100, 200), 64, **arguments)


def test_of_a_dicom_file_the_pixels_alone_are_read_and_not_where_they_name_a_person(tmp_path):
    pixels = torch.rand(1, 64, 64) * 2 - 1
    own = tmp_path / "own.dcm"
    write_dicom(own, pixels, {"prompt": "x"}, Study.new(), 1)
    assert np.array_equal(read_original(own), to_uint8(pixels[0])), "one of ours, which preparing refuses"
    header = pydicom.dcmread(own)
    header.BurnedInAnnotation = "YES"
    header.save_as(tmp_path / "named.dcm")
    header.Modality = "DX"
    header.save_as(tmp_path / "named.dcm")
    whole = (tmp_path / "named.dcm").read_bytes()
    (tmp_path / "bare").write_bytes(whole[132:])  # without the preamble, as older files are
    for name in ("named.dcm", "bare"):
        with pytest.raises(UserError, match="BurnedInAnnotation is YES"):
            read_original(tmp_path / name)
    Image.new("L", (8, 8), 9).save(tmp_path / "blank.png")
    with pytest.raises(UserError, match="blank"):
        read_original(tmp_path / "blank.png")


def test_the_header_of_an_edited_image_says_so_and_names_nobody():
    facts = {"prompt": "Nodule.", "edit": {"strength": 0.6}}
    header = dataset(np.zeros((64, 64), np.uint8), facts, Study.new(), 1)
    assert header.DerivationDescription.startswith("Drawn anew from another image")
    for claim in ("PatientIdentityRemoved", "DeidentificationMethod", "BurnedInAnnotation"):
        assert claim not in header, "nobody looked at the pixels"
    assert header.SeriesDescription == "Synthetic, drawn anew from an image"
    assert str(header.PatientName) == "SYNTHETIC^CXR_LDM"
    assert header.ContributingEquipmentSequence[0].ContributionDescription.endswith("another and a text")
    plain = dataset(np.zeros((64, 64), np.uint8), {"prompt": "Nodule."}, Study.new(), 1)
    assert plain.DerivationDescription.startswith("Generated from text")
    assert (plain.PatientIdentityRemoved, plain.BurnedInAnnotation) == ("YES", "NO")


def test_the_label_is_seen_and_stated_and_nothing_else_changes():
    grey = np.full((256, 256), 128, np.uint8)
    marked = labelled(grey)
    changed = np.argwhere(marked != grey)
    assert marked.max() == 255
    assert marked.min() == 0
    assert changed[:, 0].min() > 220, "at the lower edge"
    assert changed[:, 1].max() < 128
    finish = Finish(label=True)
    assert finish.facts() == {"label": LABEL}
    image = torch.zeros(1, 1, 256, 256)
    assert torch.equal(finish(image)[..., :200, :], torch.from_numpy(np.full((1, 1, 200, 256), 128)) / 127.5 - 1)


def test_a_difference_is_red_where_it_became_brighter():
    before, after = torch.zeros(1, 1, 1, 3), torch.tensor([[[[-0.5, 0.0, 0.5]]]])
    red, _, blue = difference(before, after)[0]
    assert red[0, 2] > red[0, 0]
    assert blue[0, 0] > blue[0, 2]
    assert abs(red[0, 1] - blue[0, 1]) < 0.02


def test_a_finding_is_removed_by_whole_words_and_takes_no_other_with_it():
    assert without_finding("Massive right pleural effusion. Lung mass.", "mass") == "Massive right pleural effusion."
    with pytest.raises(UserError, match="names cardiomegaly, too"):
        without_finding("Cardiomegaly and right pleural effusion.", "effusion")


def test_boxes_leave_out_their_last_row_and_column():
    assert box_mask((4, 4), (1, 1, 3, 3)).sum() == 4 * 255


@pytest.mark.parametrize(
    "pixels",
    [torch.full((1, 1, 64, 64), 255.0), torch.full((1, 1, 64, 64), torch.nan), torch.zeros(1, 1, 64, 64).byte()],
    ids=["grey levels", "nan", "bytes"],
)
def test_pixels_to_draw_from_are_in_range(pixels):
    with pytest.raises(UserError, match=r"pixels to draw from are \[N, 1, H, W\] in \[-1, 1\]"):
        Original(pixels, 0.5)


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint16), np.zeros((9, 9)), np.zeros((9, 9, 3), np.uint8)])
def test_a_picture_is_grey_levels_of_8_bits(image):
    with pytest.raises(UserError, match=r"a picture is grey levels uint8 \[H, W\]"):
        square_of(image, 64)
