"""One generation at a time: whoever asks waits for those before, and is told how many they are."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turns:
    """A queue of threads; fair, and left cleanly by a thread that gives up.

    >>> turns = Turns()
    >>> with turns.turn(print):
    ...     turns.waiting
    1
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """How many there are, the one whose turn it is included."""
        return len(self._tickets)

    @contextmanager
    def turn(self, tell: Callable[[int], None], every: float = 0.5) -> Iterator[None]:
        """Wait for all that came before, calling `tell(how many are ahead)` every so many seconds, then hold the turn.

        `tell` may raise to give up; that leaves the queue.
        """
        ticket = object()
        with self._changed:
            self._tickets.append(ticket)
        try:
            while True:
                with self._changed:
                    ahead = self._tickets.index(ticket)
                if ahead == 0:
                    break
                tell(ahead)
                with self._changed:
                    if self._tickets[0] is not ticket:
                        self._changed.wait(every)
            yield
        finally:
            with self._changed:
                self._tickets.remove(ticket)
                self._changed.notify_all()
