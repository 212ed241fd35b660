"""What a run logs and where, and that nothing else talks on the terminal."""

import csv
import json
import re
import struct

import pytest
from wandb_workspaces.reports.v2 import BarPlot, LinePlot, MediaBrowser, WeavePanelSummaryTable

from cxr_ldm.callbacks.history import read_history
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.provenance import read_png
from cxr_ldm.loggers import mode_of
from cxr_ldm.report.workspace import workspace

DATA = ["data.reader.n=60", "data.size=32"]
TRAIN = [
    *("train.py", "stage=vae", *DATA, "vae=tiny", "training.vae.images=64", "training.vae.validate_every=32"),
    *("training.vae.batch_size=8", "trainer.log_every=2", "name=run"),
]
LOGGED = {"lr-Adam", "train/gradient_norm", "train/images_per_second"}
ADVERTISEMENTS = re.compile(r"wandb:|\bTip\b|💡|litlogger|lightning\.ai|pip install|upgrade", re.IGNORECASE)


@pytest.fixture(scope="module")
def logged(command, tmp_path_factory):
    """A VAE, a model on its latents and an evaluation of that, all on W&B: outputs, and what the first one printed."""
    outputs = tmp_path_factory.mktemp("logged")
    where, small = f"paths.outputs={outputs}", ["denoiser=tiny", "text_encoder.layers=1", "text_encoder.width=32"]
    done = command(*TRAIN, where)
    lengths = ["training.ldm.images=64", "training.ldm.validate_every=64", "name=model"]
    command("train.py", "stage=ldm", *DATA, "vae=tiny", *small, *lengths, "trainer.log_every=1", where)
    few = ["metrics.n=8", "metrics.neighbours=1", "metrics.adherence_n=2", "metrics.cost_steps=[]", "sampler.steps=2"]
    command("evaluate.py", "stage=ldm", "split=val", *few, "name=found", where)
    return outputs, done.stdout + done.stderr


def test_a_run_logs_rates_gradients_and_speed_and_advertises_nothing(logged):
    outputs, printed = logged
    assert not ADVERTISEMENTS.findall(printed)
    run = outputs / "vae" / "run"
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


