"""evaluate.py images=: anybody's images, by the measures of our own models."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from cxr_ldm.bundle import save_bundle
from cxr_ldm.data.prepared.folder import Prepared
from cxr_ldm.metrics.results import read_metrics
from cxr_ldm.networks.classifier import Classifier


@pytest.fixture(scope="module")
def outputs(command, tmp_path_factory):
    """Prepared phantoms of 32 pixels, and three sets: other phantoms, darker ones with prompts, and training images."""
    folder = tmp_path_factory.mktemp("scoring")
    where = f"paths.outputs={folder}"
    small = ["data=phantom", "data.size=32", "data.reader.n=120", "data.splits.test=0.5", where]
    command("-m", "cxr_ldm.prepare", *small, "name=real")
    command("-m", "cxr_ldm.prepare", *small, "data.reader.seed=9", "name=others")
    others, real = (Prepared(folder / "prepared" / name) for name in ("others", "real"))
    sets = {"others": others.images[:40], "darker": others.images[:40] // 2}
    sets["trained"] = real.images[real.rows("train")][:40]
    for name, images in sets.items():
        (folder / "sets" / name).mkdir(parents=True)
        for place, image in enumerate(images):
            Image.fromarray(np.asarray(image)).save(folder / "sets" / name / f"{place:03d}.png")
    rows = [f"{place:03d}.png,{text}" for place, text in enumerate(others.texts(np.arange(40)))]
    table = "\n".join(["image,prompt", *(row.replace(", ", " ") for row in rows)])
    (folder / "sets" / "darker" / "prompts.csv").write_text(table)
    with zipfile.ZipFile(folder / "sets" / "others.zip", "w") as archive:
        for path in sorted((folder / "sets" / "others").glob("*.png")):
            archive.write(path, path.name)
    return folder


def figures(outputs, name):
    return read_metrics(outputs / "evaluation" / name / "metrics.json")


def scored(command, outputs, *options, code=0):
    return command("evaluate.py", f"paths.outputs={outputs}", "metrics.floor_repeats=2", *options, code=code)


@pytest.mark.campaign
def test_a_folder_and_a_zip_of_it_give_the_same_figures_and_copies_are_found(command, outputs):
    real = ["real=prepared:real", "trained_on=prepared:real"]
    done = scored(command, outputs, f"images={outputs / 'sets' / 'others'}", *real, "name=folder")
    assert "40 images against" in done.stdout
    scored(command, outputs, f"images={outputs / 'sets' / 'others.zip'}", *real, "name=zip")
    folder, archive = figures(outputs, "folder"), figures(outputs, "zip")
    assert {key: entry["value"] for key, entry in folder.items() if key != "run"} == {
        key: entry["value"] for key, entry in archive.items() if key != "run"
    }
    kid = "kid_efficientnet_lite0"
    assert folder[kid]["ci95"][0] < 0.02, "phantoms against phantoms"
    assert folder["near_copies"]["value"] == 0
    assert folder[f"{kid}_floor"]["n"] > 0
    assert (outputs / "evaluation" / "folder" / "report.html").stat().st_size > 50_000
    row = json.loads((outputs / "evaluation" / "folder" / "chexgenbench.json").read_text())[0]
    assert row["KID (efficientnet_lite0)"] == round(folder[kid]["value"], 3)
    assert {"Precision (efficientnet_lite0)", "Extra Info", "Caption Type"} <= row.keys()
    scored(command, outputs, f"images={outputs / 'sets' / 'trained'}", *real, "name=copied")
    copied = figures(outputs, "copied")
    assert copied["near_copies"]["value"] >= 30, "training images, handed in as generated ones"
    assert copied["copies_excess_pixels"]["ci95"][0] > 0.3


def test_a_set_of_training_images_is_no_reference(command, outputs):
    options = [f"real={outputs / 'sets' / 'trained'}", "trained_on=prepared:real", "size=32"]
    done = scored(command, outputs, f"images={outputs / 'sets' / 'others'}", *options, code=2)
    assert "images of real= are among those of trained_on=" in done.stderr


def test_several_sets_stand_in_one_table_with_paired_differences(command, outputs):
    sets = f"images={{others: {outputs / 'sets' / 'others'}, darker: {outputs / 'sets' / 'darker'}}}"
    prompts = f"prompts={outputs / 'sets' / 'darker' / 'prompts.csv'}"
    arguments = {"channels": [4, 8], "blocks": 1, "groups": 4}
    classes = ["cardiomegaly", "pleural effusion"]
    spec = {"classifier": {"part": "Classifier", "classes": classes, **arguments}}
    data = {"name": "real", "kind": "phantom", "fingerprint": Prepared(outputs / "prepared" / "real").fingerprint}
    info = {"size": 32, "data": data, "run": "x", "prevalence": [0.5, 0.5]}
    judge = outputs / "judge"
    save_bundle(judge, "classifier", spec, {"classifier": Classifier(classes, **arguments)}, info)
    done = scored(command, outputs, sets, "real=prepared:real", prompts, f"classifier={judge}", "name=both")
    assert "| others | 40 |" in done.stdout
    found = figures(outputs, "both")["kid_efficientnet_lite0_difference_others_less_darker"]
    alone = [figures(outputs, f"both-{name}")["kid_efficientnet_lite0"]["value"] for name in ("others", "darker")]
    assert found["value"] == pytest.approx(alone[0] - alone[1], abs=1e-9)
    assert found["value"] < 0, "darker phantoms are further away"
    assert found["settings"]["by"] == "name"
    area = "auroc_pleural_effusion"
    apart = figures(outputs, "both")[f"{area}_difference_others_less_darker"]
    areas = [figures(outputs, f"both-{name}")[area]["value"] for name in ("others", "darker")]
    assert apart["value"] == pytest.approx(areas[0] - areas[1], abs=1e-9)
    assert apart["settings"]["pairs"] == 40
    assert "p_value" in found["settings"]
    table = json.loads((outputs / "evaluation" / "both" / "chexgenbench.json").read_text())
    assert [row["Extra Info"] for row in table] == ["others", "darker"]
    again = scored(command, outputs, sets, "real=prepared:real", prompts, f"classifier={judge}", "name=both")
    assert again.stdout.count("complete already") == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["images=OTHERS"], "images= needs real="),
        (["images=OTHERS", "real=prepared:nowhere"], "is a prepared folder"),
        (["images=nowhere", "real=prepared:real"], "does not exist"),
        (["images=OTHERS", "real=nowhere"], "real=nowhere is no folder"),
        (["images=OTHERS", "real=prepared:real", "stage=ldm"], "leave stage= out"),
        (["images=OTHERS", "real=prepared:real", "metrics=full"], "take"),
        (["images=OTHERS", "real=prepared:real", "prompts=nowhere.csv"], "nowhere.csv does not exist"),
        (["real=prepared:real", "stage=ldm"], "real= is for images that are given"),
        (["images=OTHERS", "real=prepared:real", "unreadable=black"], "unreadable=black"),
    ],
)
def test_what_cannot_be_meant_gets_one_sentence(command, outputs, options, words):
    options = [option.replace("OTHERS", str(outputs / "sets" / "others")) for option in options]
    assert words in scored(command, outputs, *options, code=2).stderr
