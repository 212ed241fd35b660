"""What an evaluation leaves in an offline W&B run, read back from the run's own files."""

import json
import struct
import time

import pytest
import wandb
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from wandb.proto import wandb_internal_pb2

from cxr_ldm.assets import CONF
from cxr_ldm.metrics.results import Metric, read_metrics, run_entry, write_metrics
from cxr_ldm.report.wandb import METRICS, finding_lines, log_evaluation, metric_lines

TEXTS = {"finding": "pleural effusion"}


@pytest.fixture
def folder(tmp_path):
    """An evaluation of two pictures and no classifier."""
    metrics = {
        "fid_net": Metric(29.4321, 500, False, reason="biased", settings={"extractor": "net"}),
        "fid_net_floor": Metric(21.5, 500, False, reason="overlap"),
        "adherence_finding_texts": Metric(0.9531, 64, True, ci95=(0.87, 0.98), settings=TEXTS, over="images"),
        "adherence_finding_real_all": Metric(0.9975, 300, True, ci95=(0.99, 1.0), settings=TEXTS, over="images"),
        "near_copies": Metric(0, 500, False, reason="a count"),
    }
    write_metrics(tmp_path / "metrics.json", metrics, run_entry(composed={}, bundle_sha256=None, seed=0, stage="ldm"))
    for name, grey in (("grid", 90), ("worst", 160)):
        Image.new("L", (8, 8), grey).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def offline(folder):
    """The folder of the offline run that our own logger config makes of it."""
    logger = instantiate(OmegaConf.load(CONF / "logger" / "wandb.yaml"))(save_dir=str(folder))
    log_evaluation(logger.experiment, read_metrics(folder / "metrics.json"), folder)
    logger.experiment.finish()
    (run,) = (folder / "wandb").glob("offline-run-*")
    return run


def records(path):
    """The records of a run's transaction log: LevelDB's format in blocks of 32 KiB behind a header of 7 bytes."""
    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:  # no room for another header in this block
            place += left
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last of several parts
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def logged(run, kind):
    """What a run's log holds of its "summary" or its "history", as W&B would send it."""
    (path,) = run.glob("*.wandb")
    read = {"summary": lambda record: record.summary.update, "history": lambda record: record.history.item}[kind]
    items = [item for record in records(path) for item in read(record)]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_an_offline_run_holds_tables_pictures_and_numbers(offline, folder):
    tables = {path.name.split("_")[0]: json.loads(path.read_text()) for path in offline.rglob("*.table.json")}
    assert set(tables) == {"metrics", "findings"}
    lines = {line[0]: dict(zip(METRICS, line, strict=True)) for line in tables["metrics"]["data"]}
    assert list(lines) == ["fid_net", "adherence_finding_texts", "near_copies"]
    assert (lines["fid_net"]["value"], lines["fid_net"]["low"], lines["fid_net"]["real images"]) == (
        29.4321,
        None,
        21.5,
    )
    assert (lines["adherence_finding_texts"]["low"], lines["adherence_finding_texts"]["high"]) == (0.87, 0.98)
    (line,) = tables["findings"]["data"]
    row = dict(zip(tables["findings"]["columns"], line, strict=True))
    assert (row["finding"], row["adherence_finding"], row["adherence_finding real"]) == (
        "pleural effusion",
        0.9531,
        0.9975,
    )
    assert row["auroc"] is None
    assert "auroc: no classifier of findings was trained on these data" in row["missing"]
    pictures = {path.name.split("_")[0]: path for path in offline.rglob("*.png")}
    assert set(pictures) == {"grid", "worst"}
    for name, path in pictures.items():
        assert path.read_bytes() == (folder / f"{name}.png").read_bytes()
    content = read_metrics(folder / "metrics.json")
    deadline = time.monotonic() + 30  # on a busy machine W&B's own process may write after finish() has come back
    while not {f"evaluation/{name}" for name in content.keys() - {"run"}} <= logged(offline, "summary").keys():
        assert time.monotonic() < deadline, logged(offline, "summary").keys()
        time.sleep(0.2)
    values, shown = logged(offline, "summary"), logged(offline, "history")
    for name in content.keys() - {"run"}:
        assert values[f"evaluation/{name}"] == content[name]["value"]
    assert shown["evaluation/grid/caption"] == "a fixed choice, not the best"
    assert shown["evaluation/metrics/nrows"] == 3


def test_lines_are_of_one_type_in_each_column(folder):
    content = read_metrics(folder / "metrics.json")
    headings, lines = finding_lines(content)
    for columns, data in ((METRICS, metric_lines(content)), (headings, lines)):
        table = wandb.Table(columns=list(columns), data=data)  # refuses a column of mixed types
        assert len(table.data) == len(data)
    assert finding_lines({"fid_net": content["fid_net"], "run": content["run"]})[1] == []
