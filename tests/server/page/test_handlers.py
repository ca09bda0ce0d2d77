"""What a page is answered, asked of the handlers themselves: no server, no browser."""

import asyncio
import re
import threading
from collections.abc import Mapping
from dataclasses import replace

import gradio as gr
import pytest

from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import NoHeadCategoriesError
from headroles.explorer import Explorer
from headroles.jobs import Job, Jobs
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.page.actions import Action, Inputs, accept_analysis, beside_model, beside_text, explore, follow_link, press
from headroles.server.page.handlers import OUTPUTS, Event, Handlers
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import PARTS, visit
from headroles.settings import Settings
from tests.conftest import PLAIN
from tests.fixtures.hostile import HOSTILE_TEXTS, TOO_LONG, short
from tests.fixtures.patience import PATIENCE, wait_until

BOXES = Inputs(EMBEDDED_MODEL, PLAIN, "one two one two", "", "")
NOTHING = {"message": gr.skip()}  # how every answer ends


@pytest.fixture(scope="module")
def here(explorer: Explorer) -> PageState:
    return visit(explorer, PageState())[0]


@pytest.fixture
def handlers(explorer: Explorer) -> Handlers:
    return Handlers(explorer, RequestQueue(Settings(prompts_a_minute=0)))


def event(place: PageState, boxes: Inputs = BOXES, session: str = "a page", **details: object) -> Event:
    return Event(place.contents, place.tab, boxes, details, session, "a visitor")


def answer(handlers: Handlers, sent: Event, move: Action, analyses: bool = False) -> list[Mapping[str, object]]:
    """All that an event is answered, in order."""

    async def collect() -> list[Mapping[str, object]]:
        return [outputs async for outputs in handlers.follow_move(sent, move, analyses)]

    return asyncio.run(collect())


def text_of(outputs: Mapping[str, object], name: str) -> str:
    """An output that is a text, as HTML and addresses are."""
    text = outputs[name]
    assert isinstance(text, str)
    return text


def test_an_answer_has_all_that_changed_then_what_comes_later_and_ends_without_a_change(handlers, here):
    first, rest, *later, last = answer(handlers, event(here), explore)
    assert set(first) == {"message", "offer", "stop", "prompt", "place", "tools", "about", "text", "panel"}
    assert (first["message"], first["prompt"]) == ("", PLAIN)
    assert set(first) & set(PARTS) | set(rest) == set(PARTS) - {"lessons_here"}
    assert rest["twin"] == ""
    assert [set(each) for each in later] == [{"next"}, {"causes"}, {"twin"}, {"edits"}]
    assert "hr-twin" in text_of(later[2], "twin")
    assert last == NOTHING
    assert set().union(first, rest, last, *later) <= set(OUTPUTS)


def test_a_head_that_is_opened_changes_its_own_part_alone(handlers, here):
    first, rest, *_ = answer(handlers, event(here, layer=0, head=1, role=""), press)
    assert set(first) & set(PARTS) | set(rest) == {"view", "twin"}
    assert "head=L0H1" in text_of(first, "place")
    assert "L0H1" in text_of(rest, "view")


def test_an_event_that_was_overtaken_on_its_way_here_draws_nothing(handlers, here):
    later, earlier = (replace(event(here, layer=0, head=head, role=""), query=f"{here.contents}&_at={head}.5") for head in (2, 1))
    assert len(answer(handlers, later, press)) > 1
    assert answer(handlers, earlier, press) == [NOTHING]


def test_heads_are_taken_out_with_progress_and_the_rest_of_the_page_stays(handlers, here):
    first, rest, *steps, said, last = answer(handlers, event(here, out="induction", method="mean"), press)
    assert set(first) & set(PARTS) | set(rest) == {"causes"}
    assert "out=induction" in text_of(first, "place")
    assert steps
    assert all(step["stop"] == gr.update(visible=True) for step in steps)
    assert "Without these" in text_of(said, "causes")
    assert (said["message"], said["stop"]) == ("", gr.update(visible=False))
    assert last == NOTHING


def test_heads_that_there_are_not_are_said_in_the_message(handlers, here):
    *_, said, last = answer(handlers, event(here, out="L9H9"), press)
    assert "L9H9 is outside the model" in text_of(said, "message")
    assert last == NOTHING


