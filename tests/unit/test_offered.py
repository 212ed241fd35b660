"""What `import cxr_ldm` offers to people who know diffusers."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cxr_ldm import TextToCXR, UserError, load_prepared
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.diffusion.samplers import ddim
from cxr_ldm.imaging.grids import to_uint8

TEXT = "Right pleural effusion."


@pytest.fixture(scope="module")
def pipeline():
    return TextToCXR.from_bundle("demo")


def test_one_text_is_enough_and_torchs_own_seed_repeats_it(pipeline):
    torch.manual_seed(1)
    first = pipeline(TEXT, steps=1)
    torch.manual_seed(1)
    assert torch.equal(first, pipeline(TEXT, steps=1))
    assert not torch.equal(first, pipeline(TEXT, steps=1))
    drawn = [pipeline(TEXT, steps=1, generator=torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(*drawn)


def test_a_number_counts_seeds_up_for_each_prompt(pipeline):
    images = pipeline([TEXT, ""], seeds=5, n=2, steps=1)
    assert torch.equal(images, pipeline([TEXT, TEXT, "", ""], [5, 6, 5, 6], steps=1))


def test_a_samplers_name_brings_its_own_steps_and_grid(pipeline):
    by_name = pipeline(TEXT, seeds=0, sampler="ddim")
    assert torch.equal(by_name, pipeline(TEXT, seeds=0, sampler=ddim, steps=30))
    assert not torch.equal(by_name, pipeline(TEXT, seeds=0))


def test_pictures_and_arrays_hold_the_same_image(pipeline):
    pixels = pipeline(TEXT, seeds=0, steps=2)
    (picture,) = pipeline(TEXT, seeds=0, steps=2, output="pil")
    assert np.array_equal(np.asarray(picture), to_uint8(pixels[0, 0]))
    array = pipeline(TEXT, seeds=0, steps=2, output="np")
    assert (array.shape, array.min() >= 0, array.max() <= 1) == ((1, 64, 64), True, True)
    np.testing.assert_allclose(array * 2 - 1, pixels[:, 0].numpy(), atol=1e-6)


def test_latents_go_there_and_back(pipeline):
    pixels = pipeline(TEXT, seeds=0)
    latents = pipeline.encode(pixels)
    assert latents.shape[1:] == pipeline.latent_shape
    assert (pipeline.decode(latents) - pixels).abs().mean() < 0.02
    with pytest.raises(UserError, match="takes \\[N, 1, 64, 64\\]"):
        pipeline.encode(pixels[..., :32])


def test_it_says_what_it_is(pipeline):
    words = repr(TextToCXR.from_bundle("chest256"))
    for word in ("256 × 256", "free256", "network 13.8M", "recommended guidance: 3", "pneumothorax"):
        assert word in words
    assert "64 × 64" in repr(pipeline)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "foo"}, "there are ddim, ddpm"),
        ({"output": "gif"}, "output=gif is not one of pt, np, pil"),
        ({"n": 0}, "n=0 must be a whole number, 1 or more"),
        ({"seeds": [1, 2]}, "one seed is needed for each prompt"),
        ({"patients": []}, "1 prompts and 0 patients"),
    ],
)
def test_bad_arguments_are_errors_with_a_sentence(pipeline, options, words):
    with pytest.raises(UserError, match=words):
        pipeline(TEXT, **options)


def test_a_bundle_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match="bundle=nowhere is no bundle"):
        TextToCXR.from_bundle("nowhere", outputs=tmp_path)


def test_a_prepared_collection_is_a_dataset(tmp_path):
    splits = {"seed": 0, "val": 0.2, "test": 0.2}
    made = prepare(PhantomReader(20, 16, 0), tmp_path / "prepared" / "mine", Target(16), name="mine", splits=splits)
    data = load_prepared("mine", "train", outputs=tmp_path)
    assert len(data) == len(made.rows("train")) == len(data.manifest)
    row = made.rows("train")[3]
    assert torch.equal(data[3]["image"], made.pixels([row])[0])
    assert (data[3]["text"], data.manifest["view"][3]) == (made.texts([row])[0], made.manifest["view"][row])
    assert next(iter(DataLoader(data, batch_size=4)))["image"].shape == (4, 1, 16, 16)
    assert len(load_prepared(tmp_path / "prepared" / "mine")) == 20
    assert "split train" in repr(data)
    with pytest.raises(UserError, match="other is no prepared folder, and .* holds mine"):
        load_prepared("other", outputs=tmp_path)
