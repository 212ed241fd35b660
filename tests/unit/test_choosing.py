"""Which bundle is taken where nobody names one, and by which names it can be called."""

import pytest

from cxr_ldm import artifacts
from cxr_ldm.assets import CHEST, DEMO, VAES
from cxr_ldm.errors import UserError
from cxr_ldm.naming import bundle_named, model_bundle, prepared_with


def run(outputs, name, day, data="phantom-32-0", kind="phantom", **facts):
    folder = outputs / "ldm" / name
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "SHA256SUMS").write_text(name)
    artifacts.write_json(folder / "bundle" / "config.json", {"info": {"data": {"kind": kind}}})
    facts = {"data": data, "finished": f"2026-01-{day:02}T00:00:00"} | facts
    artifacts.write_record(folder, {"name": name}, complete=True, **facts)


def test_the_package_draws_until_something_is_trained(tmp_path):
    chosen = model_bundle(None, tmp_path)
    assert chosen.folder == CHEST
    assert "holds no trained model yet" in chosen.words


def test_the_newest_run_is_taken_and_a_sweeps_arm_only_where_nothing_else_is(tmp_path):
    run(tmp_path, "arm", 9, arm=True)
    assert model_bundle(None, tmp_path).folder.parent.name == "arm"
    run(tmp_path, "old", 1)
    run(tmp_path, "new", 2, data="nih-256-0", kind="nih")
    assert model_bundle(None, tmp_path).folder.parent.name == "new"
    assert "the newest complete run of stage ldm on nih-256-0" in model_bundle(None, tmp_path).words


def test_data_that_are_asked_for_must_be_those_of_the_run(tmp_path):
    run(tmp_path, "phantoms", 2)
    run(tmp_path, "people", 1, data="nih-256-0", kind="nih")
    assert model_bundle(None, tmp_path, "nih-256-0").folder.parent.name == "people"
    assert model_bundle(None, tmp_path, "nih").folder.parent.name == "people"
    with pytest.raises(UserError, match="no complete run of stage ldm on nih-64-1 .*there are runs on nih-256-0"):
        model_bundle(None, tmp_path, "nih-64-1")


def test_a_name_is_of_the_package_or_a_run_or_a_folder(tmp_path, capsys):
    run(tmp_path, "mine", 1)
    run_folder = tmp_path / "ldm" / "mine"
    for word in ("mine", str(run_folder), str(run_folder / "bundle")):
        assert bundle_named(word, tmp_path, "ldm").folder == run_folder / "bundle"
    assert [bundle_named(word, tmp_path, "ldm").folder for word in ("phantom", "demo", "chest256", "taesd")] == [
        DEMO,
        DEMO,
        CHEST,
        VAES["taesd"],
    ]
    assert bundle_named("mine", tmp_path, "ldm").said() == run_folder / "bundle"
    assert capsys.readouterr().out == f"using {run_folder / 'bundle'}\n"
    with pytest.raises(UserError, match="decoder=other is no bundle"):
        bundle_named("other", tmp_path, "vae", key="decoder")


def test_a_collection_is_found_by_its_content(tmp_path):
    for name, complete in (("half", False), ("whole", True)):
        artifacts.write_record(tmp_path / "prepared" / name, {"seed": 0}, complete=complete)
    fingerprint = artifacts.read_record(tmp_path / "prepared" / "whole")["fingerprint"]
    assert prepared_with(fingerprint, tmp_path) == tmp_path / "prepared" / "whole"
    assert prepared_with("other", tmp_path) is None
    artifacts.write_record(tmp_path / "prepared" / "again", {"seed": 0}, complete=True, packed={"images": 1})
    assert prepared_with(fingerprint, tmp_path) == tmp_path / "prepared" / "whole"  # the packed one has no test images
