"""The API as a client meets it, over HTTP: what each endpoint gives, what it refuses and how, and who is let in."""

import asyncio
import base64
import dataclasses
import inspect
import json
import re
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from xml.etree import ElementTree

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from headroles.core.heads import Head
from headroles.core.limits import MAX_BATCH_PROMPTS
from headroles.core.readings.comparison import compare_models, compare_prompts
from headroles.core.registry import EMBEDDED_MODEL, MODELS, ModelInfo
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.explorer import Explorer
from headroles.render.api.result import API_VERSION
from headroles.render.page.chat import chat_card, explain_in_words
from headroles.render.page.next_token import GUESSES, NextTokenView
from headroles.render.wording.role_states import describe_role
from headroles.server.api.api_help import ENDPOINTS, render_help
from headroles.server.api.publish import CARD, CARD_TYPE, TEXT_TOOL, GuardedBlocks, add_api
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.gate.visitors import visitor_of
from headroles.settings import Settings
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.api_server import serve_api
from tests.fixtures.hostile import HOSTILE_TEXTS, TOO_LONG, short
from tests.fixtures.known import known
from tests.fixtures.patience import PATIENCE, wait_until
from tests.fixtures.web import ask, begin, call

NAMES = [f"/{name}" for name, _, _ in ENDPOINTS]
# a call of each endpoint that is right; the tests below put one wrong value at a time into it
RIGHT = {
    "/models": {},
    "/categories": {"model": EMBEDDED_MODEL},
    "/analyze": {"model": EMBEDDED_MODEL, "prompt": REPEATING, "all_heads": False},
    "/analyze_batch": {"model": EMBEDDED_MODEL, "prompts": [REPEATING], "all_heads": False},
    "/compare": {"model": EMBEDDED_MODEL, "prompt": REPEATING, "other_prompt": PLAIN, "other_model": ""},
    "/pattern": {"model": EMBEDDED_MODEL, "prompt": REPEATING, "layer": 1, "head": 2},
    "/heatmap": {"model": EMBEDDED_MODEL, "prompt": REPEATING, "layer": 1, "head": 2, "role": "", "format": "png"},
    "/figure": {"model": EMBEDDED_MODEL, "prompt": REPEATING, "sheet": "text", "format": "pdf"},
    "/explain": {"model": EMBEDDED_MODEL, "prompt": REPEATING},
    "/next_tokens": {"model": EMBEDDED_MODEL, "prompt": REPEATING, "count": 2},
    "/effects": {"model": EMBEDDED_MODEL, "prompt": REPEATING, "heads": ["L2H2"], "role": "", "query": -1},
    "/ablate": {
        "model": EMBEDDED_MODEL,
        "prompt": REPEATING,
        "heads": ["L2H2"],
        "role": "",
        "method": "zero",
        "seed": 0,
        "query": -1,
    },
    "/training": {"model": EMBEDDED_MODEL},
    "/atlas": {},
}
OBJECTS = (None, True, 7, -1, 1.5, float("nan"), [], ["a"], {}, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}})
LONG = TOO_LONG[:500_000]  # half of what the door lets in
NO_TEXTS = ("", "  \n\t", "\u200b" * 20_000, LONG, *OBJECTS)
NO_MODELS = ("", "gpt5", "headroles-tiny\x00", "/etc", "a" * 100_000, *HOSTILE_TEXTS, *OBJECTS)
NO_NUMBERS = ("1; DROP", "1", "", 10**30, 4, -1, 1.0, LONG, True, None, [], {}, float("nan"), float("inf"))


@pytest.fixture(scope="module")
def unlimited() -> RequestQueue:
    """A desk for many requests of one visitor."""
    return RequestQueue(Settings(prompts_a_minute=0))


@pytest.fixture(scope="module")
def url(explorer: Explorer, unlimited: RequestQueue) -> Iterator[str]:
    with serve_api(explorer, unlimited) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Client:
    return Client(url, verbose=False)


def refused(url: str, endpoint: str, data: list, headers: dict[str, str] | None = None) -> str:
    """The sentence that a call is refused with."""
    event, result = call(url, endpoint, data, headers)
    assert event == "error", result
    assert isinstance(result, dict)
    message = result["error"]
    assert isinstance(message, str), "an error without words"
    assert "Traceback" not in message
    assert "\n" not in message
    assert len(message) < 600
    return message


