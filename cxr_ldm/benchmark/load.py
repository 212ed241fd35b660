"""Many visitors of the page at once, in a browser: whether all are served with their own images, and what it takes."""

import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from cxr_ldm.benchmark.browser import chromium, serving
from cxr_ldm.benchmark.watched import children, resident
from cxr_ldm.errors import UserError
from cxr_ldm.metrics.results import Metric
from cxr_ldm.ranges import Count
from cxr_ldm.report.markdown import render_markdown

SECONDS = 900_000  # that a visit may take, in ms
LOOK = 0.5  # seconds between two looks at the memory
REASON = "one run on one machine"
DONE = "The same images again"

INTRO = """Visitors open the page in a browser without a window, each with a prompt and a number of its own, and press
*Generate* within a few seconds. Images are drawn one at a time, in turns.

- `visitors_served`: those who end with images; `visitors_of_another`: those whose page names another one's prompt.
- `server_memory_gb`: the most that the server's process held meanwhile.
- `last_image_seconds`: from the first click until the last visitor has its images.
- `short_behind_long`: what a visitor with one image waits, who comes while another draws many, over what it waits on an
  idle page. Two is one image of the other before its own; at most three is aimed at, a browser's delays included."""


def page(content: Mapping[str, Any]) -> str:
    """Markdown page of the suite's metrics.json."""
    return render_markdown(content, "Many visitors at once", INTRO)


def run(visitors: Count, images: Count, steps: Count, many: Count, model: str) -> dict[str, Metric]:
    """Let visitors come at once, then a short one behind a long one.

    Args:
        visitors: who press Generate within seconds.
        images: that each asks for.
        steps: of each image.
        many: images of the long job that a short one waits behind.
        model: name in the page's list.
    """
    wanted = {"model": model, "steps": steps, "n": images}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as address, chromium() as browser:
        one = Visitor(browser, address, {**wanted, "n": 1, "prompt": "Warms the page."})
        one.ask()
        one.wait()  # the model is in memory now
        with memory() as sizes:
            all_of_them = [Visitor(browser, address, {**wanted, "prompt": prompt(each)}) for each in range(visitors)]
            start = time.perf_counter()
            for each in all_of_them:
                each.ask()
            ends = [each.wait() - start for each in all_of_them]
        named = [each.prompts() for each in all_of_them]
        for each in all_of_them:
            each.leave()
        ratio = short_behind_long(browser, address, {**wanted, "n": 1}, many)
    facts = {"visitors": visitors, "images of each": images, "steps": steps, "model": model}
    served = sum(prompt(number) in found for number, found in enumerate(named))
    others = sum(bool(found - {prompt(number)}) for number, found in enumerate(named))
    return {
        "visitors_served": Metric(served, visitors, True, settings=facts, reason=REASON),
        "visitors_of_another": Metric(others, visitors, False, settings=facts, reason=REASON),
        "server_memory_gb": Metric(max(sizes) / 1e9, visitors, False, settings=facts, reason=REASON),
        "last_image_seconds": Metric(max(ends), visitors, False, settings=facts, reason=REASON),
        "short_behind_long": Metric(ratio, 1, False, settings=facts | {"images of the long one": many}, reason=REASON),
    }


def prompt(number: int) -> str:
    """The words of a visitor, who is told by them."""
    return f"Cardiomegaly of visitor {number}."


def short_behind_long(browser: Any, address: str, stated: Mapping[str, Any], many: int) -> float:
    """Seconds of one image while another visitor draws many, over those on an idle page.

    Raises:
        UserError: the long job was too short.
    """
    alone, long, behind = (
        Visitor(browser, address, {**stated, "prompt": f"Cardiomegaly, {who}.", "n": n})
        for who, n in (("alone", 1), ("many", many), ("behind", 1))
    )
    idle = alone.served()
    long.ask()
    long.page.get_by_text(re.compile(f"Image [12] of {many}")).first.wait_for()
    busy = behind.served()
    if long.done():
        raise UserError(f"many={many} images are drawn before a visitor comes; take more.")
    return busy / idle


class Visitor:
    """A browser of its own on the page, with settings from a link.

    Args:
        stated: of the link, see `cxr_ldm.app.asking.settings_of`.
    """

    def __init__(self, browser: Any, address: str, stated: Mapping[str, Any]) -> None:
        self.page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        self.page.set_default_timeout(SECONDS)
        self.page.goto(f"{address}?{urlencode(stated)}")
        self.button = self.page.get_by_role("button", name="Generate", exact=True)
        self.button.wait_for()

    def ask(self) -> None:
        """Press Generate."""
        self.button.click()

    def wait(self) -> float:
        """Until the images are there; the time then."""
        self.page.get_by_text(DONE).first.wait_for()
        return time.perf_counter()

    def served(self) -> float:
        """Seconds from asking until the images are there."""
        start = time.perf_counter()
        self.ask()
        return self.wait() - start

    def done(self) -> bool:
        """Whether the images are there."""
        return bool(self.page.get_by_text(DONE).count())

    def prompts(self) -> set[str]:
        """The prompts that the page names in its commands."""
        self.page.get_by_text(DONE).first.click()
        self.page.get_by_text("python sample.py").first.wait_for()
        return set(re.findall(r"prompt=([^']*)'", self.page.locator("code").first.text_content()))

    def leave(self) -> None:
        """Close the browser."""
        self.page.context.close()


@contextmanager
def memory() -> Iterator[Sequence[int]]:
    """Bytes resident of the server and its processes, at each look while the block runs."""
    sizes, end = [0], threading.Event()

    def look() -> None:
        while not end.wait(LOOK):
            sizes.append(sum(resident(each) for each in children("streamlit")))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield sizes
    finally:
        end.set()
        watcher.join()
