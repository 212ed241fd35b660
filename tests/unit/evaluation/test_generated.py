"""Images of an evaluation are sampled once, and a killed evaluation goes on where it was."""

import time

import pytest
import torch

from cxr_ldm.errors import UserError
from cxr_ldm.evaluation.generated import Generated


class Sampler:
    """Noise by seed and prompt; counts the images that it samples, and stops after `limit` of them."""

    def __init__(self, limit=10**6):
        self.done, self.limit = 0, limit

    def __call__(self, prompts, seeds, people, progress):
        images = []
        for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            if self.done == self.limit:
                raise KeyboardInterrupt
            self.done += 1
            extra = people[number]["age"] if people else 0
            random = torch.Generator().manual_seed(seed + 1000 * len(prompt) + 10**6 * extra)
            images.append(torch.rand(1, 8, 8, generator=random) * 2 - 1)
            progress(1)
        return torch.stack(images)


PROMPTS, SEEDS = ["a", "bb", "ccc"] * 5, list(range(15))
MADE_BY = {"bundle": "0" * 64, "steps": 1}


def test_a_second_run_samples_nothing_and_gives_the_same_bits(tmp_path):
    first, second = Sampler(), Sampler()
    images = Generated(first, MADE_BY, tmp_path, chunk=4)(PROMPTS, SEEDS)
    again = Generated(second, MADE_BY, tmp_path, chunk=4)(PROMPTS, SEEDS)
    assert (first.done, second.done) == (15, 0)
    assert torch.equal(images, again)
    expected = Sampler()(PROMPTS, SEEDS, None, lambda done: None)
    assert (images - expected).abs().max() <= 1 / 65535  # half a step of 16 bits


def test_the_seconds_of_images_are_those_of_sampling_them_whoever_reads_them_again(tmp_path):
    def slow(prompts, seeds, people, progress):
        time.sleep(0.05)
        return Sampler()(prompts, seeds, people, progress)

    first = Generated(slow, MADE_BY, tmp_path, chunk=4)
    first(PROMPTS, SEEDS)
    again = Generated(slow, MADE_BY, tmp_path, chunk=4)
    again(PROMPTS, SEEDS)
    assert first.seconds(PROMPTS, SEEDS) == again.seconds(PROMPTS, SEEDS) > 4 * 0.05
    for kept in tmp_path.glob("generated-*/seconds.npy"):
        kept.unlink()  # an earlier version kept none
    assert again.seconds(PROMPTS, SEEDS) is None


def test_what_a_kill_leaves_is_found_again_and_the_result_is_that_of_no_kill(tmp_path):
    whole = Generated(Sampler(), MADE_BY, tmp_path / "one", chunk=4)(PROMPTS, SEEDS)
    with pytest.raises(KeyboardInterrupt):
        Generated(Sampler(limit=10), MADE_BY, tmp_path / "two", chunk=4)(PROMPTS, SEEDS)
    rest = Sampler()
    assert torch.equal(Generated(rest, MADE_BY, tmp_path / "two", chunk=4)(PROMPTS, SEEDS), whole)
    assert rest.done == 15 - 8  # two whole chunks were kept


def test_a_longer_request_finds_the_chunks_of_a_shorter_one(tmp_path):
    short = Generated(Sampler(), MADE_BY, tmp_path, chunk=4)(PROMPTS[:8], SEEDS[:8])
    sampler = Sampler()
    assert torch.equal(Generated(sampler, MADE_BY, tmp_path, chunk=4)(PROMPTS, SEEDS)[:8], short)
    assert sampler.done == 7


def test_another_prompt_seed_patient_or_setting_is_another_image(tmp_path):
    images = Generated(Sampler(), MADE_BY, tmp_path)(["a"], [0])
    for prompts, seeds, people in ((["bb"], [0], None), (["a"], [1], None), (["a"], [0], [{"age": 60}])):
        assert not torch.equal(Generated(Sampler(), MADE_BY, tmp_path)(prompts, seeds, people), images)
    other = Sampler()
    Generated(other, MADE_BY | {"steps": 2}, tmp_path)(["a"], [0])
    assert other.done == 1


def test_each_prompt_needs_its_seed_and_its_patient(tmp_path):
    here = Generated(Sampler(), MADE_BY, tmp_path)
    with pytest.raises(UserError, match="2 prompts, 1 seeds: one is needed"):
        here(["a", "b"], [0])
    with pytest.raises(UserError, match="and 1 patients"):
        here(["a", "b"], [0, 1], [{}])