def wrong_calls() -> Iterator[tuple[str, str, object]]:
    values = {"model": NO_MODELS, "prompt": NO_TEXTS, "other_prompt": ("  ", LONG, 7, ["a"], {"a": 1}, float("nan"))}
    values |= {"layer": NO_NUMBERS, "head": (*NO_NUMBERS[:4], 8, *NO_NUMBERS[5:]), "role": ("queen", 7, [1], "a" * 9999, True)}
    values |= {"format": ("gif", "", "PNG", 7, None, ["png"], LONG), "all_heads": ("yes", 1, 0, [], {}, "")}
    values |= {"prompts": ([], "text", 7, {}, None, True, [REPEATING] * 65, ["ok", ""], ["ok", 7], ["ok", LONG], [["a"]])}
    values |= {
        "heads": (["king"], ["L9H9"], [7], [["a"]], {}, 7, "L2H2", ["L2H2"] * 5000, [LONG], []),
        "method": ("drop", "", 7, []),
    }
    values |= {
        "count": (0, 51, *NO_NUMBERS[:4], *NO_NUMBERS[5:]),
        "seed": (-1, 2**40, *NO_NUMBERS[:4]),
        "query": (99, -99, *NO_NUMBERS[:4]),
    }
    met: set[str] = set()
    for endpoint, arguments in RIGHT.items():
        for name in arguments:
            # all of them where an argument comes first, a few where it comes again
            for value in values.get(name, ())[:: 5 if name in met else 1]:
                yield endpoint, name, value
            met.add(name)


