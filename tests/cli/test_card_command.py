"""`cxr-ldm card` as a user gives it: by name, by folder, with what is wrong."""

import json
import shutil

import pytest

from cxr_ldm.artifacts import RECORD, read_json, write_record
from cxr_ldm.assets import DEMO
from cxr_ldm.bundle import SUMS, verify, write_sums

RUN = "phantom-64-mine"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, command):
    """Phantoms, and the package's model as if it had been trained on these."""
    folder = tmp_path_factory.mktemp("outputs")
    command("-m", "cxr_ldm.prepare", "data=phantom", "data.reader.n=60", f"paths.outputs={folder}", "name=phantoms")
    bundle = folder / "ldm" / RUN / "bundle"
    shutil.copytree(DEMO, bundle)
    config = read_json(bundle / "config.json")
    config["info"]["data"]["fingerprint"] = read_json(folder / "prepared" / "phantoms" / RECORD)["fingerprint"]
    config["info"]["run"] = RUN
    (bundle / "config.json").write_text(json.dumps(config))
    (bundle / SUMS).unlink()
    write_sums(bundle)
    made = {"data": "phantoms", "finished": "2026-01-01T00:00:00", "seconds": 90.0, "steps": 450}
    write_record(bundle.parent, {}, complete=True, **made)
    return folder


def test_a_run_by_its_name_has_cards_of_its_manifest_and_record(outputs, command):
    done = command("-m", "cxr_ldm", "card", f"bundle={RUN}", f"paths.outputs={outputs}")
    assert "model_card.html" in done.stdout
    text = (outputs / "cards" / RUN / "model_card.md").read_text()
    summary = read_json(outputs / "prepared" / "phantoms" / "summary.json")
    for split, counts in summary["splits"].items():
        assert f"| {split} | {counts['images']} | {counts['patients']} |" in text
    assert "| optimiser steps | 450 |" in text
    assert "| minutes of training | 1.5000 |" in text
    assert "Not measured: no metrics.json of exactly these weights" in text
    verify(outputs / "ldm" / RUN / "bundle")  # the bundle is as it was
    again = command("-m", "cxr_ldm", "card", f"paths.outputs={outputs}")  # the newest run, in place of the first cards
    assert f"cards/{RUN}" in again.stdout


def test_a_packaged_model_by_its_name(outputs, command, tmp_path):
    command("-m", "cxr_ldm", "card", "bundle=taesd", f"out={tmp_path}/c", f"paths.outputs={outputs}")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["model_card.html", "model_card.md"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bundle=nowhere"], "bundle=nowhere is no bundle"),
        (["bundle=phantom", "evaluation=nowhere"], "evaluation=nowhere holds no metrics.json"),
        (["bundle=phantom", "prepared={outputs}/prepared/phantoms"], "is not the collection that the model"),
        (["bundle=phantom", "out={outputs}/prepared/phantoms"], "which is no card"),
        (["bundle=phantom", "what=1"], "what"),
    ],
)
def test_what_is_wrong_is_one_sentence(outputs, command, words, said):
    words = [word.format(outputs=outputs) for word in words]
    done = command("-m", "cxr_ldm", "card", *words, f"paths.outputs={outputs}", code=2)
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (outputs / "cards" / "phantom").exists()
    assert (outputs / "prepared" / "phantoms" / "manifest.parquet").is_file()
