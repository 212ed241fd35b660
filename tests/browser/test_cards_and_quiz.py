"""Cards and quiz in a browser, at a desk and on a phone."""

import csv

import pytest
from playwright.sync_api import expect

from cxr_ldm.quiz.score import COLUMNS

SECONDS = 240_000  # of a page on a busy machine
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


pytestmark = pytest.mark.campaign


@pytest.fixture(params=["desktop", "phone"])
def visit(request, browser, server, screenshots):
    """Opens a page of ours by its address; takes pictures, and sees that nothing is wider than the screen."""
    name, (width, height) = request.param, SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)

    def picture(what: str) -> None:
        page.wait_for_timeout(700)
        page.screenshot(path=screenshots / f"{what}_{name}.png")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")

    def open_page(what: str) -> None:
        page.goto(f"{server}/{what}")
        expect(page.get_by_text("Not for diagnosis").first).to_be_visible()

    yield page, open_page, picture
    context.close()


def test_cards_are_read_and_kept(visit):
    page, open_page, picture = visit
    open_page("cards")
    expect(page.get_by_role("heading", name="Measured quality").first).to_be_visible()
    picture("cards")
    with page.expect_download() as kept:
        page.get_by_role("button", name="As a page (HTML)").first.click()
    text = kept.value.path().read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "Model card: chest256" in text
    expect(page.get_by_role("toolbar", name="viewer").first).to_be_visible()
    page.get_by_role("tab", name="Synthetic data card").click()
    expect(page.get_by_role("heading", name="Congruence: are they like real ones?")).to_be_visible()


def test_a_lesson_on_the_page_ends_with_a_file_of_answers(visit):
    page, open_page, picture = visit
    open_page("quiz")
    page.get_by_role("spinbutton", name="Questions").fill("3")
    page.get_by_role("spinbutton", name="Questions").press("Enter")
    page.get_by_role("button", name="Make the quiz").click()
    quiz = page.frame_locator("iframe").first
    quiz.get_by_label("Your name").fill("Ada")
    quiz.get_by_role("button", name="Start").click()
    expect(quiz.locator("#words")).to_have_text("What does it show?")
    quiz.locator("h1").scroll_into_view_if_needed()
    picture("quiz")
    for _ in range(30):
        if quiz.locator("#end").is_visible():
            break
        quiz.locator("#answers button").last.click()
        page.wait_for_timeout(100)
    with page.expect_download() as kept:
        quiz.get_by_role("button", name="Answers as CSV").click()
    with open(kept.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert {row["question"] for row in rows} == {"1", "2", "3"}
    expect(page.get_by_role("button", name="Its key, which readers must not see")).to_be_visible()
