"""The order of a page's events: keeps a page right whose visitor is faster than the server."""

import random
import threading
from dataclasses import dataclass

from cachetools import LRUCache

MAX_SESSIONS = 10_000


@dataclass(frozen=True, eq=False)  # two pages of one name, long after each other, may come to the same number
class PageEvent:
    """One event of one page; the next event of that page ends it.

    Attributes:
        session: The session of the page; None where the client gives none.
        number: Grows by one with each event of the session.
        analyzes: Whether the event scores a model.
        moment: When it happened, in milliseconds of the page's own clock.
    """

    session: str | None
    number: int
    analyzes: bool
    moment: float = 0.0


class EventOrder:
    """Remembers the newest event of each page, and what the page shows.

    Events of a page overlap, and each draws only what it changes. So only the newest may draw, and it must know what the page
    shows by then. Of that only a hash is kept, never the text.
    """

    def __init__(self) -> None:
        self._newest: LRUCache[str | None, PageEvent] = LRUCache(MAX_SESSIONS)
        self._shown: LRUCache[str | None, int] = LRUCache(MAX_SESSIONS)
        # another one on each server: a page that comes over from one that died must not take the first answer for an old one
        self._first = random.randrange(1, 2**31)
        self._lock = threading.Lock()

    def begin(self, session: str | None, analyzes: bool = False, moment: float | None = None) -> PageEvent:
        """Begins the newest event of a session, which ends the one before.

        Args:
            session: The session of the page.
            analyzes: Whether the event scores a model.
            moment: When it happened, by the page's own clock; None for now.

        Returns:
            The event; one that a later event has overtaken on its way here is over already.
        """
        with self._lock:
            before = self._newest.get(session)
            if before is None:
                event = PageEvent(session, self._first, analyzes, moment or 0.0)
            elif moment is not None and moment < before.moment:
                return PageEvent(session, before.number, analyzes, moment)
            else:
                event = PageEvent(session, before.number + 1, analyzes, before.moment if moment is None else moment)
            self._newest[session] = event
            return event

    def newest(self, session: str | None) -> PageEvent | None:
        """The session's last event, whether it is over or not."""
        with self._lock:
            return self._newest.get(session)

    def is_newest(self, event: PageEvent) -> bool:
        """Whether the event may still draw; also when its session is forgotten because too many others came."""
        return self.newest(event.session) in (event, None)

    def set_shown(self, event: PageEvent, contents: str) -> None:
        """Remembers what the page shows from now on."""
        with self._lock:
            self._shown[event.session] = hash(contents)

    def still_shows(self, event: PageEvent, contents: str) -> bool:
        """Whether the page shows these contents, as far as this server knows."""
        with self._lock:
            return self._shown.get(event.session, hash(contents)) == hash(contents)
