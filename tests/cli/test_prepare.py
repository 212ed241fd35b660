"""Preparing from the command line: killed and started again, mixed, downloaded."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_ldm.commands.cli import as_it_stands
from cxr_ldm.data.prepared.folder import Prepared

ROOT = Path(__file__).resolve().parents[2]
PHANTOM = ["-m", "cxr_ldm.prepare", "data=phantom", "data.size=48", "data.reader.n=700", "name=p", "workers=2"]


@pytest.mark.campaign
def test_killed_with_all_its_workers_and_started_again_the_result_is_the_same(command, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    command(*PHANTOM, f"paths.outputs={straight}")
    # a session of its own, so that the kill takes the worker processes with it
    arguments = [sys.executable, *PHANTOM, f"paths.outputs={broken}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(arguments, cwd=ROOT, start_new_session=True, **quiet)
    journal = broken / "prepared" / ".p.partial" / "journal.jsonl"
    while not journal.exists() or len(journal.read_bytes().splitlines()) < 20:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (broken / "prepared" / "p").exists()
    done = journal.read_bytes().count(b"\n")
    assert done < 700
    bar = command(*PHANTOM, f"paths.outputs={broken}").stderr
    first = next(part for part in bar.split("\r") if "/700" in part)
    assert int(first.split("/700")[0].split()[-1]) >= 20  # the bar begins where the killed run stopped
    for name in ("images.npy", "manifest.parquet", "rejected.csv", "summary.json", "run.json"):
        made, expected = (root / "prepared" / "p" / name for root in (broken, straight))
        assert made.read_bytes() == expected.read_bytes(), name


def test_two_prepared_folders_as_one_training_set(command, tmp_path):
    outputs = f"paths.outputs={tmp_path}"
    for seed in (0, 1):
        source = [f"data.reader.seed={seed}", f"name=s{seed}", "data.reader.n=80", "data.size=32"]
        command("-m", "cxr_ldm.prepare", "data=phantom", *source, outputs)
    folders = f"data.reader.folders=[{tmp_path}/prepared/s0,{tmp_path}/prepared/s1]"
    mix = ["data=mix", folders, "data.reader.weights=[1,3]", "data.size=32", outputs]
    printed = command("-m", "cxr_ldm.prepare", *mix, "name=mix").stdout
    assert "160 images of 32 x 32" in printed
    tiny = ["vae=tiny", "training.vae.images=64", "training.vae.validate_every=64", "logger=csv"]
    trained = command("train.py", "stage=vae", f"prepared={tmp_path}/prepared/mix", *tiny, outputs)
    assert "bundle" in trained.stdout


def test_every_way_to_prepare_an_image_and_to_change_it_in_training(command, tmp_path):
    outputs, name = f"paths.outputs={tmp_path}", "name=p"
    ways = ["data.bits=16", "data.png=true", "data.clahe={clip_limit:2,tiles:4}", "data.fit=crop"]
    command("-m", "cxr_ldm.prepare", "data=phantom", "data.reader.n=80", "data.size=32", *ways, name, outputs)
    folder = tmp_path / "prepared" / "p"
    assert np.load(folder / "images.npy", mmap_mode="r").dtype == np.uint16
    assert len(list((folder / "png").glob("*.png"))) == 80
    settings = json.loads((folder / "run.json").read_text())["settings"]
    assert settings["clahe"] == {"clip_limit": 2, "tiles": 4}
    lengths = ["training.vae.images=32", "training.vae.validate_every=32", "logger=csv"]
    trained = [f"prepared={folder}", "vae=sharp", *lengths, outputs]
    for name, augment in (("1", "true"), ("2", "false")):  # names that YAML reads as numbers
        command("train.py", "stage=vae", *trained, f"training.vae.augment.enabled={augment}", f"name={name}")
    metrics = [json.loads((tmp_path / "vae" / run / "metrics.json").read_text()) for run in ("1", "2")]
    assert metrics[0]["val_psnr"]["value"] != metrics[1]["val_psnr"]["value"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data=phantom", "data.clahe=true"], "data.clahe=True must be keys and values, such as {key: value}"),
        (["data=phantom", "data.clahe={clip_limit:x,tiles:8}"], "data.clahe.clip_limit=x must be a number"),
        (["data=phantom", "data.bits=12"], "data.bits=12 is not one of 8 or 16"),
        (["data=mix"], "data.reader.folders names no prepared folder"),
    ],
)
def test_images_that_cannot_be_prepared_so_are_one_sentence(command, arguments, words, tmp_path):
    error = command("-m", "cxr_ldm.prepare", *arguments, f"paths.outputs={tmp_path}", code=2).stderr
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "root is not set"),
        (["root=x", "parts=[ct]"], "must be one or more of reports, png, dicom"),
        (["rot=x"], "did you mean 'root'"),
    ],
)
def test_a_download_that_cannot_be_is_one_sentence(command, arguments, words, tmp_path):
    error = command("-m", "cxr_ldm.data.download", *arguments, code=2).stderr
    assert words in error
    assert "Traceback" not in error


def test_paths_and_templates_are_taken_as_they_stand(command, tmp_path):
    """Hydra's grammar reads brackets, equals signs, commas, accents and braces as something else."""
    place = tmp_path / "scans (1), its=b' #~ été {x}"
    (place / "pictures [2]").mkdir(parents=True)
    for number in range(6):
        picture = np.full((20, 20), 30 * number, dtype=np.uint8)
        picture[5, 5] = 255
        Image.fromarray(picture).save(place / "pictures [2]" / f"{number}.png")
    rows = "".join(f"{number},Clear.,p{number}\n" for number in range(6))
    (place / "table (new).csv").write_text("file,note,person\n" + rows)
    columns = ["data.reader.csv=table (new).csv", "data.reader.image=pictures [2]/{file}.png", "data.reader.text=note"]
    options = [f"data.root={place}", *columns, "data.reader.patient=person", "data.size=16", "name=a"]
    outputs = tmp_path / "out (1), {b}=c"
    command("-m", "cxr_ldm.prepare", "data=table", *options, f"paths.outputs={outputs}")
    assert len(Prepared(outputs / "prepared" / "a")) == 6
    # an address that Hydra can read is not touched, so names and records stay what they were
    assert as_it_stands("data.reader.csv=table.csv") == "data.reader.csv=table.csv"
    again = command("-m", "cxr_ldm.prepare", f"prepared={outputs}/prepared/a").stdout
    assert "6 images" in again
    error = command("sample.py", "prompt=x", f"bundle={place}", "n=1", code=2).stderr
    assert f"bundle={place} is no bundle" in error


