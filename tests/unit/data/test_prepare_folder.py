"""From a reader to a prepared folder: complete, reproducible, reused, or one clear sentence."""

import csv
import json
import os
import shutil
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from small_pictures import picture

from cxr_ldm.content import sealed
from cxr_ldm.data.phantom.reader import PhantomReader
from cxr_ldm.data.pixels.images import resize_square
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.data.prepared.making import dry_run, prepare
from cxr_ldm.data.prepared.manifest import COLUMNS, Record, Rejected
from cxr_ldm.data.prepared.rejected import said
from cxr_ldm.data.prepared.target import Target
from cxr_ldm.data.readers import raw_files
from cxr_ldm.data.readers.table import TableReader
from cxr_ldm.errors import UserError

TARGET = Target(size=16)
OPTIONS = {"name": "tiny", "splits": {"seed": 0, "val": 0.3, "test": 0.3}}


@pytest.fixture
def reader(table_root, table_options):
    return TableReader(table_root, **table_options)


def test_the_folder_holds_what_the_contract_says(reader, tmp_path):
    prepared = prepare(reader, tmp_path / "out", TARGET, **OPTIONS, kind="table")
    names = {path.name for path in prepared.folder.iterdir()}
    assert names == {"manifest.parquet", "images.npy", "rejected.csv", "summary.json", "run.json"}
    manifest = prepared.manifest
    assert tuple(manifest.columns) == COLUMNS == tuple(pd.read_parquet(prepared.folder / "manifest.parquet").columns)
    assert (manifest.loc[5, "height"], manifest.loc[5, "width"], manifest.loc[5, "findings"]) == (40, 32, [])
    assert manifest.loc[5, "labels"] == ["A", "B"]
    images = np.load(prepared.folder / "images.npy")
    assert (images.shape, images.dtype) == ((24, 16, 16), np.uint8)
    for number in range(24):
        np.testing.assert_array_equal(images[number], resize_square(picture(number), 16, "pad"))
    assert (prepared.name, prepared.kind, prepared.size, len(prepared)) == ("tiny", "table", 16, 24)
    assert prepared.texts(np.array([7, 3]))[0] == "Note number 7, with a comma."


def test_texts_in_another_language_are_counted_and_no_finding_is_read_in_them(table_root, table_options, tmp_path):
    table = table_root / "list.csv"
    said = table.read_text().replace("Note  number 3, with a comma.", "Kein Pneumothorax.")
    table.write_text(said.replace("Note  number 4, with a comma.", "No pneumothorax."))
    reader = TableReader(table_root, **table_options)
    assert dry_run(reader)["texts not in English"] == 1
    prepared = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    assert json.loads((prepared.folder / "summary.json").read_text())["texts not in English"] == 1
    assert prepared.manifest.loc[3, "findings"] == []
    assert prepared.manifest.loc[4, "findings"][0]["certainty"] == "absent"


def test_no_patient_is_in_two_splits(reader, tmp_path):
    """Defect 9b."""
    prepared = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    assert prepared.manifest.groupby("patient_id")["split"].nunique().max() == 1
    rows = [prepared.rows(split) for split in ("train", "val", "test")]
    assert all(len(part) for part in rows)
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(24))
    patients = [set(prepared.patients(part)) for part in rows]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 8
    summary = json.loads((prepared.folder / "summary.json").read_text())
    assert summary["splits"]["val"] == {"images": len(rows[1]), "patients": len(patients[1])}


def test_pixels_are_in_minus_one_to_one_and_do_not_wrap(reader, tmp_path):
    """Defects 2 and 10a: 0 is -1, 255 is 1, and back again is exact."""
    prepared = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    prepared.images = np.arange(512, dtype=np.uint8).reshape(2, 16, 16)
    rows = np.array([1, 0])
    pixels = prepared.pixels(rows)
    assert (pixels.shape, pixels.dtype) == ((2, 1, 16, 16), torch.float32)
    assert (pixels[0].min().item(), pixels[0].max().item()) == (-1.0, 1.0)
    back = ((pixels[:, 0] + 1) * 127.5).round().numpy()
    np.testing.assert_array_equal(back, prepared.images[rows])


def test_a_complete_folder_is_reused_and_other_settings_do_not_overwrite_it(reader, tmp_path):
    first = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    written = (first.folder / "images.npy").stat().st_mtime_ns
    assert prepare(reader, tmp_path / "out", TARGET, **OPTIONS).fingerprint == first.fingerprint
    assert (first.folder / "images.npy").stat().st_mtime_ns == written
    with pytest.raises(UserError, match=r"made by other settings: size \(16 there, 32 here\)"):
        prepare(reader, tmp_path / "out", Target(size=32), **OPTIONS)


