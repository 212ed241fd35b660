"""A visitor's walk through the pages in a browser, at a desk and on a phone."""

import io
import re
import socket
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, TimeoutError, expect

from cxr_ldm.imaging.grids import KEY

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SECONDS = 240_000  # of a page on a busy machine
expect.set_options(timeout=SECONDS)


@pytest.fixture(params=["desktop", pytest.param("phone", marks=pytest.mark.campaign)])
def visit(request, browser, server, screenshots):
    """A page of the browser, a function that opens one of ours by name, and one that takes a picture."""
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(SECONDS)

    def open_page(name: str) -> None:
        if width < 600:  # where the links do not fit on top, they are behind a button
            page.get_by_test_id("stExpandSidebarButton").click()
        page.get_by_role("link", name=name, exact=True).click()
        if width < 600:
            page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        expect(page.get_by_text("Not for diagnosis")).to_be_visible()
        still(page)

    def picture(name: str) -> None:
        if width >= 600:  # on a phone the results stand far below
            page.get_by_test_id("stMain").evaluate("node => node.scrollTo(0, 0)")
        page.wait_for_timeout(700)  # animations of the page's own
        page.screenshot(path=screenshots / f"{name}_{request.param}.png")

    page.goto(server)
    still(page)
    yield page, open_page, picture
    context.close()


def still(page: Page) -> None:
    """Wait for the page's answer: until then, widgets of the page before are there as well, and take what is given."""
    page.wait_for_timeout(300)  # the browser asks for it
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")