def test_what_a_table_reader_takes_is_typed_as_the_docs_say(command, tmp_path):
    """Columns, cells and further tables are the user's own, which no config can list."""
    for number in range(6):
        Image.linear_gradient("L").rotate(7 * number).save(tmp_path / f"{number}.png")
    rows = "".join(f"{number}.png,p{number}/s,Clear.,{number % 2},bad;old,1\n" for number in range(6))
    (tmp_path / "t.csv").write_text("file,who,note,side,kinds,Edema\n" + rows)
    (tmp_path / "more.csv").write_text("file,years\n" + "".join(f"{number}.png,5{number}\n" for number in range(6)))
    columns = ["csv=t.csv", "image=file", "text=note", "patient=person", "view=side", "age=years", "labels=[kinds]"]
    free = ["values={side: {0: PA, 1: AP}}", "beside={more.csv: [file]}", "separator=;"]
    free += ["one_hot=[Edema]", "needed=[note]", "left_out={file: [5.png]}", "turns={0.png: 90}", "cleaned=true"]
    free += [r"parts={who: '(?P<person>p\d)'}"]
    options = [
        f"data.root={tmp_path}",
        *(f"data.reader.{word}" for word in (*columns, *free)),
        "data.size=32",
        "name=a",
    ]
    outputs = tmp_path / "out"
    command("-m", "cxr_ldm.prepare", "data=table", *options, f"paths.outputs={outputs}")
    manifest = Prepared(outputs / "prepared" / "a").manifest
    assert list(manifest["view"]) == ["PA", "AP", "PA", "AP", "PA"]
    assert list(manifest["patient_id"]) == ["p0", "p1", "p2", "p3", "p4"]
    assert list(manifest["age"]) == [50, 51, 52, 53, 54]
    assert list(manifest["labels"][0]) == ["bad", "old", "Edema"]
    usual = [f"data.root={tmp_path}", "data.reader.csv=t.csv", "data.reader.image=file", "data.reader.text=note"]
    usual += ["data.reader.needed=[note]", "data.size=32", f"paths.outputs={outputs}"]
    command("-m", "cxr_ldm.prepare", "data=table", *usual)
    (made,) = outputs.glob("prepared/table-32-*")
    assert "-needed_note" in made.name  # as any other word of the command line
    error = command("-m", "cxr_ldm.prepare", "data=nih", "data.root=.", "data.reader.values={a: {b: c}}", code=2).stderr
    assert "data.reader.values is no setting of cxr_ldm.data.readers.nih.NIHReader" in error


def test_words_for_cells_join_those_of_a_collection(command):
    shown = command(
        "-m",
        "cxr_ldm.prepare",
        "data=mimic",
        "data.root=.",
        "data.reader.values={view: {lat: lateral}}",
        "--cfg",
        "job",
    )
    assert "LL: lateral" in shown.stdout
    assert "lat: lateral" in shown.stdout


@pytest.mark.parametrize(
    ("place", "header", "row", "words"),
    [
        ("scans/{}.png", "id,subject,note", "{},p{half},Effusion on the left.", "data.reader.image=scans/{id}.png"),
        ("{}.png", "file,report,person", "{}.png,No finding today.,p{half}", "data.reader.image=file"),
    ],
)
def test_a_csv_alone_gets_the_command_that_reads_it(command, tmp_path, place, header, row, words):
    root = tmp_path / "my scans (1)"
    lines = [header]
    for number in range(6):
        path = root / place.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").rotate(7 * number).save(path)
        lines.append(row.format(number, half=number // 2))
    (root / "table.csv").write_text("\n".join(lines))
    where = f"paths.outputs={tmp_path}/out"
    error = command("-m", "cxr_ldm.prepare", "data=table", f"data.root={root}", where, code=2).stderr
    (proposed,) = [line.strip() for line in error.splitlines() if line.startswith("  python -m")]
    assert words in shlex.split(proposed)
    command(*shlex.split(proposed)[1:], "data.size=32", "name=read", where)
    manifest = Prepared(tmp_path / "out/prepared/read").manifest
    assert len(manifest) == 6
    assert set(manifest["patient_id"]) == {"p0", "p1", "p2"}


def test_a_folder_of_which_no_column_names_a_picture_is_one_sentence(command, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    error = command("-m", "cxr_ldm.prepare", "data=table", f"data.root={tmp_path}", code=2).stderr
    assert "no column of table.csv names one of the 0 PNG, JPEG or DICOM files below it" in error
