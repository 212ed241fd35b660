"""A collection prepared in parts: the folder of one process, whatever happened to the parts."""

import json
import shutil
from dataclasses import dataclass

import pytest

from cxr_ldm.data.prepared import journal, making
from cxr_ldm.data.prepared.making import prepare, prepare_part
from cxr_ldm.data.prepared.parts import Part
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

TARGET = Target(size=16)
OPTIONS = {"name": "tiny", "splits": {"seed": 0, "val": 0.3, "test": 0.3}}
FILES = ("images.npy", "manifest.parquet", "rejected.csv", "summary.json", "run.json")


@pytest.fixture
def reader(table_root, table_options):
    """With an unreadable picture in the second part of three, and one in the third that the first holds as well."""
    pictures = sorted(path for path in table_root.rglob("*.png"))
    pictures[10].write_bytes(b"no picture")
    shutil.copyfile(pictures[2], pictures[20])
    return TableReader(table_root, **table_options)


def parted(reader, folder, count=3):
    for number in range(1, count + 1):
        prepare_part(reader, folder, TARGET, Part(number, count), **OPTIONS)


def test_joined_parts_are_the_folder_of_one_process_and_are_gone(reader, tmp_path):
    prepare(reader, tmp_path / "whole", TARGET, **OPTIONS)
    parted(reader, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
    prepared = prepare(reader, tmp_path / "parts", TARGET, **OPTIONS, join=3)
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    rejected = json.loads((tmp_path / "parts" / "summary.json").read_text())["rejected"]
    assert rejected["identical to an earlier image"] == 1
    assert sum(rejected.values()) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    again = prepare(reader, tmp_path / "parts", TARGET, **OPTIONS, join=3)  # complete already
    assert again.fingerprint == prepared.fingerprint


def test_a_part_that_crashed_is_missed_by_name_and_goes_on_where_it_was(reader, tmp_path, monkeypatch):
    prepare(reader, tmp_path / "whole", TARGET, **OPTIONS)
    for number in (1, 3):
        prepare_part(reader, tmp_path / "parts", TARGET, Part(number, 3), **OPTIONS)
    monkeypatch.setattr(journal, "CHUNK", 2)

    @dataclass(frozen=True)
    class Dies(Target):
        """Ends within the second part."""

        def draw(self, record):
            if record.image_id == records[12].image_id:
                raise KeyboardInterrupt
            return super().draw(record)

    records = making.sift(reader)[0]
    with pytest.raises(KeyboardInterrupt):
        prepare_part(reader, tmp_path / "parts", Dies(size=16), Part(2, 3), **OPTIONS, workers=1)
    with pytest.raises(UserError, match=r"prepare.join=3: not complete yet: prepare.part=2/3; prepare these first"):
        prepare(reader, tmp_path / "parts", TARGET, **OPTIONS, join=3)
    partial = tmp_path / "..parts.part-2-of-3.partial"
    assert len((partial / "journal.jsonl").read_text().splitlines()) == 4
    prepare_part(reader, tmp_path / "parts", TARGET, Part(2, 3), **OPTIONS)
    prepare(reader, tmp_path / "parts", TARGET, **OPTIONS, join=3)
    for name in FILES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_parts_of_other_settings_or_with_damage_are_refused(reader, tmp_path):
    parted(reader, tmp_path / "parts", 2)
    with pytest.raises(UserError, match=r"was made by other settings: size"):
        prepare(reader, tmp_path / "parts", Target(size=32), **OPTIONS, join=2)
    images = tmp_path / ".parts.part-2-of-2" / "images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    with pytest.raises(UserError, match=r"prepare that part again"):
        prepare(reader, tmp_path / "parts", TARGET, **OPTIONS, join=2)


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0"])
def test_a_part_has_a_number_and_a_count(text):
    with pytest.raises(UserError, match=r"prepare.part=3/16 is the third of sixteen"):
        Part.named(text)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 24, 30])
def test_every_item_is_in_one_part(count):
    items = list(range(24))
    assert [item for number in range(1, count + 1) for item in Part(number, count).of(items)] == items
