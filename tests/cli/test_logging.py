"""What a run logs and where, and that nothing else talks on the terminal."""

import csv
import json
import re
import struct

import pytest

from cxr_ldm.callbacks.history import read_history
from cxr_ldm.errors import UserError
from cxr_ldm.loggers import mode_of

DATA = ["data.reader.n=60", "data.size=32"]
TRAIN = [
    *("train.py", "stage=vae", *DATA, "vae=tiny", "training.vae.images=64", "training.vae.validate_every=32"),
    *("training.vae.batch_size=8", "trainer.log_every=2", "name=run"),
]
LOGGED = {"lr-Adam", "train/gradient_norm", "train/images_per_second"}
ADVERTISEMENTS = re.compile(r"wandb:|\bTip\b|💡|litlogger|lightning\.ai|pip install|upgrade", re.IGNORECASE)


def test_a_run_logs_rates_gradients_and_speed_and_advertises_nothing(command, tmp_path):
    done = command(*TRAIN, f"paths.outputs={tmp_path}")
    assert not ADVERTISEMENTS.findall(done.stdout + done.stderr)
    run = tmp_path / "vae" / "run"
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    rows = read_history(run / "history.csv")
    steps = {name: [row["step"] for row in rows if row["name"] == name] for name in LOGGED}
    assert steps == {name: [2, 4, 6, 8] for name in LOGGED}
    assert all(row["value"] > 0 for row in rows if row["name"] in LOGGED)


def offline(path):
    """The records of a .wandb file: a log in blocks of 32 KB, as LevelDB writes, of W&B's own messages."""
    from wandb.proto import wandb_internal_pb2

    content, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7]) if left >= 7 else (0, 0)
        if kind == 0:  # what fills a block up
            at += left
            continue
        part, at = part + content[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            yield record


def test_a_run_on_wandb_has_its_name_its_group_its_curves_and_its_bundle(command, tmp_path):
    command(*TRAIN, f"paths.outputs={tmp_path}")
    run = tmp_path / "vae" / "run"
    records = list(offline(next(run.glob("wandb/offline-run-*/*.wandb"))))
    (begun,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (begun.display_name, begun.job_type) == ("run", "vae")
    assert begun.run_group.startswith("phantom-32-n60")
    rows = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    logged = {item.nested_key[0] if item.nested_key else item.key for row in rows for item in row}
    assert LOGGED | {"train/memory_gb", "train/loss", "val/ssim", "samples"} <= logged
    (bundle,) = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    assert (bundle.name, bundle.type) == ("run", "bundle-vae")
    facts = json.loads(bundle.metadata)
    assert facts["data"] == json.loads((run / "run.json").read_text())["settings"]["data"]
    assert {entry.path for entry in bundle.manifest.contents} == {path.name for path in (run / "bundle").iterdir()}


def test_files_of_the_csv_logger_hold_them_too(command, tmp_path):
    done = command(*TRAIN, f"paths.outputs={tmp_path}", "logger=csv")
    assert not ADVERTISEMENTS.findall(done.stdout + done.stderr)
    (path,) = tmp_path.glob("vae/run/csv/metrics.csv")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    for name in LOGGED:
        assert len([row for row in rows if row[name]]) == 4, name


def test_tensorboard_has_the_scalars_of_csv_and_the_grids(command, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name in ("csv", "tensorboard"):
        done = command(*TRAIN, f"paths.outputs={tmp_path}/{name}", f"logger={name}")
        assert not ADVERTISEMENTS.findall(done.stdout + done.stderr)
    with open(tmp_path / "csv" / "vae" / "run" / "csv" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {(key, int(row["step"])): float(row[key]) for row in rows for key in row if row[key] and key != "step"}
    events = EventAccumulator(str(tmp_path / "tensorboard" / "vae" / "run" / "tensorboard")).Reload()
    logged = {(name, each.step): each.value for name in events.Tags()["scalars"] for each in events.Scalars(name)}
    assert logged.keys() == expected.keys()
    assert {name for name, _ in logged} >= LOGGED | {"val/ssim"}
    own = {"epoch", "train/images_per_second", "train/memory_gb"}  # of each run
    compared = [key for key in logged if key[0] not in own]
    assert [logged[key] for key in compared] == pytest.approx([expected[key] for key in compared], rel=1e-5)
    assert {each.step for each in events.Images("samples")} == {4, 8}


def test_a_live_run_without_a_key_is_one_sentence(command, tmp_path):
    home = {"HOME": str(tmp_path), "WANDB_API_KEY": "", "NETRC": str(tmp_path / "none")}
    done = command(*TRAIN, f"paths.outputs={tmp_path}/out", code=2, **home, WANDB_MODE="online")
    assert re.fullmatch(r"error: W&B logs live and has no API key; .*logger\.offline=true\.\n", done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("word", "offline", "mode"),
    [
        (None, None, "offline"),
        ("online", True, "offline"),
        ("disabled", None, "disabled"),
        ("dryrun", None, "offline"),
        ("online", None, "online"),
        ("offline", False, "online"),
    ],
)
def test_the_config_goes_before_wandb_mode_and_that_before_offline(monkeypatch, word, offline, mode):
    monkeypatch.setattr("cxr_ldm.loggers.has_key", lambda: True)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if word is not None:
        monkeypatch.setenv("WANDB_MODE", word)
    assert mode_of(offline) == mode


def test_a_mode_that_wandb_does_not_have_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "loud")
    with pytest.raises(UserError, match="WANDB_MODE=loud is not one of online, offline"):
        mode_of(None)