def test_every_endpoint_is_public_and_documented(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(named) == NAMES == list(RIGHT)
    for name, _, _ in ENDPOINTS:
        parameters = [parameter["parameter_name"] for parameter in named[f"/{name}"]["parameters"]]
        assert parameters == list(RIGHT[f"/{name}"])
        assert named[f"/{name}"]["description"]


def test_the_list_of_endpoints_says_their_arguments_and_defaults(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name, arguments, _ in ENDPOINTS:
        says = [
            parameter["parameter_name"]
            + (f" = {json.dumps(parameter['parameter_default'])}" if parameter["parameter_has_default"] else "")
            for parameter in named[f"/{name}"]["parameters"]
        ]
        assert arguments == ", ".join(says)


@pytest.mark.parametrize("endpoint", NAMES)
def test_every_result_says_its_version_and_is_plain(client, endpoint):
    result = client.predict(*RIGHT[endpoint].values(), api_name=endpoint)
    assert result["api_version"] == API_VERSION == "2"
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize("endpoint", NAMES)
def test_the_plain_protocol_gives_the_same(client, url, endpoint):
    arguments = list(RIGHT[endpoint].values())
    assert call(url, endpoint, arguments) == ("complete", client.predict(*arguments, api_name=endpoint))


def test_what_is_left_out_gets_its_default(client, url):
    whole = client.predict(*RIGHT["/heatmap"].values(), api_name="/heatmap")
    assert client.predict(EMBEDDED_MODEL, REPEATING, 1, 2, api_name="/heatmap") == whole
    assert call(url, "/heatmap", [EMBEDDED_MODEL, REPEATING, 1, 2]) == ("complete", whole)


@pytest.mark.parametrize("endpoint", [name for name in NAMES if RIGHT[name]])
def test_what_must_be_given_and_is_not_is_refused_in_one_sentence(url, endpoint):
    assert refused(url, endpoint, [])
    assert endpoint in ("/categories", "/training") or refused(url, endpoint, [EMBEDDED_MODEL])


@pytest.mark.parametrize(("endpoint", "name", "value"), list(wrong_calls()), ids=short)
def test_one_wrong_value_is_refused_in_one_sentence(url, endpoint, name, value):
    assert refused(url, endpoint, list({**RIGHT[endpoint], name: value}.values()))


@pytest.mark.parametrize(
    ("endpoint", "changes", "message"),
    [
        ("/analyze", {"model": "gpt5"}, "There is no model 'gpt5' here"),
        ("/analyze", {"model": ["a"]}, "There is no model"),
        ("/analyze", {"prompt": "  "}, "There is no text to look at"),
        ("/analyze", {"prompt": "a " * 300}, "reads at most 256 here"),
        ("/analyze", {"prompt": LONG}, "has 500,000 characters; at most 10,000 are read"),
        ("/analyze", {"all_heads": "yes"}, "all_heads must be true or false, but is 'yes'"),
        ("/analyze_batch", {"prompts": []}, "prompts must be a list of 1 to 64 texts; these are 0"),
        ("/analyze_batch", {"prompts": ["a"] * 65}, "prompts must be a list of 1 to 64 texts; these are 65"),
        ("/analyze_batch", {"prompts": ["a", "b", " "]}, "Prompt 3 of 3: there is no text to look at"),
        ("/compare", {"other_prompt": ""}, "Give either other_prompt or other_model"),
        ("/compare", {"other_model": "gpt2"}, "Give either other_prompt or other_model"),
        ("/compare", {"other_prompt": "", "other_model": EMBEDDED_MODEL}, "choose two different models"),
        ("/compare", {"other_prompt": "", "other_model": "gpt5"}, "There is no model 'gpt5' here"),
        ("/pattern", {"layer": 99, "head": 0}, "L99H0 is outside the model"),
        ("/pattern", {"layer": -1}, "layer must be a whole number from 0 on"),
        ("/pattern", {"layer": "1; DROP"}, "layer must be a whole number from 0 on, but is '1; DROP'"),
        ("/pattern", {"head": 10**30}, "head is outside any model"),
        ("/heatmap", {"format": "gif"}, "format must be png or svg or pdf, but is 'gif'"),
        ("/figure", {"format": "gif"}, "format must be png or svg or pdf, but is 'gif'"),
        ("/figure", {"sheet": "poster"}, "sheet must be text or model or atlas, but is 'poster'"),
        ("/figure", {"prompt": ""}, "There is no text to look at"),
        ("/training", {"model": "gpt5"}, "There is no model 'gpt5' here"),
        ("/training", {"model": "gpt2"}, "Nobody has recorded the training of 'gpt2'; there is a recorded run of headroles-tiny"),
        ("/heatmap", {"role": "queen"}, "There is no role 'queen'; the roles are previous_token"),
    ],
)
def test_a_refusal_says_what_and_which_limit(url, endpoint, changes, message):
    assert message in refused(url, endpoint, list({**RIGHT[endpoint], **changes}.values()))


def test_a_client_is_told_the_sentence_too(client):
    with pytest.raises(AppError, match="There is no model 'gpt5' here"):
        client.predict("gpt5", REPEATING, api_name="/analyze")


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=short)
def test_hostile_text_is_analysed_as_the_text_it_is(url, text, explorer):
    event, result = call(url, "/analyze", [EMBEDDED_MODEL, text[:200]])
    sent = text[:200].encode("utf-8", "replace").decode()
    assert event == "complete"
    assert result["prompt"] == sent
    assert result["tokens"] == list(explorer.analyze(EMBEDDED_MODEL, text[:200]).tokens)
    assert result["num_layers"] == 4


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=short)
def test_hostile_text_is_drawn_as_text(url, text):
    event, result = call(url, "/heatmap", [EMBEDDED_MODEL, text[:40], 0, 0, "", "svg"])
    assert event == "complete"
    root = ElementTree.fromstring(result["data"])
    assert not [element for element in root.iter() if element.tag.endswith(("}script", "}foreignObject", "}a"))]


def test_a_hostile_batch_gives_one_analysis_a_text(url):
    texts = [text[:100] for text in HOSTILE_TEXTS]
    event, result = call(url, "/analyze_batch", [EMBEDDED_MODEL, texts])
    assert event == "complete"
    assert len(result["analyses"]) == len(texts)


@pytest.mark.parametrize("model", NO_MODELS, ids=short)
def test_where_any_model_may_be_named_a_wrong_name_is_refused_in_one_sentence(anything, model):
    assert refused(anything, "/analyze", [model, REPEATING])


