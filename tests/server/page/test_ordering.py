"""Overlapping events of a page: only the newest draws, and it knows when the page shows something else than it said."""

import pytest

from headroles.server.page.handlers import moment_of
from headroles.server.page.ordering import MAX_SESSIONS, EventOrder
from tests.fixtures.known import known


def test_a_new_turn_ends_the_one_before_of_its_session_alone():
    turns = EventOrder()
    first, other = turns.begin("a"), turns.begin("b")
    assert turns.is_newest(first)
    second = turns.begin("a", analyses=True)
    assert not turns.is_newest(first)
    assert turns.is_newest(second)
    assert turns.is_newest(other)
    assert known(turns.newest("a")).analyses


def test_an_event_that_left_before_the_last_answer_came_is_noticed():
    turns = EventOrder()
    turn = turns.begin("a")
    assert turns.still_shows(turn, "p=1")  # of a page that was open before the server started, the page itself knows best
    turns.shows(turn, "p=2")
    late = turns.begin("a")
    assert not turns.still_shows(late, "p=1")
    assert turns.still_shows(late, "p=2")


def test_an_event_that_was_overtaken_on_its_way_is_over_when_it_arrives():
    turns = EventOrder()
    second = turns.begin("a", moment=2000.5)
    first = turns.begin("a", moment=2000.1)
    assert turns.is_newest(second)
    assert not turns.is_newest(first)
    stopped = turns.begin("a")  # says no time: it is now
    assert not turns.is_newest(second)
    assert not turns.is_newest(turns.begin("a", moment=2000.2))
    assert turns.is_newest(stopped)
    assert turns.is_newest(turns.begin("a", moment=2000.5))
    assert turns.is_newest(turns.begin("b", moment=1.0))


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        ("model=a&prompt=b&_at=1234.5", 1234.5),
        ("&_at=0", 0.0),
        ("model=a&_at=12&prompt=b", None),
        ("model=a&_at=nan", None),
        ("model=a&_at=1e400", None),
        ("model=a&_at=" + "9" * 400, None),
        ("model=a", None),
        (None, None),
        (["&_at=1"], None),
    ],
)
def test_when_an_event_happened_is_a_plain_number_at_the_end_of_its_place_or_not_said(query, moment):
    assert moment_of(query) == moment


def test_nothing_is_kept_but_a_bounded_number_of_hashes():
    turns = EventOrder()
    for number in range(MAX_SESSIONS + 50):
        turns.shows(turns.begin(str(number)), "prompt=secret")
    assert len(turns._newest) == len(turns._shown) == MAX_SESSIONS
    assert "secret" not in repr(vars(turns))


def test_a_page_that_so_many_others_pushed_out_keeps_its_turn_until_its_own_next_event():
    turns = EventOrder()
    at_work = turns.begin("a", analyses=True)
    for number in range(MAX_SESSIONS + 50):
        turns.begin(str(number))
    assert turns.is_newest(at_work)
    turns.begin("a", analyses=True)
    assert not turns.is_newest(at_work)
