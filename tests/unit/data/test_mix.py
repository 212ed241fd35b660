"""Several prepared folders as one: ids, splits, weights."""

import numpy as np
import pytest

from cxr_ldm.data.batches.images import ImageDataModule
from cxr_ldm.data.batches.order import StepSampler
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.prepared.making import dry_run, prepare
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.mix import MixReader
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

SPLITS = {"seed": 0, "val": 0.3, "test": 0.3}


@pytest.fixture
def parts(table_root, table_options, tmp_path):
    table = prepare(TableReader(table_root, **table_options), tmp_path / "a", Target(16), name="a", splits=SPLITS)
    phantom = prepare(PhantomReader(30, 16, 0), tmp_path / "b", Target(16), name="b", splits=SPLITS)
    return table, phantom


def mixed(parts, tmp_path, weights=None, name="mix"):
    reader = MixReader([part.folder for part in parts], weights)
    # other splits than those of the parts, to show that they are not used
    return prepare(reader, tmp_path / name, Target(16), name=name, splits={"seed": 5, "val": 0.1, "test": 0.1})


def test_images_texts_and_splits_are_those_of_the_parts(parts, tmp_path):
    mix = mixed(parts, tmp_path)
    np.testing.assert_array_equal(mix.images, np.concatenate([part.images for part in parts]))
    rows = np.arange(len(mix))
    assert mix.texts(rows) == [text for part in parts for text in part.manifest["text"]]
    assert mix.manifest["split"].tolist() == [split for part in parts for split in part.manifest["split"]]
    assert mix.manifest.groupby("patient_id")["split"].nunique().max() == 1
    np.testing.assert_array_equal(mix.draws(), mix.rows("train"))
    assert mix.people(rows) == [person for part in parts for person in part.people(np.arange(len(part)))]
    person = mix.people(rows)[-1]
    assert person["view"] in ("PA", "AP")
    assert person["sex"] in ("female", "male")
    assert 0 < person["age"] < 120


def test_weights_decide_how_often_training_draws_and_nothing_else(parts, tmp_path):
    mix = mixed(parts, tmp_path, [1.0, 2.5])
    train = mix.rows("train")
    np.testing.assert_array_equal(mix.draws(), train)
    weights = mix.draw_weights(train)
    assert set(weights[train < len(parts[0])]) == {1.0}
    assert set(weights[train >= len(parts[0])]) == {2.5}
    count = round(weights.sum())
    data = ImageDataModule(mix, 4, count, seed=0)
    seen = np.concatenate([batch["row"].numpy() for batch in data.train_dataloader()])[:count]
    drawn = np.array([(seen == row).sum() for row in train])
    assert (drawn >= np.floor(weights * 0.99)).all()
    assert (drawn <= np.ceil(weights * 1.01)).all()
    assert mixed(parts, tmp_path, [1.0, 2.5]).fingerprint == mix.fingerprint


def test_a_weight_below_one_draws_other_images_in_each_pass(parts, tmp_path):
    """Half of a folder used to be lost for good."""
    mix = mixed(parts, tmp_path, [1.0, 0.5])
    train = mix.rows("train")
    sampler = StepSampler(train, 0, 1, mix.draw_weights(train))
    halved = train[train >= len(parts[0])]
    passes = [set(sampler.turn(number)) & set(halved) for number in range(40)]
    assert all(abs(len(one) - len(halved) / 2) <= 1 for one in passes)
    assert set.union(*passes) == set(halved)
    shares = np.mean([[row in one for row in halved] for one in passes], axis=0)
    assert (np.abs(shares - 0.5) < 0.3).all()


def test_a_person_whose_parts_disagree_is_refused(parts, tmp_path, table_root, table_options):
    other = {"seed": 9, "val": 0.3, "test": 0.3}
    reader = TableReader(table_root, **table_options)
    again = prepare(reader, tmp_path / "c", Target(16), name="c", splits=other)
    with pytest.raises(UserError, match=r"prepare all parts with the same data\.splits"):
        mixed((parts[0], again), tmp_path)


def test_an_image_of_two_parts_is_kept_once(parts, tmp_path, table_root, table_options):
    again = prepare(TableReader(table_root, **table_options), tmp_path / "c", Target(32), name="c", splits=SPLITS)
    counts = dry_run(MixReader([parts[0].folder, again.folder]))
    assert (counts["accepted"], counts["rejected"]) == (24, {"image_id occurs twice": 24})


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -2.0]])
def test_impossible_weights_are_refused(parts, weights):
    with pytest.raises(UserError, match=r"one number above 0, at most 1000, for each of the 2 data\.reader\.folders"):
        MixReader([part.folder for part in parts], weights)