@pytest.fixture(scope="module")
def anything(tmp_path_factory) -> Iterator[str]:
    """A server whose visitors may name any hub id or folder, without a network."""
    settings = Settings(any_model=True, home=tmp_path_factory.mktemp("home"), prompts_a_minute=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with serve_api(Explorer(settings)) as address:
            yield address


def test_models_are_listed_with_what_they_read_and_the_limits(client):
    result = client.predict(api_name="/models")
    assert [model["name"] for model in result["models"]] == list(MODELS)
    gpt2 = next(model for model in result["models"] if model["name"] == "gpt2")
    assert (gpt2["num_layers"], gpt2["num_heads"], gpt2["parameters"], gpt2["gated"]) == (12, 12, 124_439_808, False)
    assert all(model["max_tokens"] == 256 for model in result["models"])
    limits = {"prompt_characters": 10_000, "batch_prompts": MAX_BATCH_PROMPTS, "waiting_requests": 64, "prompts_a_minute": 240}
    assert result["limits"] == limits


def test_categories_are_the_record_with_every_heads_primary_role(client, record):
    result = client.predict(EMBEDDED_MODEL, api_name="/categories")
    assert [role["key"] for role in result["roles"]] == list(ROLES)
    assert result["primary_roles"][2][3] == record.primary_role(record.heads()[2 * 8 + 3]).name
    for role in result["roles"]:
        assert role["scores"] == record.all_scores.get(role["key"], [])
        category = record.categories.get(role["key"])  # none of a role that the record does not score
        expected = [
            {**top.model_dump(), "second_score": record.second_score(role["key"], Head(top.layer, top.head))}
            for top in (category.top_heads if category else [])
        ]
        assert role["top_heads"] == expected
        assert role["second_scores"] == (record.second_scores or {}).get(role["key"], [])
        assert bool(role["second_definition"]) == bool(role["second_scores"])
    assert result["recipe"] == record.recipe.model_dump(exclude_unset=True)


def test_an_analysis_comes_in_plain_types(client, explorer):
    result = client.predict(EMBEDDED_MODEL, REPEATING, api_name="/analyze")
    analysis = explorer.analyze(EMBEDDED_MODEL, REPEATING)
    assert [role["key"] for role in result["roles"]] == list(ROLES)
    assert result["tokens"] == list(analysis.tokens)
    assert result["source"] == "embedded"
    assert result["heads"] == []
    for role, reading in zip(result["roles"], analysis.roles):
        assert role["applicable"] is reading.applicable
        assert role["active"] is reading.is_active
        assert role["reason"] == describe_role(reading, analysis)
        for head, own in zip(role["heads"], reading.heads):
            assert head == {
                "layer": own.head.layer,
                "head": own.head.index,
                "score": own.score,
                "activation_score": own.activation,
                "chance": own.chance,
                "is_active": own.is_active,
                "verdict": own.state,
                "excess": own.excess if own.is_triggered else None,
                "seen_at": own.detections,
                "evidence": [dataclasses.asdict(place) for place in own.evidence],
                "percentile": own.percentile,
                "usual": own.usual and list(own.usual),
                "unusual": own.is_unusual,
            }
        assert (role["verdict"], role["unusual"], role["tokens"]) == (reading.state, reading.is_unusual, reading.tokens)
        assert [head["layer"] for head in role["also_seen"]] == [other.head.layer for other in reading.other_heads]
    assert [role["key"] for role in result["roles"] if role["verdict"] == "seen"] == ["induction"]


def test_all_heads_come_when_they_are_asked_for(client, explorer):
    result = client.predict(EMBEDDED_MODEL, REPEATING, True, api_name="/analyze")
    table = explorer.analyze(EMBEDDED_MODEL, REPEATING).heads
    assert [(head["layer"], head["head"]) for head in result["heads"]] == [(h.layer, h.index) for h in table.heads()]
    for entry, head in zip(result["heads"], table.heads()):
        assert entry["primary_role"] == table.primary_role(head).name
        assert entry["description"].startswith(f"{head.label} ")
        assert set(entry["roles"]) == {role.name for role in measured_roles()}
        assert entry["roles"]["induction"]["activation_score"] == table.reading(ROLES["induction"], head).activation


def test_all_heads_come_for_every_text_of_a_batch_when_they_are_asked_for(client):
    few, all_heads = (
        client.predict(EMBEDDED_MODEL, [REPEATING, PLAIN], which, api_name="/analyze_batch") for which in (False, True)
    )
    assert [result["heads"] for result in few["analyses"]] == [[], []]
    for prompt, result in zip([REPEATING, PLAIN], all_heads["analyses"]):
        assert result == client.predict(EMBEDDED_MODEL, prompt, True, api_name="/analyze")
        assert len(result["heads"]) == 32


def test_a_batch_gives_what_single_calls_give(client):
    prompts = [REPEATING, PLAIN, REPEATING, "A cat."]
    batch = client.predict(EMBEDDED_MODEL, prompts, api_name="/analyze_batch")
    assert batch["model"] == EMBEDDED_MODEL
    for result, prompt in zip(batch["analyses"], prompts):
        single = client.predict(EMBEDDED_MODEL, prompt, api_name="/analyze")
        assert result["tokens"] == single["tokens"]
        for ours, theirs in zip(result["roles"], single["roles"]):
            assert [head["activation_score"] for head in ours["heads"]] == pytest.approx(
                [head["activation_score"] for head in theirs["heads"]], abs=1e-6
            )


def test_two_texts_are_compared(client, explorer):
    result = client.predict(EMBEDDED_MODEL, REPEATING, PLAIN, api_name="/compare")
    comparison = compare_prompts(*explorer.analyze_batch(EMBEDDED_MODEL, [REPEATING, PLAIN]))
    assert result["kind"] == "prompts"
    assert [role["change"] for role in result["changes"]] == [role.change for role in comparison.roles]
    assert [role["key"] for role in result["changes"] if role["change"] == "turns off"]
    assert [head["difference"] for head in result["heads"]] == pytest.approx([head.difference for head in comparison.heads])
    assert (result["a"]["prompt"], result["b"]["prompt"], result["census"]) == (REPEATING, PLAIN, [])


def test_two_models_are_compared(monkeypatch, explorer, unlimited):
    twin = ModelInfo(**{**vars(MODELS[EMBEDDED_MODEL]), "name": "twin"})
    monkeypatch.setattr("headroles.explorer.get_model_info", lambda name: twin if name == "twin" else MODELS[name])
    record = explorer.categories(EMBEDDED_MODEL)
    own = Explorer()
    source = own.analyze(EMBEDDED_MODEL, REPEATING).source
    monkeypatch.setattr(own._store, "find", lambda loaded: (record, source))
    with serve_api(own, unlimited) as url:
        event, result = call(url, "/compare", [EMBEDDED_MODEL, REPEATING, "", "twin"])
    assert (event, result["kind"], result["changes"], result["heads"]) == ("complete", "models", [], [])
    assert (result["a"]["model"], result["b"]["model"]) == (EMBEDDED_MODEL, "twin")
    comparison = compare_models(own.analyze(EMBEDDED_MODEL, REPEATING), own.analyze("twin", REPEATING))
    assert [role["counts_b"] for role in result["census"]] == [list(role.b.counts) for role in comparison.roles]
    assert sum(sum(role["counts_a"]) for role in result["census"]) == 32


def test_a_heads_pattern_has_rows_that_sum_to_one(client):
    result = client.predict(EMBEDDED_MODEL, REPEATING, 2, 3, api_name="/pattern")
    count = len(result["tokens"])
    assert [len(row) for row in result["pattern"]] == [count] * count
    assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in result["pattern"])
    assert result["description"].startswith("L2H3 ")
    assert set(result["roles"]) == set(ROLES) - {"other"}


