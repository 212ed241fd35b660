"""The card in a bundle names every collection and its terms, as DATA.md does."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cxr_ldm.assets import CONF
from cxr_ldm.card import COLLECTIONS, card

DATA = Path(__file__).parents[2] / "DATA.md"
OWN = {"table"}  # the user's, whose terms nobody here knows
INFO = {"run": "a", "size": 64, "guidance": {"scale": 1.5, "chosen": "stated"}}


def config(**info):
    return {"kind": "ldm", "software": "cxr_ldm 1", "info": INFO | info}


def test_data_md_and_the_cards_say_the_same():
    rows = [line for line in DATA.read_text().splitlines() if line.startswith("| ")]
    for name, collection in COLLECTIONS.items():
        if name != "phantom":
            assert any(f"| {collection.title} |" in row and f"| {collection.terms} |" in row for row in rows), name


@pytest.mark.parametrize("path", sorted((CONF / "data").glob("[!_]*.yaml")), ids=lambda path: path.stem)
def test_every_reader_gives_a_source_of_known_terms(path):
    reader = OmegaConf.to_container(OmegaConf.load(path), resolve=False)["reader"]
    named = reader.get("readers", {path.stem: reader})
    renamed = reader.get("patients", {})
    sources = {renamed.get(name, name) if "readers" in reader else reader.get("source", name) for name in named}
    assert sources <= {*COLLECTIONS, *OWN, "mix"}  # a mix keeps the sources of its folders


def test_a_card_names_what_made_the_model_and_its_vae():
    data = {"name": "x", "fingerprint": "1", "sources": {"nih": 5, "hannover": 2, "mine": 1}}
    text = card(config(data=data, vae_data={"name": "y", "fingerprint": "2", "sources": {"kermany": 7}}))
    model, vae = text.split("Its VAE was trained on:")
    assert "| NIH ChestX-ray14 | 5 | free use with attribution to the NIH Clinical Center |" in model
    assert "| mine | 1 | its owner's |" in model
    assert "Kermany" not in model
    assert "| Kermany paediatric chest X-rays | 7 | CC BY 4.0 |" in vae
    assert "Guidance scale 1.5" in model
    assert "no basis for a diagnosis" in model
    assert "Its VAE" not in card(config(data=data, vae_data=data))


def test_a_card_names_what_a_model_started_from_and_says_briefly_how_its_guidance_was_chosen():
    before = {"name": "y", "fingerprint": "2", "sources": {"kermany": 7}}
    curve = {"scale": 3.0, "chosen": {"split": "val", "curve": [{"scale": 1.0}]}}
    text = card(config(data={"sources": {"nih": 5}}, init_data=[before], guidance=curve))
    assert "Guidance scale 3 (chosen on val)." in text
    assert "| Kermany paediatric chest X-rays | 7 |" in text.split("started from a model that was trained on:")[1]
