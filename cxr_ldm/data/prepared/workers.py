"""Processes that load images: each holds a Python lock of its own, and a decoder that crashes takes only one down."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from typing import Any

import cv2

from cxr_ldm.data.prepared.manifest import Record, Rejected

FEWEST = 64  # images below which starting processes costs more than they save
CHUNK = 8  # images that a process takes at once
CRASHED = "image brings its decoder down"

Draw = Callable[[Record], Any]


@contextmanager
def pool(records: Sequence[Record], workers: int | None) -> Iterator[Callable[[Draw, Sequence[Record]], Iterable[Any]]]:
    """A `map` over processes; the plain `map` for a few images that cannot bring the program down.

    Args:
        records: all that will be mapped.
        workers: processes; None is one for each core.
    """
    count = workers or os.cpu_count() or 1
    if not any(record.isolate for record in records) and (count == 1 or len(records) < FEWEST):
        yield map
        return
    processes = Processes(count)
    try:
        yield processes.map
    finally:
        processes.pool.shutdown(wait=True, cancel_futures=True)


class Processes:
    """A pool whose `map` outlives its processes: what brings one down is rejected, and the rest goes on."""

    def __init__(self, count: int):
        self.count = count
        self.pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        started = ProcessPoolExecutor(self.count, mp_context=context(), initializer=begin)
        with without_interrupts():
            for _ in range(self.count):  # each starts a process, since none is idle before its libraries are loaded
                started.submit(os.getpid)
        return started

    def map(self, draw: Draw, records: Sequence[Record]) -> Iterator[Any]:
        """`draw` of each record, in their order; `Rejected` for one that brings its process down."""
        waiting = list(records)
        while waiting:
            done = 0
            try:
                for result in self.pool.map(draw, waiting, chunksize=CHUNK):
                    done += 1
                    yield result
                return
            except BrokenProcessPool:
                self.pool = self._start()
            # One of those in hand was at fault; one at a time, it cannot hide behind the others.
            suspects = done + 2 * CHUNK * self.count
            yield from map(self._alone, [draw] * len(waiting), waiting[done:suspects])
            waiting = waiting[suspects:]

    def _alone(self, draw: Draw, record: Record) -> Any:
        try:
            return self.pool.submit(draw, record).result()
        except BrokenProcessPool:
            self.pool = self._start()
            return Rejected(record.image_id, CRASHED)


def context() -> BaseContext:
    """Of processes forked from one that has loaded the libraries and no threads, whose locks a fork would copy."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["cxr_ldm.data.prepared.making"])
    return server


def begin() -> None:
    """What a worker starts with: OpenCV on one thread, since cores are shared, and Ctrl-C for the parent alone."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """End this process when its parent was killed, which would leave it waiting for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Start processes that never see Ctrl-C: until its first line runs, a process has what it inherited."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
