"""Images that form one after another, each in a turn of its own: nobody waits for more than one of another visitor."""

import time
from functools import partial
from typing import Any

from torch import Tensor

from cxr_ldm.app import ui
from cxr_ldm.app.generation import Request
from cxr_ldm.pipeline import TextToCXR

EVERY = 0.15  # seconds between two previews: a browser shows no more
OF_A_PREVIEW = 160  # pixels
FRAMES = 40  # previews of an image that are kept for its moving picture, about


class Drawing:
    """What the page shows of images that form one after another.

    Args:
        each: a request for each image.
        bar, shown: places of the page for the progress and the pictures.
    """

    def __init__(self, each: list[Request], bar: Any, shown: Any) -> None:
        self.each, self.bar, self.shown = each, bar, shown
        self.drawn: list[Tensor] = []
        self.frames: list[list[Tensor]] = []  # previews of each
        self.stride = max(1, self.each[0].steps // FRAMES)
        self.spent, self.start, self.last = 0.0, 0.0, 0.0

    def run(self, pipeline: TextToCXR) -> None:
        """Draw them, each in a turn of its own."""
        for one in self.each:
            forming: list[Tensor] = []
            with ui.turns().turn(ui.waiting(self.wait)):
                self.start = time.monotonic()
                image = one.generate(pipeline, preview=partial(self.preview, forming))
                self.spent += time.monotonic() - self.start
            self.frames.append(forming)
            self.drawn.append(image)

    def wait(self, text: str) -> None:
        """Say how many are before this image."""
        self.bar.progress(len(self.drawn) / len(self.each), text)

    def preview(self, forming: list[Tensor], step: int, images: Tensor) -> None:
        """Show a step of the image in work, and how long the rest will take."""
        if step % self.stride == 0 or step == self.each[0].steps:
            forming.append(images)
        number, steps = len(self.drawn), self.each[0].steps
        done, total = number * steps + step, len(self.each) * steps
        left = about((self.spent + time.monotonic() - self.start) / done * (total - done))
        self.bar.progress(done / total, f"Image {number + 1} of {len(self.each)}, step {step} of {steps}{left}")
        if time.monotonic() - self.last > EVERY:
            pictures = [ui.picture(image[0], OF_A_PREVIEW) for image in (*self.drawn, images)]
            self.shown.image(pictures, width=OF_A_PREVIEW)
            self.last = time.monotonic()


def about(seconds: float) -> str:
    """How long it will still take, where that is more than a moment."""
    return f", about {seconds:.0f} s left" if seconds >= 2 else ""
