"""What is kept of visitors, and what a browser sends, are bounded and not trusted."""

from types import SimpleNamespace

import pytest

from cxr_ldm.app import visits
from cxr_ldm.app.gallery import number_of
from cxr_ldm.app.visits import Visit
from cxr_ldm.imaging.provenance import png_bytes


@pytest.fixture
def picture():
    import torch

    return png_bytes(torch.zeros(1, 8, 8), {"prompt": "Clear lungs.", "seed": 0})


def test_the_oldest_generations_and_visitors_go(tmp_path, monkeypatch, picture):
    monkeypatch.setattr(visits, "KEPT", 3)
    monkeypatch.setattr(visits, "VISITORS", 2)
    first = Visit(tmp_path, None)
    for number in range(5):
        first.keep({"seed": number}, [picture])
    assert [each.settings["seed"] for each in first.generations()] == [4, 3, 2]
    assert [each.number for each in first.generations()] == [4, 3, 2]
    others = [Visit(tmp_path, None) for _ in range(2)]
    for each in others:
        each.keep({}, [picture])
    assert not first.folder.exists()
    assert all(len(each.generations()) == 1 for each in others)


@pytest.mark.parametrize("token", [None, "", "../../etc", "0123456789abcdeg", "0123456789ABCDEF", "0" * 17])
def test_no_token_leads_out_of_the_folder(tmp_path, token):
    found = Visit(tmp_path, token)
    assert found.token != token
    assert found.folder.parent == tmp_path


def test_a_generation_that_was_cut_short_is_passed_over(tmp_path, picture):
    visit = Visit(tmp_path, "0123456789abcdef")
    visit.keep({"seed": 1}, [picture])
    (visit.folder / "000001").mkdir()
    (visit.folder / ".000002").mkdir()
    assert [each.settings for each in visit.generations()] == [{"seed": 1}]
    assert visit.keep({}, [picture]).number == 2


@pytest.mark.parametrize(("sent", "number"), [(1, 1), (2, None), (-1, None), ("1", None), (True, None), (None, None)])
def test_a_click_is_on_one_of_the_pictures(sent, number):
    assert number_of(SimpleNamespace(clicked=sent), 2) == number
