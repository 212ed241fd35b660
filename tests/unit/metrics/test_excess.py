"""The excess over held-out images: by hand, under the null, and with planted copies."""

from math import comb

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from cxr_ldm.errors import UserError
from cxr_ldm.metrics.copies.excess import at_random, excess_metric, find, leads, nearer_metric, share_interval
from cxr_ldm.metrics.statistics import wilson_interval

SCALE = np.arange(1, 25) ** -0.6


def unit(rows):
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()


def at(*degrees):
    return unit(np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1))


def test_shares_and_leads_of_three_samples_by_hand():
    """Training patients at 0, 90 and 180 degrees, held-out ones at 20 and 200; each sample leads at one patient."""
    found = find(at(1.0, 15.0, 99.0), at(0, 90, 180), at(20, 200))
    assert found.sizes == (3, 2)
    assert found.index.tolist() == [0, 0, 1]
    assert found.patient[:, :2].tolist() == [[2, 0], [0, 2], [3, 0]]  # numbered by name: h0, h1, t0, t1, t2
    # one training patient before the first held-out one: two of three are in 2 of the 3 pairs
    nearer = nearer_metric(found, {})
    assert nearer.value == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)
    assert nearer.ci95[0] < nearer.value < nearer.ci95[1]
    assert leads(found).chance.tolist() == pytest.approx([3 / 5] * 3)
    metric = excess_metric(found, {})
    assert metric.value == pytest.approx((1 + 1 - 3 / 2) / 3)
    assert metric.settings["leads"] == 3
    assert metric.settings["training_leads"] == 2


def test_a_smaller_training_set_is_compared_with_as_many_held_out():
    """The sides change their names: shares add up to 1, where no sample is as near to both."""
    one, two, samples = at(0, 90, 180), at(20, 200), at(1.0, 15.0, 99.0)
    shares = [nearer_metric(find(samples, *sides), {}).value for sides in ((one, two), (two, one))]
    assert sum(shares) == pytest.approx(1)


def test_the_chance_at_random_is_counted():
    table = at_random(7, 3, 6)
    assert table.tolist() == pytest.approx([1 - comb(7 - j, 3) / comb(7, 3) for j in range(7)])


def test_duplicates_of_a_picture_lead_together_and_patients_count_once():
    training = torch.cat([at(0, 0.2, 90), at(91)])
    people = ["a", "b", "c", "c"], ["x", "y"]
    found = find(at(0.1), training, at(45, 200), people)
    assert found.sizes == (3, 2)
    at_one = leads(found)
    assert set(at_one.crowd[0].tolist()) == {0, 1}
    assert at_one.chance.tolist() == pytest.approx([3 / 5 * 2 / 4])
    assert excess_metric(found, {}).value == pytest.approx(1)
    without = find(at(0.1), training, at(45, 200), people, ["b"])
    assert leads(without).crowd[0].tolist() == [0] * 5
    assert find(at(44.9), training, at(45, 200), people, ["x"]).held_out.item() < 0
    with pytest.raises(UserError, match="a patient has training and held-out images"):
        find(at(0.1), training, at(45, 200), (people[0], ["a", "y"]))
    with pytest.raises(UserError, match="all three are needed"):
        find(at(0.1), training, at())


def test_intervals_are_wilsons_and_samples_at_one_patient_are_one_event():
    assert share_interval(np.ones(4), np.arange(4), 50, 1.0)[1:] == pytest.approx(wilson_interval(4, 50), abs=1e-6)
    together = share_interval(np.ones(4), np.zeros(4, dtype=int), 48, 1.0)
    assert together[0] == 4 / 48
    assert together[1:] == pytest.approx(wilson_interval(1, 12), abs=1e-6)
    none = share_interval(np.ones(0), np.zeros(0, dtype=int), 50, 4.0)
    assert none == pytest.approx((0, 0, 4 * wilson_interval(0, 50)[1]), abs=1e-6)


def drawn(seed, n=200, training=120, held_out=60, planted=0.0, modes=0):
    """Metrics of samples like the references, of which a share are training images; references are of 1 or 2 images."""
    random = np.random.default_rng(seed)

    def side(count, letter):
        owner = np.concatenate([np.arange(count), np.arange(count // 3)])
        centres = random.standard_normal((count, len(SCALE))) * SCALE
        rows = centres[owner] + 0.5 * random.standard_normal((len(owner), len(SCALE))) * SCALE
        return rows, [f"{letter}{each}" for each in owner]

    (one, ours), (two, others) = side(training, "t"), side(held_out, "h")
    samples = 1.1 * random.standard_normal((n, len(SCALE))) * SCALE
    if modes:
        samples = samples[random.integers(modes, size=n)] + 0.3 * random.standard_normal(samples.shape) * SCALE
    copies = random.random(n) < planted
    samples[copies] = one[random.integers(len(one), size=n)][copies]
    found = find(unit(samples), unit(one), unit(two), (ours, others))
    share = float((found.training > found.held_out).double().mean())
    return nearer_metric(found, {}, seed, 99), excess_metric(found, {}, seed, 99), share


def alarms(results, place):
    return sum(result[place].settings["p_value"] <= 0.05 for result in results)


@pytest.mark.parametrize("modes", [0, 12], ids=["fresh", "collapsed"])
def test_innocent_samples_alarm_as_often_as_stated_and_intervals_hold_the_truth(modes):
    """Also where all samples crowd about a few references, in which a sign test over samples fails."""
    results = [drawn(seed, training=60, modes=modes) for seed in range(250)]
    assert 0.02 * 250 <= alarms(results, 0) <= 0.09 * 250
    assert alarms(results, 1) <= 0.09 * 250
    inside = sum(nearer.ci95[0] <= 0.5 <= nearer.ci95[1] for nearer, *_ in results)
    assert 0.90 * 250 <= inside <= 0.99 * 250
    assert sum(metric.ci95[0] <= 0 <= metric.ci95[1] for _, metric, _ in results) >= 0.90 * 250
    assert np.mean([metric.value for _, metric, _ in results]) == pytest.approx(0, abs=0.004)
    signs = sum(binomtest(round(200 * share), 200, alternative="greater").pvalue <= 0.05 for *_, share in results)
    assert signs > 1.5 * 0.05 * 250


def test_planted_copies_are_found_and_counted():
    results = [drawn(seed, training=60, planted=0.05) for seed in range(60)]
    assert alarms(results, 1) >= 0.7 * 60
    assert np.mean([metric.value for _, metric, _ in results]) == pytest.approx(0.05, abs=0.012)
    covered = sum(metric.ci95[0] <= 0.05 <= metric.ci95[1] for _, metric, _ in results)
    assert 0.88 * 60 <= covered <= 60
    nearer, metric, _ = drawn(0, training=60, planted=1.0)
    assert nearer.value == 1
    assert metric.value == pytest.approx(1, abs=0.02)
    assert metric.ci95[0] > 0.8


def test_where_a_collection_has_too_few_held_out_patients_nothing_alarms():
    """Five copies in nine patients of ten: as likely as not."""
    results = [drawn(seed, n=100, training=270, held_out=30, planted=0.03) for seed in range(20)]
    assert alarms(results, 1) <= 4