def test_raw_files_are_known_by_their_content(reader, table_root, tmp_path):
    first = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    path = table_root / "images" / "03.png"
    os.utime(path)  # a copy of the collection, or a fresh checkout, has other dates and is the same
    assert prepare(reader, tmp_path / "out", TARGET, **OPTIONS).fingerprint == first.fingerprint
    shutil.copytree(table_root, tmp_path / "copy")
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    prepare(reader, tmp_path / "out", TARGET, **OPTIONS)  # same name, size and time: not looked at again
    for _ in range(2):
        with pytest.raises(UserError, match=r"made by other settings: raw_files\.content"):
            prepare(reader, tmp_path / "out", TARGET, **OPTIONS, verify="full")
    os.utime(path)
    with pytest.raises(UserError, match=r"made by other settings: raw_files\.content"):
        prepare(reader, tmp_path / "out", TARGET, **OPTIONS)


def test_new_dates_are_learnt_so_that_files_are_hashed_once(reader, table_root, tmp_path, monkeypatch):
    prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    os.utime(table_root / "images" / "03.png")
    prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    monkeypatch.setattr(raw_files, "content", lambda files: pytest.fail("hashed again"))
    prepare(reader, tmp_path / "out", TARGET, **OPTIONS)


def test_a_folder_of_the_version_before_is_opened(reader, tmp_path, capsys):
    first = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    record = json.loads((first.folder / "run.json").read_text())
    old = record["settings"] | {"version": 3, "raw_files": {"count": 24, "stat": record.pop("stat")}}
    (first.folder / "run.json").write_text(json.dumps(sealed(record | {"settings": old})))
    prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    assert "prepared by an earlier version" in capsys.readouterr().out


def test_identical_pictures_are_kept_once_and_named(tmp_path, table_root, table_options):
    """Two files of one picture may stand under two people, and so in two splits."""
    copied = table_root / "images" / "07.png"
    shutil.copy(table_root / "images" / "02.png", copied)
    reader = TableReader(table_root, **table_options)
    prepared = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    assert len(prepared) == 23
    assert len({image.tobytes() for image in prepared.images}) == 23
    assert json.loads((prepared.folder / "summary.json").read_text())["rejected"] == {
        "identical to an earlier image": 1
    }
    rejected = (prepared.folder / "rejected.csv").read_text()
    assert "images/07.png,identical to an earlier image (images/02.png)" in rejected


