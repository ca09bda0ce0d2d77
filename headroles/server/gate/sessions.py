"""Keeps gradio's sessions down to the events under way. The one module that reaches into gradio for it.

The requirements hold gradio at the versions that were tested; tests/server/gate/test_sessions.py fails where gradio differs.
An attribute that is missing is left alone: the server then keeps more, and answers as before.
"""

import asyncio
import ctypes
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from copy import copy
from typing import Any

import gradio as gr
from cachetools import TTLCache
from gradio.state_holder import SessionState, StateHolder

KEEP_SECONDS = 30.0  # for an answer that nobody listens for: as long as it may take by hand to ask for it
SWEEP_SECONDS = 1.0
TRIM_SECONDS = 10.0  # between two times that freed memory is given back to the system
MAX_SESSIONS = 10_000  # with answers that are not delivered yet; gradio's own limit of 2,000 pushes out who waits
NEVER = 10**12


class EmptySession(SessionState):
    """A session that lasts for one answer: components may change for it, and nothing is kept."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values, self.state_data, self._state_ttl = {}, {}, {}
        self.is_closed = False

    def __setitem__(self, key: int, value: Any) -> None:
        self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class NoSessions(StateHolder):
    """Replaces gradio's sessions: ours have no state, the page itself keeps it."""

    def __getitem__(self, session_id: str) -> SessionState:
        return EmptySession(self.blocks)

    def __contains__(self, session_id: str) -> bool:
        return False


class Sessions:
    """Knows which sessions listen, and whose answers are not delivered yet.

    Args:
        blocks: The app.
        clock: Gives seconds.
    """

    def __init__(self, blocks: gr.Blocks, clock: Callable[[], float] = time.monotonic) -> None:
        self._blocks, self._clock = blocks, clock
        self._listening: Counter[str] = Counter()
        self._unheard_since: dict[str, float] = {}
        self._heard = TTLCache[str, bool](MAX_SESSIONS, KEEP_SECONDS, timer=clock)
        self._events: dict[str, dict[str, str]] = {}  # of a visitor: each event's session

    @property
    def _queue(self) -> Any:
        return getattr(self._blocks, "_queue", None)

    def session_of(self, event: str) -> str:
        """The session that an event belongs to; a call without one has its event's own name."""
        found = getattr(self._queue, "event_ids_to_events", {}).get(event)
        if found is not None:
            return found.session_hash
        return next((session for session, events in self._pending().items() if event in events), event)

    def has_answer(self, session: str) -> bool:
        """Whether a session has an answer under way or waiting; a client that listens without one would wait for ever."""
        if self._queue is None or not hasattr(self._queue, "pending_messages_per_session"):
            return True
        messages = self._queue.pending_messages_per_session.get(session)
        return bool(self._pending().get(session)) or (messages is not None and not messages.empty())

    def was_heard(self, session: str) -> bool:
        """Whether somebody listened for a session's answers until lately."""
        return session in self._heard

    @contextmanager
    def listening(self, session: str) -> Iterator[None]:
        """Counts a session as listening for its answers."""
        self._listening[session] += 1
        self._unheard_since.pop(session, None)
        try:
            yield
        finally:
            self._heard[session] = True
            self._listening[session] -= 1
            if not self._listening[session]:
                del self._listening[session]

    def add(self, visitor: str, event: str, session: str) -> None:
        """Remembers which visitor and which session an event belongs to."""
        self._events.setdefault(visitor, {})[event] = session

    def outstanding(self, visitor: str) -> tuple[int, int]:
        """How many answers a visitor has not collected, and how many of them nobody listens for."""
        pending, mine = self._pending(), self._events.get(visitor, {})
        mine = {event: session for event, session in mine.items() if event in pending.get(session, ())}
        if mine:
            self._events[visitor] = mine
        else:
            self._events.pop(visitor, None)
        return len(mine), sum(session not in self._listening for session in mine.values())

    @property
    def is_full(self) -> bool:
        """Whether as many sessions wait for answers as are kept."""
        return len(self._pending()) >= MAX_SESSIONS

    async def sweep(self) -> None:
        """Ends what nobody listens for: at once where nothing is to come, else after KEEP_SECONDS."""
        queue, now, pending = self._queue, self._clock(), self._pending()
        messages = getattr(queue, "pending_messages_per_session", {})
        for session in {*pending, *messages}:
            if session in self._listening:
                continue
            if not pending.get(session) and (session not in messages or messages[session].empty()):
                self._drop(session)  # without waiting for anything: the session's next event may come meanwhile
            elif now - self._unheard_since.setdefault(session, now) >= KEEP_SECONDS:
                ended = set(pending.get(session, ()))
                await queue.clean_events(session_hash=session)
                if session not in self._listening and not set(pending.get(session, ())) - ended:
                    self._drop(session)
        self._unheard_since = {session: since for session, since in self._unheard_since.items() if session in pending}
        for visitor in list(self._events):
            self.outstanding(visitor)

    def _drop(self, session: str) -> None:
        self._unheard_since.pop(session, None)
        getattr(self._queue, "pending_messages_per_session", {}).pop(session, None)
        self._pending().pop(session, None)

    def _pending(self) -> dict[str, set[str]]:
        return getattr(self._queue, "pending_event_ids_session", {})

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """While the server runs: no sessions, no statistics, and a sweep every second."""
        keep_nothing(app, self._blocks)
        sweeping = asyncio.create_task(self._sweep_for_ever())
        try:
            yield
        finally:
            sweeping.cancel()

    async def _sweep_for_ever(self) -> None:
        trim = memory_trimmer()
        trimmed = self._clock()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()
            if self._clock() - trimmed >= TRIM_SECONDS:
                await asyncio.to_thread(trim)
                trimmed = self._clock()


def keep_nothing(app: Any, blocks: gr.Blocks) -> None:
    """Makes gradio keep no sessions, and no statistics of events, which take longer with every event."""
    holder = NoSessions()
    holder.set_blocks(blocks)
    app.state_holder = holder
    queue: Any = blocks._queue
    queue.ANALYTICS_MAX_EVENTS = 1
    queue.ANAYLTICS_CACHE_FREQUENCY = NEVER
    with suppress(AttributeError):
        queue.pending_messages_per_session.max_size = 2 * MAX_SESSIONS


def memory_trimmer() -> Callable[[], object]:
    """Makes a function that gives freed memory back to the system: glibc keeps what lies between blocks in use."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # musl has none
        return lambda: library.malloc_trim(0)
    return lambda: None