def test_a_picture_comes_as_png_or_svg_for_any_role(client):
    png = client.predict(EMBEDDED_MODEL, REPEATING, 2, 3, "induction", "png", api_name="/heatmap")
    svg = client.predict(EMBEDDED_MODEL, REPEATING, 2, 3, "induction", "svg", api_name="/heatmap")
    assert (png["media_type"], png["encoding"]) == ("image/png", "base64")
    assert (svg["media_type"], svg["encoding"]) == ("image/svg+xml", "utf-8")
    assert base64.b64decode(png["data"]).startswith(b"\x89PNG")
    assert ElementTree.fromstring(svg["data"]).tag.endswith("svg")
    assert png["description"] == svg["description"]
    assert png["description"].startswith("L2H3 ")


class Stuck:
    """A load that does not come until it is let go."""

    def __init__(self, progress: object) -> None:
        self.progress, self.is_done, self.left = progress, False, threading.Event()
        self.asked = threading.Semaphore(0)

    def leave(self) -> None:
        self.left.set()

    def result(self) -> None: ...


@pytest.fixture
def stuck(explorer: Explorer, monkeypatch) -> Iterator[Stuck]:
    """gpt2 loads for as long as the test lasts."""
    load, real = Stuck(SimpleNamespace(fraction=0.1, note="downloading")), explorer.prepare

    def prepare(model: str) -> object:
        if model != "gpt2":
            return real(model)
        load.asked.release()
        return load

    monkeypatch.setattr(explorer, "prepare", prepare)
    monkeypatch.setattr(explorer, "categories", lambda model: pytest.fail("it must not get here") if model == "gpt2" else None)
    yield load
    load.is_done = True