def test_a_bad_file_does_not_stop_the_rest(reader, table_root, tmp_path):
    (table_root / "images" / "05.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (table_root / "images" / "06.png").unlink()
    prepared = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    assert len(prepared) == 22
    np.testing.assert_array_equal(prepared.images[5], resize_square(picture(7), 16, "pad"))
    with open(prepared.folder / "rejected.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"image_id": "images/06.png", "reason": f"image file is missing ({table_root}/images/06.png)"},
        {"image_id": "images/05.png", "reason": "image is not a readable PNG or JPEG file"},
    ]
    summary = json.loads((prepared.folder / "summary.json").read_text())
    assert summary["rejected"] == {row["reason"].partition(" (")[0]: 1 for row in rows}


def test_a_spreadsheet_finds_no_formula_in_the_rejected(reader, tmp_path):
    names = ['=HYPERLINK("http://x","y")', "@SUM(A1)", "\t=1+1", "-5", "plain"]
    rejections = [Rejected(name, "lateral") for name in names]
    extended = Changed(reader, lambda record: record)
    extended.records = lambda: [*reader.records(), *rejections]
    prepared = prepare(extended, tmp_path / "out", TARGET, **OPTIONS)
    with open(prepared.folder / "rejected.csv", newline="") as file:
        cells = [row["image_id"] for row in csv.DictReader(file)]
    assert cells == ["'" + names[0], "'@SUM(A1)", "' =1+1", "-5", "plain"]


class Changed:
    """A reader whose records are those of another one, changed."""

    def __init__(self, reader, change):
        self.reader, self.change = reader, change
        self.settings, self.files = reader.settings, reader.files

    def records(self):
        return map(self.change, self.reader.records())


def test_nothing_usable_is_an_error_with_the_reasons_and_leaves_nothing(reader, tmp_path):
    none = Changed(reader, lambda record: Rejected(record.image_id, "lateral"))
    with pytest.raises(UserError, match=r"tiny: none of 24 images can be used \(24 × lateral\)"):
        prepare(none, tmp_path / "new" / "out", TARGET, **OPTIONS)
    assert [path.name for path in (tmp_path / "new").iterdir()] == []


def broken():
    raise ZeroDivisionError


def interrupted_after(reader, count):
    """The reader, whose program fails once `count` images were loaded."""
    seen = iter(range(count))
    return Changed(reader, lambda record: record if next(seen, None) is not None else replace(record, load=broken))


@pytest.mark.parametrize("count", [0, 1, 13, 23])
def test_an_interrupted_run_goes_on_where_it_stopped_and_gives_the_same_bytes(reader, table_root, tmp_path, count):
    (table_root / "images" / "05.png").write_bytes(b"no picture")
    straight = prepare(reader, tmp_path / "straight", TARGET, **OPTIONS)
    with pytest.raises(ZeroDivisionError):
        prepare(interrupted_after(reader, count), tmp_path / "out", TARGET, **OPTIONS)
    assert not (tmp_path / "out").exists()
    # as a kill between two writes would leave it: an image without its line, and a line that ends early
    left = tmp_path / ".out.partial"
    with open(left / "images.npy", "ab") as images, open(left / "journal.jsonl", "a") as journal:
        images.write(b"half an image")
        journal.write('{"image_id": "im')
    loaded = []
    watched = Changed(reader, lambda record: replace(record, load=lambda: loaded.append(record) or record.load()))
    resumed = prepare(watched, tmp_path / "out", TARGET, **OPTIONS)
    assert len(loaded) == 24 - count
    for name in ("images.npy", "manifest.parquet", "rejected.csv", "summary.json", "run.json"):
        assert (resumed.folder / name).read_bytes() == (straight.folder / name).read_bytes().replace(
            b"straight", b"out"
        )
    assert {path.name for path in tmp_path.iterdir()} & {".out.partial", ".straight.partial"} == set()


def test_what_other_settings_left_unfinished_is_begun_anew(reader, tmp_path):
    with pytest.raises(ZeroDivisionError):
        prepare(interrupted_after(reader, 9), tmp_path / "out", Target(size=32), **OPTIONS)
    assert prepare(reader, tmp_path / "out", TARGET, **OPTIONS).images.shape == (24, 16, 16)


def test_sixteen_bits_and_png_files(reader, tmp_path):
    prepared = prepare(reader, tmp_path / "out", Target(size=16, bits=16, png=True), **OPTIONS)
    eight = prepare(reader, tmp_path / "eight", TARGET, **OPTIONS)
    assert prepared.images.dtype == np.uint16
    assert np.abs(prepared.images / 257.0 - eight.images).max() <= 0.51
    rows = np.arange(24)
    assert (prepared.pixels(rows) - eight.pixels(rows)).abs().max() < 1.1 / 255
    written = cv2.imread(str(prepared.folder / "png" / "images" / "07.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, prepared.images[7])


def test_clahe_is_off_unless_asked_for_and_is_recorded(reader, tmp_path):
    """Defect 9c: it was burnt into the training data without a switch."""
    plain = prepare(reader, tmp_path / "plain", TARGET, **OPTIONS)
    clahe = {"clip_limit": 2.0, "tiles": 4}
    asked = prepare(reader, tmp_path / "asked", Target(size=16, clahe=clahe), **OPTIONS)
    witness = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 4)).apply(np.array(plain.images[3]))
    np.testing.assert_array_equal(asked.images[3], witness)
    assert json.loads((asked.folder / "run.json").read_text())["settings"]["clahe"] == clahe
    assert json.loads((plain.folder / "run.json").read_text())["settings"]["clahe"] is None


def test_a_repeated_image_id_is_rejected(reader, tmp_path):
    same = Changed(reader, lambda record: replace(record, image_id=record.image_id[:-5]))
    assert dry_run(same) == {
        "listed": 24,
        "accepted": 3,
        "studies": 3,
        "patients": 3,
        "rejected": {"image_id occurs twice": 21},
        "examples": {},
    }


DOWN = partial(os._exit, 139)  # what a decoder that overwrites its own memory does


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.campaign), 2])
def test_an_image_that_brings_its_process_down_is_rejected_and_the_rest_goes_on(reader, tmp_path, workers):
    def change(record):
        crashes = record.image_id in ("images/02.png", "images/03.png", "images/20.png")
        return replace(record, isolate=True, load=DOWN if crashes else record.load)

    prepared = prepare(Changed(reader, change), tmp_path / "out", TARGET, **OPTIONS, workers=workers)
    whole = prepare(reader, tmp_path / "whole", TARGET, **OPTIONS)
    kept = [number for number in range(24) if number not in (2, 3, 20)]
    np.testing.assert_array_equal(prepared.images, whole.images[kept])
    summary = json.loads((prepared.folder / "summary.json").read_text())
    assert summary["rejected"] == {"image brings its decoder down": 3}