def of_run(folder):
    """What W&B knows of a run: its entry, names of what it logged, and its artefacts by name."""
    records = list(offline(next(folder.glob("wandb/offline-run-*/*.wandb"))))
    (begun,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    rows = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    items = [item for row in rows for item in row]
    items += [item for record in records for item in record.summary.update]
    artefacts = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    names = {item.nested_key[0] if item.nested_key else item.key for item in items}
    tables = [each for each in artefacts if each.type == "run_table"]
    return begun, names, {each.name: each for each in artefacts if each not in tables}, tables


def test_a_run_on_wandb_has_its_name_its_group_its_curves_and_its_bundle(logged):
    run = logged[0] / "vae" / "run"
    begun, names, artefacts, _ = of_run(run)
    assert (begun.display_name, begun.job_type) == ("run", "vae")
    assert begun.run_group.startswith("phantom-32-n60")
    assert LOGGED | {"train/memory_gb", "train/loss", "val/ssim", "samples"} <= names
    bundle = artefacts["vae-run"]
    assert (bundle.type, bundle.use_after_commit) == ("bundle-vae", False)
    facts = json.loads(bundle.metadata)
    assert facts["data"] == json.loads((run / "run.json").read_text())["settings"]["data"]
    assert {entry.path for entry in bundle.manifest.contents} == {path.name for path in (run / "bundle").iterdir()}


def test_wandb_draws_the_lineage_from_the_collection_to_the_numbers(logged):
    """What one run makes another uses: the same name, type and content, so one artefact on W&B."""
    outputs, _ = logged
    runs = [of_run(outputs / place) for place in ("vae/run", "ldm/model", "evaluation/found")]
    made = [{name for name, each in artefacts.items() if not each.use_after_commit} for _, _, artefacts, _ in runs]
    used = [{name for name, each in artefacts.items() if each.use_after_commit} for _, _, artefacts, _ in runs]
    (prepared,) = used[0]
    assert prepared.startswith("prepared-phantom-32-n60")
    assert made == [{"vae-run"}, {"ldm-model"}, {"evaluation-found"}]
    assert used[1:] == [{prepared, "vae-run"}, {prepared, "ldm-model"}]
    kinds: dict[str, set] = {}
    for _, _, artefacts, _ in runs:
        for name, each in artefacts.items():
            kinds.setdefault(name, set()).add((each.type, each.digest))
    assert {len(found) for found in kinds.values()} == {1}
    files = {entry.path for entry in runs[2][2][prepared].manifest.contents}
    assert files == {"facts.json"}  # neither an image nor a text


def test_an_evaluation_on_wandb_shows_prompts_with_their_images_and_findings(logged):
    folder = logged[0] / "evaluation" / "found"
    begun, names, _, tables = of_run(folder)
    assert (begun.display_name, begun.job_type) == ("found", "evaluation")
    assert {"evaluation/metrics", "evaluation/findings", "evaluation/shown", "evaluation/grid"} <= names
    (table,) = folder.rglob("shown_*.table.json")
    content = json.loads(table.read_text())
    with open(folder / "shown.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(content["data"]) == len(rows) >= 2
    of = content["columns"].index
    assert [line[of("prompt")] for line in content["data"]] == [row["prompt"] for row in rows]
    for line, row in zip(content["data"], rows, strict=True):
        assert line[of("finding")] == row["finding"]
        facts = read_png(folder / row["image"])
        assert (facts["prompt"], facts["seed"], facts["synthetic"]) == (row["prompt"], int(row["seed"]), True)
    (shown,) = [each for each in tables if "evaluationshown" in each.name]
    pictures = [entry.path for entry in shown.manifest.contents if entry.path.endswith(".png")]
    assert len(pictures) == len({row["image"] for row in rows})


def test_the_view_of_a_project_shows_what_runs_log(logged):
    known = set().union(*(of_run(logged[0] / place)[1] for place in ("vae/run", "ldm/model", "evaluation/found")))
    sections = workspace("lab", "chests").sections
    panels = [panel for section in sections for panel in section.panels]
    tables = {panel.table_name for panel in panels if isinstance(panel, WeavePanelSummaryTable)}
    pictures = {key for panel in panels if isinstance(panel, MediaBrowser) for key in panel.media_keys}
    curves = {str(name) for panel in panels if isinstance(panel, LinePlot) for name in panel.y}
    patterns = [panel.metric_regex for panel in panels if isinstance(panel, LinePlot) and panel.metric_regex]
    figures = {str(name) for panel in panels if isinstance(panel, BarPlot) for name in panel.metrics}
    assert tables <= known
    assert {"samples", "evaluation/grid"} <= pictures & known
    # a classifier's, and those of training.ldm.copies
    assert curves - known == {"val/auroc_mean", "val/kid", "val/copies_excess", "val/copies_excess_features"}
    assert all(any(re.search(pattern, name) for name in known) for pattern in patterns)
    assert {"evaluation/kid_efficientnet_lite0", "evaluation/fid_efficientnet_lite0_ratio"} <= figures & known


def test_a_view_without_its_library_is_one_sentence(monkeypatch):
    monkeypatch.setattr("cxr_ldm.report.workspace.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs wandb and wandb-workspaces: run `pip install 'cxr-ldm\[wandb\]'`"):
        workspace("lab", "chests")


@pytest.mark.parametrize(
    ("project", "sentence"),
    [("chests", "'chests' must be ENTITY/PROJECT"), ("lab/chests", "W&B has no API key here; run `wandb login`")],
)
def test_a_view_that_cannot_be_made_is_one_sentence(command, tmp_path, project, sentence):
    home = {"HOME": str(tmp_path), "WANDB_API_KEY": "", "NETRC": str(tmp_path / "none")}
    assert sentence in command("-m", "cxr_ldm", "runs", "workspace", project, code=2, **home).stderr


def test_files_of_the_csv_logger_hold_them_too_and_tensorboard_has_the_same_and_the_grids(command, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for name in ("csv", "tensorboard"):
        done = command(*TRAIN, f"paths.outputs={tmp_path}/{name}", f"logger={name}")
        assert not ADVERTISEMENTS.findall(done.stdout + done.stderr)
    with open(tmp_path / "csv" / "vae" / "run" / "csv" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in LOGGED:
        assert len([row for row in rows if row[name]]) == 4, name
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