def test_requests_on_a_loaded_model_do_not_wait_for_the_load_of_another(explorer, stuck):
    """Fifty requests, more than gradio takes in by itself, wait for a model that never comes; the embedded one answers."""
    desk = RequestQueue(Settings(prompts_a_minute=0))
    with serve_api(explorer, desk) as url:
        for number in range(50):
            begin(url, "/analyze", ["gpt2", REPEATING], {"X-Forwarded-For": f"8.8.8.{number}"})
        assert all(stuck.asked.acquire(timeout=PATIENCE) for _ in range(50))
        assert call(url, "/analyze", [EMBEDDED_MODEL, REPEATING])[0] == "complete"
        assert desk.loads == 50


def test_no_more_than_the_limit_wait_for_a_load(explorer, stuck):
    with serve_api(explorer, RequestQueue(Settings(max_waiting=2))) as url:
        for number in range(2):
            begin(url, "/analyze", ["gpt2", REPEATING], {"X-Forwarded-For": f"8.8.8.{number}"})
            assert stuck.asked.acquire(timeout=PATIENCE)
        message = refused(url, "/analyze", ["gpt2", REPEATING])
        assert message.startswith("2 requests are waiting for models to load, which is the limit; try again in about")
        assert call(url, "/analyze", [EMBEDDED_MODEL, REPEATING])[0] == "complete"


def test_who_hangs_up_no_longer_waits_for_the_load(explorer, stuck):
    desk = RequestQueue(Settings(max_waiting=1))
    with serve_api(explorer, desk) as url:
        answer = begin(url, "/analyze", ["gpt2", REPEATING])
        assert stuck.asked.acquire(timeout=PATIENCE)
        assert desk.loads == 1
        ask(answer).close()
        assert stuck.left.wait(PATIENCE)
        wait_until(lambda: not desk.loads)


def test_a_full_queue_answers_at_once_over_http(explorer, monkeypatch):
    go_on, begun = threading.Event(), threading.Semaphore(0)
    real = explorer.analyze

    def slow(model: str, prompt: str) -> object:
        begun.release()
        assert go_on.wait(PATIENCE)
        return real(model, prompt)

    monkeypatch.setattr(explorer, "analyze", slow)
    desk = RequestQueue(Settings(workers=1, max_waiting=1))
    with serve_api(explorer, desk) as url:
        client = Client(url, verbose=False)
        jobs = [client.submit(EMBEDDED_MODEL, REPEATING, api_name="/analyze") for _ in range(2)]
        assert begun.acquire(timeout=PATIENCE)
        wait_until(lambda: desk.waiting)
        message = refused(url, "/analyze", [EMBEDDED_MODEL, PLAIN])
        assert message == "1 requests are waiting here, which is the limit; try again in about 1 second."
        go_on.set()
        assert all(job.result(PATIENCE)["prompt"] == REPEATING for job in jobs)


def test_one_visitor_cannot_ask_for_more_than_the_rate_and_others_do_not_notice(explorer):
    with serve_api(explorer, RequestQueue(Settings(prompts_a_minute=3), clock=lambda: 0.0)) as url:
        one, other = ({"X-Forwarded-For": f"1.1.1.1, 8.8.8.{number}"} for number in (1, 2))
        assert call(url, "/analyze_batch", [EMBEDDED_MODEL, [REPEATING, PLAIN, "A cat."]], one)[0] == "complete"
        message = refused(url, "/analyze", [EMBEDDED_MODEL, REPEATING], one)
        assert re.fullmatch(r"You have reached the limit of 3 prompts a minute; try again in about \d+ seconds\.", message)
        assert call(url, "/analyze", [EMBEDDED_MODEL, REPEATING], other)[0] == "complete"
        assert "send fewer" in refused(url, "/analyze_batch", [EMBEDDED_MODEL, ["a"] * 4], other)
        assert call(url, "/models", [], one)[0] == "complete"


