"""Turns: keeps a page in step whose visitor is faster than the server."""

import random
import threading
from dataclasses import dataclass

from cachetools import LRUCache

MAX_SESSIONS = 10_000


@dataclass(frozen=True, eq=False)  # two pages of one name, long after each other, may come to the same number
class PageEvent:
    """One event of one page, with a number that grows; the next event of that page ends it.

    Attributes:
        moment: when it happened, by the page's own clock.
    """

    session: str | None
    number: int
    analyses: bool
    moment: float = 0.0


class EventOrder:
    """Events of a page overlap, and each draws only what it changes: so only the newest may draw, and it must know what the page
    shows by then. Of that a hash is kept, never the text.
    """

    def __init__(self) -> None:
        self._newest: LRUCache[str | None, PageEvent] = LRUCache(MAX_SESSIONS)
        self._shown: LRUCache[str | None, int] = LRUCache(MAX_SESSIONS)
        # another one on each server: a page that comes over from one that died must not take the first answer for an old one
        self._first = random.randrange(1, 2**31)
        self._lock = threading.Lock()

    def begin(self, session: str | None, analyses: bool = False, moment: float | None = None) -> PageEvent:
        """The newest turn of a session, which ends the one before; one that was overtaken on its way here is over already.

        Args:
            analyses: whether it scores a model.
            moment: when the event happened, by the page's own clock; None where nobody says, for now.
        """
        with self._lock:
            before = self._newest.get(session)
            if before is None:
                turn = PageEvent(session, self._first, analyses, moment or 0.0)
            elif moment is not None and moment < before.moment:
                return PageEvent(session, before.number, analyses, moment)
            else:
                turn = PageEvent(session, before.number + 1, analyses, before.moment if moment is None else moment)
            self._newest[session] = turn
            return turn

    def newest(self, session: str | None) -> PageEvent | None:
        """The session's last turn, whether it is over or not."""
        with self._lock:
            return self._newest.get(session)

    def is_newest(self, turn: PageEvent) -> bool:
        """Whether the turn may still draw; also when so many pages came that nothing is known of its own any more."""
        return self.newest(turn.session) in (turn, None)

    def shows(self, turn: PageEvent, place: str) -> None:
        """Says what the page shows from now on."""
        with self._lock:
            self._shown[turn.session] = hash(place)

    def still_shows(self, turn: PageEvent, place: str) -> bool:
        """Whether the page shows what its event said, as far as this server knows."""
        with self._lock:
            return self._shown.get(turn.session, hash(place)) == hash(place)
