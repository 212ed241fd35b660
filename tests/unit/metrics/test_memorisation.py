"""Near copies and diversity: a planted copy is found, a different patient is not one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cxr_ldm.data.phantom.reader import load_image
from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.memory import one_of_each
from cxr_ldm.metrics.copies.memorisation import (
    COPY_CORRELATION,
    is_copy,
    measured,
    near_copy_metrics,
    search,
    standardised,
)
from cxr_ldm.metrics.images.diversity import diversity, pairwise_ssim


def textures(n, seed, size=32):
    """Pictures that share a background and differ in smooth detail, so that different ones correlate by about 0.5."""
    generator = torch.Generator().manual_seed(seed)
    detail = F.interpolate(torch.randn(n, 1, 8, 8, generator=generator), size=size, mode="bicubic")
    return (torch.linspace(-0.7, 0.7, size).view(1, 1, size, 1) + 0.3 * detail).clamp(-1, 1)


@pytest.fixture(scope="module")
def sets():
    return {"training": textures(200, 0), "held_out": textures(40, 1), "generated": textures(30, 2)}


def test_planted_copies_are_found_whatever_their_brightness(sets):
    generated = sets["generated"].clone()
    generated[3] = 0.7 * sets["training"][17] + 0.1
    generated[8] = sets["training"][199] + 0.02 * torch.randn(1, 32, 32, generator=torch.Generator().manual_seed(0))
    found = search(generated, sets["held_out"], sets["training"].split(64))
    assert sorted(found.copies.tolist()) == [3, 8]
    assert found.copies.tolist()[0] == 3
    assert found.index[3] == 17
    assert found.index[8] == 199
    metrics = near_copy_metrics(search(generated, sets["held_out"], [sets["training"]]), measured(generated))
    assert metrics["near_copies"].value == 2
    assert metrics["near_copies"].settings["measure"] == "Pearson correlation at 32 × 32 pixels about the mean picture"


def test_correlation_is_numpys_and_does_not_depend_on_batches(sets):
    found = search(sets["generated"], sets["held_out"], sets["training"].split(7))
    rows = [standardised(sets[name], name).double().numpy() for name in ("generated", "training", "held_out")]
    middle = np.concatenate(rows[1:]).mean(0)
    made, seen = ((each - middle) / np.linalg.norm(each - middle, axis=1, keepdims=True) for each in rows[:2])
    whole = made @ seen.T
    flat = sets["generated"].flatten(1).numpy()
    np.testing.assert_allclose(rows[0] @ rows[0].T, np.corrcoef(flat), atol=1e-5)
    np.testing.assert_allclose(found.correlation.numpy(), whole.max(1), atol=1e-5)
    np.testing.assert_array_equal(found.index.numpy(), whole.argmax(1))


def test_new_images_are_no_copies_and_a_duplicate_in_the_collection_does_not_blind_the_search(sets):
    assert len(search(sets["generated"], sets["held_out"], [sets["training"]]).copies) == 0
    held_out = torch.cat([sets["held_out"], sets["training"][:1]])
    generated = torch.cat([sets["generated"], sets["training"][5:6], sets["training"][:1]])
    found = search(generated, held_out, [sets["training"]])
    assert found.limit == pytest.approx(COPY_CORRELATION)
    assert sorted(found.copies.tolist()) == [30, 31]
    assert near_copy_metrics(found, {})["near_copies"].settings["held_out_duplicates"] == 1
    with pytest.raises(UserError, match="every held-out image is a duplicate"):
        search(generated, sets["training"][:2], [sets["training"]])


def test_pictures_that_are_all_alike_are_no_copies():
    phantoms = (
        torch.from_numpy(np.stack([load_image(0, index, 32) for index in range(90)])).float()[:, None] / 127.5 - 1
    )
    found = search(phantoms[60:], phantoms[30:60], [phantoms[:30]])
    assert not found.copied.any()
    near = torch.tensor([1 - 0.03, 1 - 0.02])
    held_out = torch.tensor([1 - 0.05, 1 - 0.05])
    assert is_copy(near, held_out, COPY_CORRELATION).tolist() == [False, True]
    metrics = near_copy_metrics(found, {})
    assert metrics.keys() == {
        "near_copies",
        "nearest_training_correlation",
        "nearest_training_correlation_floor",
        "nearer_to_training_pixels",
        "copies_excess_pixels",
    }
    means = [metrics[f"nearest_training_correlation{end}"].value for end in ("", "_floor")]
    assert means[0] == pytest.approx(means[1], abs=0.02)


def test_a_collapsed_generator_has_high_pairwise_similarity(sets):
    collapsed = sets["generated"][:1].expand(30, -1, -1, -1) + 0.01 * textures(30, 5)
    entries = diversity(collapsed, sets["held_out"])
    assert entries["pairwise_ssim"].value > entries["pairwise_ssim_floor"].value + 0.3
    assert entries["pairwise_ms_ssim"].value > entries["pairwise_ms_ssim_floor"].value + 0.3
    assert entries["pairwise_ms_ssim"].settings["scales"] == 2
    assert entries["pairwise_ssim"].n == 30
    small = diversity(sets["generated"][..., :16], sets["held_out"][..., :16])
    assert small.keys() == {"pairwise_ssim", "pairwise_ssim_floor"}
    assert torch.equal(pairwise_ssim(sets["generated"], 20, 1), pairwise_ssim(sets["generated"], 20, 1))
    same = torch.cat([sets["generated"][:1]] * 2)
    assert pairwise_ssim(same, 10).min() == pytest.approx(1.0)


def test_empty_or_mismatched_sets_are_refused(sets):
    with pytest.raises(UserError, match="both are needed"):
        search(sets["generated"], sets["held_out"][:0], [sets["training"]])
    with pytest.raises(UserError, match="no training image"):
        search(sets["generated"], sets["held_out"], [])
    with pytest.raises(UserError, match="another size"):
        search(sets["generated"], sets["held_out"], [textures(5, 0, 16)])
    with pytest.raises(UserError, match="at least 2"):
        diversity(sets["generated"][:1], sets["held_out"])


def test_nearness_is_over_patients_where_they_are_known_and_over_images_where_not(sets):
    held_out, training = [f"h{place // 4}" for place in range(40)], [f"t{place}" for place in range(200)]
    asked = [f"h{place // 3}" for place in range(30)]
    metrics = near_copy_metrics(
        search(sets["generated"], sets["held_out"], [sets["training"]], (training, held_out), asked), {}
    )
    made, floor = metrics["nearest_training_correlation"], metrics["nearest_training_correlation_floor"]
    assert (made.over, made.settings["patients"]) == ("patients", 10)
    assert (floor.over, floor.settings["patients"]) == ("patients", 10)
    alone = near_copy_metrics(search(sets["generated"], sets["held_out"], [sets["training"]]), {})
    assert alone["nearest_training_correlation"].over == "images"


def test_prompts_of_the_attempt_are_of_one_patient_each():
    class Prepared:
        def patients(self, rows):
            return [f"p{row // 5}" for row in rows]

    chosen = one_of_each(Prepared(), np.arange(100), seed=3)
    assert sorted(row // 5 for row in chosen) == list(range(20))
    assert not np.array_equal(chosen, np.sort(chosen))  # in random order: a part of them is a random part