@pytest.mark.parametrize(
    ("host", "forwarded", "visitor"),
    [
        ("8.8.8.8", "", "8.8.8.8"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),  # no proxy of ours: it may be made up
        ("10.1.2.3", "9.9.9.9", "9.9.9.9"),
        ("10.1.2.3", "1.1.1.1, 9.9.9.9", "9.9.9.9"),
        ("10.1.2.3", "1.1.1.1, 9.9.9.9, 172.16.0.9", "9.9.9.9"),  # two proxies
        ("127.0.0.1", "", "127.0.0.1"),
        ("192.168.1.7", "", "192.168.1.7"),
        ("10.1.2.3", "9.9.9.9, <script>", "10.1.2.3"),
        ("10.1.2.3", "x" * 100_000, "10.1.2.3"),
        ("10.1.2.3", "2a00:1450:4001:81c::200e", "2a00:1450:4001:81c::/64"),
        ("2a00:1450:4001:81c:1:2:3:4", "", "2a00:1450:4001:81c::/64"),
        ("testclient", "9.9.9.9", "unknown"),
        (None, "", "unknown"),
    ],
)
def test_visitors_are_told_apart_by_the_address_that_the_last_proxy_saw(host, forwarded, visitor):
    request = gr.Request(headers={"x-forwarded-for": forwarded} if forwarded else {}, client={"host": host} if host else None)
    assert visitor_of(request) == visitor


def test_a_request_that_is_not_there_has_a_visitor_too():
    assert visitor_of(None) == "unknown"


def test_the_pages_own_events_keep_gradios_check():
    with GuardedBlocks() as app:
        box = gr.Textbox()
        gr.Button().click(lambda text: text, box, box)
    with pytest.raises(ValueError, match="didn't receive enough input values"):
        app.validate_inputs(app.fns[0], [])


def test_the_help_names_every_endpoint_and_leaves_room_for_the_address():
    text = render_help()
    assert all(f"<code>{name}</code>" in text for name in NAMES)
    assert "127.0.0.1" not in text
    assert text.count("{url}") >= 3
    assert "${" not in text, "gradio would run it"
    assert "{{" not in text


def described(function: Callable) -> set[str]:
    return set(re.findall(r"^\s+(\w+): ", (inspect.getdoc(function) or "").partition("Args:")[2], re.M))


def test_every_argument_is_described(explorer):
    with GuardedBlocks() as app:
        add_api(explorer, RequestQueue(explorer.settings))
    for function in app.fns.values():
        assert described(known(function.fn)) == set(RIGHT[f"/{function.api_name}"])


def test_the_endpoints_are_tools_of_an_mcp_server_where_that_is_installed(explorer):
    mcp = pytest.importorskip("mcp", reason="`pip install 'gradio[mcp]'` brings it")
    from mcp.client.streamable_http import streamablehttp_client  # pyright: ignore[reportMissingImports]  # skipped without it

    async def use(url: str) -> None:
        async with streamablehttp_client(f"{url}/gradio_api/mcp/") as (read, write, _), mcp.ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            assert [f"/{name}" for name in tools] == [*NAMES, f"/{TEXT_TOOL}"]
            for name, tool in tools.items():
                assert tool.description
                assert all(argument["description"] for argument in tool.inputSchema["properties"].values()), name
            answer = await session.call_tool("analyze", {"model": EMBEDDED_MODEL, "prompt": REPEATING})
            assert not answer.isError
            assert "'induction'" in answer.content[0].text
            told = await session.call_tool(TEXT_TOOL, {"model": EMBEDDED_MODEL, "prompt": REPEATING})
            words = explain_in_words(
                explorer.analyze(EMBEDDED_MODEL, REPEATING),
                NextTokenView(explorer.next_tokens(EMBEDDED_MODEL, REPEATING, GUESSES)),
            )
            assert told.content[0].text == told.structuredContent["result"][0]["text"] == words
            assert tools[TEXT_TOOL].meta["ui"]["resourceUri"] == tools[TEXT_TOOL].meta["openai/outputTemplate"] == CARD
            assert CARD in {str(resource.uri) for resource in (await session.list_resources()).resources}
            (card,) = (await session.read_resource(CARD)).contents
            assert card.mimeType == CARD_TYPE
            assert card.text == chat_card()
            refusal = await session.call_tool("analyze", {"model": "gpt5", "prompt": REPEATING})
            assert refusal.isError
            assert "There is no model 'gpt5' here" in refusal.content[0].text

    with serve_api(explorer, mcp=True) as url:
        asyncio.run(use(url))
