"""What is kept of visitors, and what a browser sends, are bounded and not trusted."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from cxr_ldm.app import ui, visits
from cxr_ldm.app.forming import Drawing
from cxr_ldm.app.gallery import number_of
from cxr_ldm.app.sharing import InTurns
from cxr_ldm.app.turns import Turns
from cxr_ldm.app.visits import Visit
from cxr_ldm.errors import UserError
from cxr_ldm.imaging.provenance import png_bytes
from cxr_ldm.pipeline import TextToCXR


@pytest.fixture
def picture():
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


def test_what_a_visitor_keeps_takes_no_more_room_than_is_allowed(tmp_path, monkeypatch, picture):
    """The newest stays, however large it is."""
    visit = Visit(tmp_path, None)
    size = sum(file.stat().st_size for file in visit.keep({"seed": 0}, [picture]).pictures[0].parent.iterdir())
    monkeypatch.setattr(visits, "ROOM", int(2.5 * size))
    for number in range(1, 4):
        visit.keep({"seed": number}, [picture])
    assert [each.settings["seed"] for each in visit.generations()] == [3, 2]
    visit.keep({"seed": 4}, [picture] * 20)
    assert [each.settings["seed"] for each in visit.generations()] == [4]


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


def test_a_short_job_waits_for_one_image_of_a_long_one(monkeypatch):
    """Both visitors' images alternate, although the long job was asked for first."""
    turns, drawn, begun = Turns(), [], threading.Event()
    monkeypatch.setattr(ui, "turns", lambda: turns)

    class Page:
        def progress(self, share, text):
            said.append(text)

    class Job(SimpleNamespace):
        steps = 1

        def generate(self, pipeline, preview):
            drawn.append(self.name)
            begun.set()
            if self.name == "long 0":
                while turns.waiting < 2:  # until the other has asked
                    time.sleep(0.01)
            return self.name

    said: list[str] = []
    counts = {"long": 4, "short": 2}
    long, short = ([Job(name=f"{who} {number}") for number in range(count)] for who, count in counts.items())
    threads = [threading.Thread(target=Drawing(each, Page(), None).run, args=[None]) for each in (long, short)]
    threads[0].start()
    begun.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert drawn == ["long 0", "short 0", "long 1", "short 1", "long 2", "long 3"]
    assert "Waiting: 1 before you." in said


def test_a_shared_model_draws_the_same_images_in_a_turn_each():
    pipeline, begun = TextToCXR.from_bundle("phantom"), []

    class Counted(Turns):
        def turn(self, tell):
            begun.append(tell)
            return super().turn(tell)

    shared = InTurns(pipeline, Counted(), print)
    prompts, seeds = ["Left pneumothorax.", "Cardiomegaly.", "Clear lungs."], [3, 1, 2]
    steps: list[int] = []
    drawn = shared(prompts, seeds=seeds, steps=2, progress=steps.append)
    assert begun == [print] * 3
    assert steps == [1] * 6
    torch.testing.assert_close(drawn, pipeline(prompts, seeds=seeds, steps=2), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="3 prompts and 2 seeds"):
        shared(prompts, seeds=seeds[:2], steps=2)


def test_two_tabs_of_one_visitor_write_at_once(tmp_path, picture):
    tabs = [Visit(tmp_path, "0123456789abcdef") for _ in range(2)]
    failed: list[BaseException] = []

    def keep(tab):
        try:
            for _ in range(30):
                tab.keep({}, [picture])
                [each.small() for each in tab.generations()]
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=keep, args=[tab]) for tab in tabs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [each.number for each in tabs[0].generations()] == list(range(59, 59 - visits.KEPT, -1))


def test_damaged_settings_are_passed_over_and_a_picture_that_is_gone_is_black(tmp_path, picture):
    visit = Visit(tmp_path, None)
    first = visit.keep({"seed": 1}, [picture])
    (visit.keep({}, [picture]).pictures[0].parent / visits.SETTINGS).write_text("{")
    assert [each.settings for each in visit.generations()] == [{"seed": 1}]
    first.pictures[0].unlink()
    assert first.picture(0).max() == 0