def no_sideways_scrolling(page: Page) -> None:
    """Nothing is wider than the screen."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")


def paint(page: Page, canvas: Locator, then: Locator) -> None:
    """A stroke over the lower left lung, again where a page that was still being made took it away."""
    for _ in range(4):
        canvas.scroll_into_view_if_needed()
        place = canvas.bounding_box()
        page.mouse.move(place["x"] + 0.6 * place["width"], place["y"] + 0.6 * place["height"])
        page.mouse.down()
        page.mouse.move(place["x"] + 0.75 * place["width"], place["y"] + 0.75 * place["height"], steps=8)
        page.mouse.up()
        with suppress(AssertionError):
            expect(then).to_be_enabled(timeout=15_000)
            return


def with_steps(page: Page, steps: int) -> None:
    """Open what is advanced, and ask for so many steps."""
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_role("spinbutton", name="Steps").fill(str(steps))
    page.get_by_role("spinbutton", name="Steps").press("Enter")
    still(page)


def in_sight(page: Page, button: Locator) -> None:
    """It is seen without scrolling."""
    expect(button).to_be_visible()
    box = button.bounding_box()
    assert box["y"] + box["height"] < page.viewport_size["height"]


def downloaded(page: Page, button: Locator) -> Path:
    """The file behind a button, pressed again where a page that was still being made took the click away."""
    for _ in range(4):
        with suppress(TimeoutError):
            with page.expect_download(timeout=20_000) as waiting:
                button.click()
            return waiting.value.path()
    raise AssertionError("no file came")


@pytest.mark.campaign
def test_walk(visit):
    page, open_page, picture = visit
    image = generates(page, picture)
    open_page("Enhance")
    enhances(page, picture)
    open_page("Edit")
    edits(page, picture, image)
    open_page("Dataset")
    explores(page, picture)
    open_page("Model")
    expect(page.get_by_text("Architecture")).to_be_visible()
    expect(page.locator(".graphviz, [data-testid=stGraphVizChart]").first).to_be_visible()
    no_sideways_scrolling(page)
    picture("model")
    open_page("Research")
    compares(page, picture)


def generates(page: Page, picture: Callable[[str], None]) -> Image.Image:
    """Draw four images and take them home; the first of them."""
    expect(page.get_by_role("heading", name="Generate", exact=True)).to_be_visible()
    expect(page.get_by_text("Not for diagnosis")).to_be_visible()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(
        "Chest X-ray, AP view, adult male. Pleural effusion."
    )
    in_sight(page, page.get_by_role("button", name="Generate", exact=True))
    with_steps(page, 4)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_text("The same images again").click()
    expect(page.locator("figcaption").get_by_text("seed 3", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("python sample.py.*sampler.steps=4")).first).to_be_visible()
    no_sideways_scrolling(page)
    picture("generate")

    with page.expect_download() as waiting:
        page.get_by_role("button", name="ZIP of all").click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        names = sorted(archive.namelist())
        assert names == sorted([f"{i:04d}.{end}" for i in range(4) for end in ("png", "dcm")])
        image = Image.open(io.BytesIO(archive.read("0000.png")))
        assert image.size == (256, 256)
        assert '"synthetic": true' in image.info[KEY]
        header = pydicom.dcmread(io.BytesIO(archive.read("0003.dcm")))
        assert header.pixel_array.shape == (256, 256)
    return image


def enhances(page: Page, picture: Callable[[str], None]) -> None:
    """What was just made, through a preset; the divider moves by the keyboard. Then a file, and one that is none."""
    expect(page.get_by_text("Edge enhancement").first).to_be_visible()
    frame = page.frame_locator("iframe").first
    line = frame.get_by_role("slider")
    expect(line).to_be_visible()
    line.focus()
    line.press("ArrowLeft")
    line.press("ArrowLeft")
    assert frame.locator(".frame").evaluate("node => node.style.getPropertyValue('--at')") == "48%"
    no_sideways_scrolling(page)
    picture("enhance")

    page.get_by_text("a file of mine").click()
    still(page)
    own = io.BytesIO()
    Image.new("L", (64, 48), 99).save(own, "PNG")
    upload = page.locator("input[type=file]")
    upload.set_input_files({"name": "own.png", "mimeType": "image/png", "buffer": own.getvalue()})
    expect(page.get_by_text("own.png")).to_be_visible()
    expect(page.get_by_role("button", name="PNG of the result")).to_be_visible()
    upload.set_input_files({"name": "broken.png", "mimeType": "image/png", "buffer": b"hello, world" * 50})
    expect(page.get_by_text("is no PNG, JPEG or DICOM file")).to_be_visible()


def edits(page: Page, picture: Callable[[str], None], image: Image.Image) -> None:
    """Paint over the lower left lung of a file, and draw that part anew."""
    page.get_by_text("a file of mine").click()
    expect(page.get_by_text("Choose an image; its pixels alone are read")).to_be_visible()
    still(page)
    chest = io.BytesIO()
    image.save(chest, "PNG")
    upload = page.locator("input[type=file]")
    upload.set_input_files({"name": "chest.png", "mimeType": "image/png", "buffer": chest.getvalue()})
    canvas = page.locator("canvas[aria-label=brush]")
    expect(canvas).to_be_visible()
    page.get_by_role("spinbutton", name="Steps").fill("3")
    page.get_by_role("spinbutton", name="Steps").press("Enter")
    still(page)
    draw = page.get_by_role("button", name="Draw", exact=True)
    paint(page, canvas, draw)
    draw.click()
    expect(page.get_by_text(re.compile("seed 1; red: brighter"))).to_be_visible()
    with zipfile.ZipFile(downloaded(page, page.get_by_role("button", name="PNG (ZIP)"))) as archive:
        drawn = Image.open(io.BytesIO(archive.read("0001.png")))
        assert '"label": "SYNTHETIC"' in drawn.info[KEY]
        assert '"edit": {' in drawn.info[KEY]
    no_sideways_scrolling(page)
    picture("edit")


def explores(page: Page, picture: Callable[[str], None]) -> None:
    """Filter a collection by a word, and open an image in place."""
    expect(page.get_by_text(re.compile(r"of 120 images"))).to_be_visible()
    page.get_by_role("textbox", name="Text holds").fill("effusion")
    page.get_by_role("textbox", name="Text holds").press("Enter")
    expect(page.get_by_text(re.compile(r"^120 of 120 images"))).not_to_be_visible()
    no_sideways_scrolling(page)
    picture("dataset")
    page.locator(".strip button").first.click()
    expect(page.get_by_role("dialog").locator("mark").first).to_be_visible()
    expect(page.get_by_role("dialog").locator(".frame canvas")).to_be_visible()
    page.keyboard.press("Escape")


def compares(page: Page, picture: Callable[[str], None]) -> None:
    """Images by two axes, and their table as a file."""
    page.get_by_role("textbox", name="Values of steps").fill("1, 2, 3")
    page.get_by_role("textbox", name="Values of steps").press("Enter")
    still(page)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("button", name="Data (CSV)").first).to_be_visible()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Data (CSV)").first.click()
    rows = waiting.value.path().read_text().splitlines()
    assert len(rows) == 10
    assert rows[0].startswith("prompt,model,seed,steps,guidance")
    no_sideways_scrolling(page)
    picture("research")


def test_the_sketch_follows_what_is_typed_with_no_key_that_sends_it(visit):
    page, _, _ = visit
    expect(page.get_by_text("seed 0, in 4 steps")).to_be_visible()
    sketch = page.get_by_test_id("stImage").locator("img").first
    before = sketch.get_attribute("src")
    page.get_by_role("textbox", name="Prompt").fill("Chest X-ray, child. Viral pneumonia.")
    expect(sketch).not_to_have_attribute("src", before)


def dragged(page: Page, canvas: Locator, by: tuple[int, int]) -> None:
    """Drag from the middle of a picture."""
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + by[0], middle[1] + by[1], steps=4)
    page.mouse.up()


def test_the_viewer_has_a_window_zoom_ruler_and_marks_and_nothing_leaves_the_machine(browser, server):
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    away: list[str] = []
    page.on("request", lambda sent: away.append(sent.url) if not at_home(sent.url, server) else None)
    page.set_default_timeout(SECONDS)
    page.goto(server)
    still(page)
    canvas = page.locator("canvas").first
    said = page.locator(".frame .said").first
    expect(said).to_have_text("W 255 L 128")
    assert [mark.text_content() for mark in page.locator(".frame").first.locator(".r, .l").all()] == ["R", "L"]
    assert page.locator(".frame .r").first.bounding_box()["x"] < page.locator(".frame .l").first.bounding_box()["x"]

    def grey() -> float:
        corner = "node => node.getContext('2d').getImageData(node.width / 2, 5, 1, 1).data[0]"
        return float(canvas.evaluate(corner))

    as_it_is = grey()
    page.get_by_role("button", name="Invert").click()
    assert abs(grey() - (255 - as_it_is)) <= 1
    page.get_by_role("button", name="Invert").click()
    dragged(page, canvas, (-55, 40))
    expect(said).to_have_text("W 200 L 108")
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("button", name="Move").click()
    canvas.hover()
    page.mouse.wheel(0, -300)
    expect(said).to_have_text(re.compile("× 1"))
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("button", name="Ruler").click()
    before = canvas.screenshot()
    dragged(page, canvas, (60, 0))
    assert canvas.screenshot() != before
    page.get_by_role("button", name="Histogram").click()
    canvas.focus()
    canvas.press("r")
    expect(said).to_have_text("W 255 L 128")
    canvas.dblclick()
    expect(page.locator("figure.large")).to_have_count(1)
    for name in ("Dataset", "Enhance", "Model", "Generate"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    assert away == []


def at_home(address: str, server: str) -> bool:
    """Whether a request stays on this machine."""
    return address.startswith((server, server.replace("http", "ws"), "data:", "blob:"))


def test_a_reload_keeps_what_was_drawn_and_stop_keeps_what_is_done(browser, server):
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(SECONDS)
    page.goto(server)
    still(page)
    with_steps(page, 4)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.get_by_text("Image 2 of 4").first.wait_for()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("The same images again")).to_be_visible()
    drawn = settled(page)
    assert 1 <= drawn < 4
    page.reload()
    still(page)
    expect(page.get_by_text("Drawn before", exact=True)).to_be_visible()
    expect(page.locator("figure")).to_have_count(drawn)
    page.locator(".strip button").first.click()
    page.get_by_text("Advanced", exact=True).click()
    expect(page.get_by_role("spinbutton", name="Steps")).to_have_value("4")


def settled(page: Page) -> int:
    """How many pictures the viewers hold, once what stood there before is gone."""
    for _ in range(60):
        page.wait_for_timeout(1000)
        if page.locator("[data-stale=true] figure").count() == 0 and page.locator("figure").count() < 4:
            break
    return page.locator("figure").count()


@pytest.mark.campaign
def test_two_visitors_at_once_both_get_their_images(browser, server):
    """Each ends with the images of its own prompt; who waits for whom is tested without a browser."""
    visitors = [browser.new_context().new_page() for _ in range(2)]
    for page, example, steps in zip(visitors, ("nodule", "edema"), ("30", "4"), strict=True):
        page.set_default_timeout(SECONDS)
        page.goto(server)
        still(page)
        page.get_by_role("textbox", name="Prompt").fill(f"{example} of this visitor")
        with_steps(page, int(steps))
    for page in visitors:
        page.get_by_role("button", name="Generate", exact=True).click()
        page.get_by_role("button", name="Stop").wait_for()
    for page, example in zip(visitors, ("nodule", "edema"), strict=True):
        page.get_by_text("The same images again").click()
        expect(page.get_by_text(re.compile(f"python sample.py.*{example} of this visitor")).first).to_be_visible()
        page.context.close()


def test_dark_and_keyboard(browser, server, screenshots):
    """Dark where the system is dark, with a contrast that can be read; the first link is reached by the Tab key."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(server)
    still(page)
    heading = page.get_by_role("heading", name="Generate", exact=True)
    expect(heading).to_be_visible()
    ink = heading.evaluate("node => getComputedStyle(node).color")
    ground = page.locator(".stApp").evaluate("node => getComputedStyle(node).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) - sum(map(int, re.findall(r"\d+", ground)[:3])) > 400
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.innerText || document.activeElement.ariaLabel || ''").strip())
    assert any("Generate" in text for text in reached)
    assert any(text.endswith("Enhance") for text in reached), reached
    page.get_by_test_id("stMain").evaluate("node => node.scrollTo(0, 0)")
    page.screenshot(path=screenshots / "generate_dark.png")
    context.close()


def test_the_server_listens_on_the_loopback_address_alone(server):
    """A connection to another address of this machine is refused."""
    port = int(server.rpartition(":")[2])
    for address, reached in (("127.0.0.1", True), ("127.0.0.2", False)):  # Linux routes all of 127/8 to itself
        with socket.socket() as probe:
            probe.settimeout(5)
            assert (probe.connect_ex((address, port)) == 0) is reached
