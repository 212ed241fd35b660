"""Nearness in features, and the extraction attempt."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies.extraction import attempt, extraction_metrics, has_clique
from cxr_ldm.metrics.copies.memorisation import feature_copy_metrics, search, search_features


def textures(n, seed, size=32):
    """Pictures that share a background and differ in smooth detail, so that different ones correlate by about 0.5."""
    generator = torch.Generator().manual_seed(seed)
    detail = F.interpolate(torch.randn(n, 1, 8, 8, generator=generator), size=size, mode="bicubic")
    return (torch.linspace(-0.7, 0.7, size).view(1, 1, size, 1) + 0.3 * detail).clamp(-1, 1)


def vectors(n, seed, width=32):
    """Features that have much in common, as those of radiographs do."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, width)) + 20)


def test_a_planted_copy_is_found_in_features_and_the_cosine_is_numpys():
    training, held_out, generated = vectors(200, 1), vectors(150, 2), vectors(30, 3)
    generated[4] = training[77] + 1e-3
    found = search_features(generated, held_out, training.split(64))
    assert found.copies.tolist() == [4]
    (first, *_) = found.closest(3)
    assert first[:2] == (4, 77)
    assert first[2] == pytest.approx(1.0, abs=1e-3)
    middle = torch.cat([training, held_out]).numpy().mean(0)
    apart = [each.numpy() - middle for each in (generated, training)]
    one, two = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in apart)
    np.testing.assert_allclose(found.correlation, (one @ two.T).max(1), atol=1e-5)
    metrics = feature_copy_metrics(found, {"extractor": "net"})
    names = {"feature_copies_net", "nearest_training_cosine_net", "nearest_training_cosine_net_floor"}
    assert metrics.keys() == names | {"nearer_to_training_net", "copies_excess_net"}
    assert metrics["feature_copies_net"].value == 1
    with pytest.raises(UserError, match="not \\[N, D\\]"):
        search_features(textures(3, 0), textures(3, 1), [textures(3, 2)])


@pytest.fixture(scope="module")
def sets():
    return {"training": textures(60, 0), "held_out": textures(40, 1)}


def tried(sets, generate, prompts=8):
    return attempt(generate, [str(i) for i in range(prompts)], 4, sets["held_out"], sets["training"].split(16))


def test_a_generator_that_returns_training_images_is_found(sets):
    def remembers(prompts, seeds):
        """Prompts 0 to 3 give their training image with a little noise, the others something new."""
        fresh = textures(len(seeds), 1000 + seeds[0])
        images = [sets["training"][int(p)] if int(p) < 4 else new for p, new in zip(prompts, fresh, strict=True)]
        noise = 0.01 * torch.randn(len(seeds), 1, 32, 32, generator=torch.Generator().manual_seed(0))
        return torch.stack(images) + noise

    found = tried(sets, remembers)
    assert found.extracted.tolist() == found.cliques.tolist() == [True] * 4 + [False] * 4
    metrics = extraction_metrics(found, {}, "training prompts")
    share = metrics["extracted_prompts"]
    assert (share.value, share.n) == (0.5, 8)
    assert share.settings["training_images"] == 4
    assert share.settings["samples"] == 4
    assert share.ci95 == pytest.approx((0.2152, 0.7848), abs=1e-4)  # Wilson's of 4 in 8
    assert [found.found.index[4 * i].item() for i in range(4)] == [0, 1, 2, 3]


def test_held_out_images_are_not_taken_for_training_images_and_a_collapse_is_a_clique_alone(sets):
    others = textures(32, 7)
    assert not tried(sets, lambda prompts, seeds: others).extracted.any()
    assert not tried(sets, lambda prompts, seeds: others).cliques.any()
    collapsed = tried(sets, lambda prompts, seeds: others[:1].expand(len(seeds), -1, -1, -1))
    assert collapsed.cliques.all()
    assert not collapsed.extracted.any()


def test_each_sample_has_its_own_seed_and_too_few_are_refused(sets):
    asked = []

    def listens(prompts, seeds):
        asked.extend(zip(prompts, seeds, strict=True))
        return textures(len(seeds), 3)

    attempt(listens, ["a", "b"], 3, sets["held_out"], [sets["training"]], seed=50)
    assert asked == [("a", 50), ("a", 51), ("a", 52), ("b", 53), ("b", 54), ("b", 55)]
    for prompts, samples in (([], 4), (["a"], 1)):
        with pytest.raises(UserError, match="at least 1 with 2"):
            attempt(listens, prompts, samples, sets["held_out"], [sets["training"]])


def test_the_closest_pairs_come_first(sets):
    generated = torch.cat([textures(3, 9), sets["training"][5:6]])
    pairs = search(generated, sets["held_out"], [sets["training"]]).closest(2)
    assert pairs[0][:2] == (3, 5)
    assert pairs[0][2] > pairs[1][2]


def test_cliques_of_many_samples_are_looked_for_among_those_that_can_be_in_one():
    alike = torch.zeros(60, 60, dtype=torch.bool)
    alike[:29, :29] = alike[29:, 29:] = True  # two images, 29 and 31 times
    assert has_clique(alike, 31)
    alike[-1] = alike[:, -1] = False
    assert not has_clique(alike, 31)  # 60 over 31 groups would take for ever