def test_a_ablation_that_is_stopped_ends_and_says_so(handlers, here, explorer, monkeypatch):
    """Stopped after its first forward, by the visitor's own button."""
    shares = []
    original = explorer.ablate

    def slow(*args, on_progress, **kwargs):
        def report(share: float) -> None:
            shares.append(share)
            handlers.stop("a page")
            wait_until(lambda: on_progress(share))  # until it raises

        return original(*args, on_progress=report, **kwargs)

    monkeypatch.setattr(explorer, "ablate", slow)
    answers = answer(handlers, event(here, out="L0H1,L0H2"), press)
    assert not any("Without these" in str(outputs.get("causes")) for outputs in answers)
    assert len(shares) == 1  # nothing goes on behind the visitor's back


def test_a_comparison_turns_the_page_to_its_tab(handlers, here):
    first, rest, *_ = answer(handlers, event(replace(here, prompt=PLAIN)), beside_text)
    assert first["tabs"] == gr.update(selected="prompts")
    assert first["tab"] == "prompts"
    assert set(first) & set(PARTS) | set(rest) == {"by_prompt"}


def test_a_page_that_shows_something_else_than_its_event_says_is_drawn_whole(handlers, here):
    answer(handlers, event(here), explore)
    first, rest, *_ = answer(handlers, event(here, layer=0, head=1, role=""), press)  # it left before the answer came
    assert set(first) & set(PARTS) | set(rest) == set(PARTS)


@pytest.mark.parametrize(
    ("move", "boxes", "details", "message"),
    [
        (explore, BOXES._replace(prompt="  "), {}, "There is no text to look at"),
        (explore, BOXES._replace(prompt=7), {}, "A text was expected, but int came."),
        (explore, BOXES._replace(model="gpt5"), {}, "There is no model"),
        (press, BOXES, {"layer": 99, "head": 0, "role": ""}, "L99H0 is outside the model"),
        (press, BOXES, {"try": "boss"}, "There is no role"),
        (press, BOXES, {"out": "boss"}, "There is no role"),
        (press, BOXES, {}, "layer must be a whole number"),
        (follow_link, BOXES, {"query": "tab=admin"}, "The link names a tab"),
        (beside_model, BOXES._replace(other_model=EMBEDDED_MODEL), {}, "choose two different models"),
    ],
)
def test_what_is_refused_is_said_in_the_message_and_the_page_stays(handlers, here, move, boxes, details, message):
    refused, last = answer(handlers, event(here, boxes, **details), move)
    assert set(refused) == {"message", "offer", "stop"}
    assert message in text_of(refused, "message")
    assert refused["offer"] == refused["stop"] == gr.update(visible=False)
    assert last == NOTHING


@pytest.mark.parametrize("value", [*HOSTILE_TEXTS, TOO_LONG, None, 7, ["a"], {"a": 1}], ids=short)
def test_whatever_a_client_sends_is_answered_in_outputs_of_the_page(handlers, value):
    sent = Event(value, value, Inputs(*[value] * 5), {"query": value, "layer": value, "prompt": value}, None, "a visitor")
    for move in (explore, press, beside_text, beside_model, accept_analysis, follow_link):
        answers = answer(handlers, sent, move)
        assert all(set(outputs) <= set(OUTPUTS) for outputs in answers)
        assert answers[-1] == NOTHING


def test_only_the_newest_turn_of_a_page_draws(explorer, here, monkeypatch):
    """The first event computes until the second one of the same page was answered."""
    computing, go_on = threading.Event(), threading.Event()
    real = explorer.analyze

    def slow(model: str, prompt: str) -> object:
        if prompt == PLAIN:
            computing.set()
            assert go_on.wait(PATIENCE)
        return real(model, prompt)

    monkeypatch.setattr(explorer, "analyze", slow)
    handlers = Handlers(explorer, RequestQueue(Settings(prompts_a_minute=0)))

    async def collect(sent: Event) -> list[Mapping[str, object]]:
        return [outputs async for outputs in handlers.follow_move(sent, explore)]

    async def overlap() -> tuple[list, list]:
        late = asyncio.create_task(collect(event(here)))
        assert await asyncio.to_thread(computing.wait, PATIENCE)
        newer = await collect(event(here, BOXES._replace(prompt="one two one two")))
        go_on.set()
        return await late, newer

    late, newer = asyncio.run(overlap())
    assert late == [NOTHING]
    assert newer[0]["prompt"] == "one two one two"


class GatedJobs(Jobs):
    """One at a time, and they wait until the gate opens."""

    def __init__(self) -> None:
        super().__init__(workers=1)
        self.gate = threading.Event()