def test_the_limit_draws_evenly_and_grows(reader, tmp_path):
    few = prepare(reader, tmp_path / "few", TARGET, **OPTIONS, limit=6)
    more = prepare(reader, tmp_path / "more", TARGET, **OPTIONS, limit=12)
    assert (len(few), len(more)) == (6, 12)
    assert set(few.manifest["image_id"]) < set(more.manifest["image_id"])
    assert few.manifest["image_id"].is_monotonic_increasing
    assert few.manifest["patient_id"].nunique() > 2


def test_the_number_of_workers_changes_nothing(tmp_path):
    """More images than one chunk, of generated phantoms; also their patients keep to one split (defect 9b)."""
    reader = PhantomReader(n=136, size=16, seed=0)
    one = prepare(reader, tmp_path / "one", TARGET, **OPTIONS, workers=1)
    four = prepare(reader, tmp_path / "four", TARGET, **OPTIONS, workers=4)
    assert (one.folder / "images.npy").read_bytes() == (four.folder / "images.npy").read_bytes()
    assert (one.folder / "manifest.parquet").read_bytes() == (four.folder / "manifest.parquet").read_bytes()
    assert one.manifest.groupby("patient_id")["split"].nunique().max() == 1
    record = next(item for item in reader.records() if item.findings)
    row = one.manifest.set_index("image_id").loc[record.image_id]
    assert (row["findings"], row["labels"]) == (record.findings, record.labels)
    np.testing.assert_array_equal(one.images[list(one.manifest["image_id"]).index(record.image_id)], record.load())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": Target(size=4)}, "data.size=4 is too small"),
        ({"target": Target(size=16, bits=12)}, "data.bits=12 is not possible"),
        *(
            ({"target": Target(size=16, clahe=clahe)}, "a clip_limit above 0 and whole tiles from 1")
            for clahe in ({"clip_limit": 2.0}, {"clip_limit": "x", "tiles": 8}, {"clip_limit": 0, "tiles": 8}, True)
        ),
        ({"limit": 0}, "data.limit=0 takes no image"),
        ({"verify": "twice"}, "use stat or full"),
        ({"target": Target(size=16, fit="stretch")}, "use pad or crop"),
        ({"splits": {"seed": 0, "val": 0.6, "test": 0.6}}, "sum below 1"),
    ],
)
def test_impossible_settings_are_refused_and_leave_nothing(reader, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        prepare(reader, tmp_path / "new" / "out", **{"target": TARGET, **OPTIONS, **options})
    assert not (tmp_path / "new").exists() or list((tmp_path / "new").iterdir()) == []


def test_what_is_not_a_prepared_folder_says_how_to_make_one(reader, tmp_path):
    with pytest.raises(UserError, match=r"gone is not a complete prepared folder .*cxr_ldm.prepare data="):
        Prepared(tmp_path / "gone")
    prepared = prepare(reader, tmp_path / "out", TARGET, **OPTIONS)
    with pytest.raises(UserError, match="split 'dev' is unknown"):
        prepared.rows("dev")
    images = prepared.folder / "images.npy"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"images.npy is damaged"):
        Prepared(prepared.folder)


def test_a_missing_collection_is_an_error_and_never_noise(tmp_path, table_options):
    """Defect 10b."""
    with pytest.raises(UserError, match=r"data.root=.* is not a folder"):
        prepare(TableReader(tmp_path / "gone", **table_options), tmp_path / "out", TARGET, **OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_a_record_and_its_loader_can_travel_to_another_process(reader):
    import pickle

    record = next(reader.records())
    assert isinstance(record, Record)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(record)).load(), picture(0))


def test_preparing_does_not_import_torch():
    import subprocess
    import sys

    modules = "cxr_ldm.data.prepared.making, cxr_ldm.data.readers.openi, cxr_ldm.data.readers.joined"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_reason_comes_with_the_path_that_was_tried(reader, table_root):
    (table_root / "images" / "06.png").unlink()
    (table_root / "images" / "07.png").unlink()
    found = dry_run(reader)
    assert said(found["rejected"], found["examples"]) == [
        f"2 × image file is missing, such as {table_root}/images/06.png"
    ]


def test_a_folder_whose_findings_were_read_by_an_earlier_version_says_so(table_root, table_options, tmp_path, capsys):
    def made():
        reader = TableReader(table_root, **table_options)
        return prepare(reader, tmp_path / "out", Target(16), name="x", splits={"seed": 0, "val": 0.2, "test": 0.2})

    first = made()
    made()
    assert "earlier version" not in capsys.readouterr().out
    record = json.loads((first.folder / "run.json").read_text())
    assert record.pop("read_by") == 2
    (first.folder / "run.json").write_text(json.dumps(sealed(record)))
    assert made().fingerprint == first.fingerprint
    assert f"{first.folder} holds tables and findings as an earlier version read them" in capsys.readouterr().out
