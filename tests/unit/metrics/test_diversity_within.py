"""Are the images of one prompt more alike than real images that say the same?"""

import pytest
import torch

from cxr_ldm.metrics.images.diversity import diversity_within


def images(count, shared, seed):
    """Pictures that have a share of their values in common."""
    random = torch.Generator().manual_seed(seed)
    common = torch.rand(1, 1, 32, 32, generator=random)
    return (shared * common + (1 - shared) * torch.rand(count, 1, 32, 32, generator=random)) * 2 - 1


def test_a_model_with_one_image_for_each_prompt_is_found():
    """Defect 11: pairwise SSIM of 0.86 where real images have 0.41."""
    generated = torch.cat([images(8, 0.97, 1), images(8, 0.97, 2)])
    real = torch.cat([images(9, 0.3, 3), images(7, 0.3, 4)])
    metrics = diversity_within(generated, ["a"] * 8 + ["b"] * 8, real, ["a"] * 9 + ["b"] * 7)
    within, floor = metrics["pairwise_ssim_within_prompt"], metrics["pairwise_ssim_within_prompt_floor"]
    assert within.value > floor.value + 0.4
    assert within.settings["prompts"] == 2
    several = [metrics[f"pairwise_ms_ssim_within_prompt{end}"] for end in ("", "_floor")]
    assert several[0].value > several[1].value + 0.4
    assert several[0].n == within.n
    assert within.n == floor.n == 28 + 21


def test_pairs_are_of_one_prompt_only():
    first, second = images(6, 1.0, 1), images(6, 1.0, 2)
    groups = ["a"] * 6 + ["b"] * 6
    both = torch.cat([first, second])
    assert diversity_within(both, groups, both, groups)["pairwise_ssim_within_prompt"].value == pytest.approx(1.0)


def test_without_two_images_of_a_prompt_nothing_is_claimed():
    assert diversity_within(images(3, 0, 1), ["a", "b", "c"], images(3, 0, 2), ["a", "a", "c"]) == {}