@pytest.fixture
def unknown(explorer: Explorer, monkeypatch) -> GatedJobs:
    """The embedded model has no roles yet; its analysis waits until it is cancelled or the jobs' gate opens."""
    jobs, known = GatedJobs(), threading.Event()
    real = explorer.analyze

    def analyze(model: str, prompt: str) -> object:
        if not known.is_set():
            raise NoHeadCategoriesError("There are no roles yet.")
        return real(model, prompt)

    def work(job: Job) -> None:
        while not jobs.gate.wait(0.01):
            job.report(0.5, "scoring all heads")
        known.set()

    monkeypatch.setattr(explorer, "analyze", analyze)
    monkeypatch.setattr(explorer, "has_roles", lambda _: known.is_set())
    monkeypatch.setattr(explorer, "analyze_here", lambda model: jobs.start(model, work))
    return jobs


def test_a_model_without_roles_is_offered_to_be_analysed_and_the_offer_leads_to_what_was_refused(handlers, here, unknown):
    refused, _ = answer(handlers, event(here), explore)
    assert refused["offer"] == gr.update(visible=True)
    assert "There are no roles yet." in text_of(refused, "message")
    unknown.gate.set()
    taken = answer(handlers, event(here, BOXES._replace(refused=refused["refused"])), accept_analysis, analyses=True)
    assert next(outputs for outputs in taken if "panel" in outputs)["prompt"] == PLAIN


def test_an_analysis_says_how_far_it_is_and_can_be_stopped_and_offered_again(handlers, here, unknown):
    async def stop_on_the_way() -> tuple[list, Mapping[str, object]]:
        seen, stopped = [], {}
        async for outputs in handlers.follow_move(event(here), accept_analysis, analyses=True):
            seen.append(outputs)
            if not stopped and "scoring all heads" in str(outputs["message"]):
                stopped = handlers.stop("a page")
        return seen, stopped

    seen, stopped = asyncio.run(stop_on_the_way())
    assert seen[0]["stop"] == gr.update(visible=True)
    assert seen[-1] == NOTHING
    assert not any("panel" in outputs for outputs in seen)
    assert "Stopped; nothing of it is kept." in text_of(stopped, "message")
    assert (stopped["offer"], stopped["stop"]) == (gr.update(visible=True), gr.update(visible=False))
    job = unknown.find(EMBEDDED_MODEL)
    assert job is None or not job.join(), "nobody waits for it any more, so it ends"


def test_a_visitor_who_asks_for_too_much_is_told_when_to_come_back(explorer, here):
    handlers = Handlers(explorer, RequestQueue(Settings(prompts_a_minute=1), clock=lambda: 0.0))
    answer(handlers, event(here), explore)
    refused, _ = answer(handlers, event(here, layer=0, head=1, role=""), press)
    assert "You have reached the limit of 1 prompts a minute" in text_of(refused, "message")


def test_a_download_comes_as_a_link_numbered_anew_each_time(handlers, here):
    files = [asyncio.run(handlers.save(here.contents, "scores.csv", "a visitor")) for _ in range(2)]
    assert [set(outputs) for outputs in files] == [{"file", "message"}] * 2
    first, second = (int(re.findall(r'data-number="(\d+)"', str(outputs["file"]))[0]) for outputs in files)
    assert second == first + 1


@pytest.mark.parametrize(
    ("query", "name"), [("tab=admin", "scores.csv"), ("", "x"), ("", 7), (7, "scores.csv"), ("head=L9H9", "map.png")]
)
def test_a_download_that_there_is_not_is_refused_in_the_message(handlers, query, name):
    assert "hr-message" in asyncio.run(handlers.save(query, name, "a visitor"))["message"]


def test_what_is_said_of_a_model_tells_that_others_can_be_typed_where_they_can(explorer, tmp_path):
    closed = Handlers(explorer, RequestQueue()).describe_model("gpt2")
    open_ = Handlers(Explorer(Settings(any_model=True, home=tmp_path)), RequestQueue()).describe_model("gpt2")
    assert "You can also type" not in text_of(closed, "about")
    assert "You can also type" in text_of(open_, "about")


def test_a_head_outside_the_model_is_no_place_for_the_next_event(handlers, here):
    refused, _ = answer(handlers, event(replace(here, head=Head(9, 9))), explore)
    assert "L9H9 is outside the model" in text_of(refused, "message")
