"""The training tab as the server gives it: on the page when it is asked for, to programs, and as files."""

import asyncio
import csv
import io
import json

import gradio as gr
import pytest

from headroles.core.registry import EMBEDDED_MODEL
from headroles.errors import NoTrainingRunError, UnknownModelError
from headroles.render.api.schema_training import training_result
from headroles.server.api.endpoints import Endpoints
from headroles.server.gate.request_queue import RequestQueue
from headroles.server.page.handlers import Handlers
from headroles.server.page.page_state import PageState
from headroles.server.page.parts import download, draw_training, first_visit
from headroles.settings import Settings
from tests.fixtures.hostile import HOSTILE_TEXTS, short
from tests.fixtures.shipped import find_run

DESK = RequestQueue(Settings(prompts_a_minute=0))
REQUEST = gr.Request(client={"host": "8.8.8.8"})


def show(explorer, query: object) -> dict:
    return dict(asyncio.run(Handlers(explorer, DESK).show_training(query, "a visitor")))


def test_the_tab_is_drawn_when_it_is_asked_for_and_not_with_the_first_page(explorer):
    assert "training" not in first_visit(explorer)[1]
    shown = show(explorer, PageState().contents)
    assert set(shown) == {"training"}
    assert "60 points of one training run" in shown["training"]


def test_a_model_without_a_run_is_told_in_one_sentence_which_has_one(explorer):
    said = draw_training(explorer, PageState(model="gpt2"))
    assert "there is a recorded run of headroles-tiny." in said
    assert "hr-grid" not in said
    with pytest.raises(NoTrainingRunError, match="there is a recorded run of headroles-tiny"):
        explorer.training("gpt2")
    with pytest.raises(UnknownModelError):
        explorer.training("gpt5")


@pytest.mark.parametrize("query", [None, 7, ["a"], {"a": 1}, "tab=admin", "model=gpt5", *HOSTILE_TEXTS], ids=short)
def test_whatever_a_client_sends_it_gets_the_tab_or_a_sentence(explorer, query):
    shown = show(explorer, query)
    assert set(shown) in ({"training"}, {"message", "offer", "stop"})
    assert "<script>" not in str(shown)


def test_programs_get_the_run_that_the_page_shows(explorer):
    result = asyncio.run(Endpoints(explorer, DESK).training(REQUEST, EMBEDDED_MODEL)).model_dump()
    run = find_run(EMBEDDED_MODEL)
    assert result == training_result(run).model_dump()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    role = next(role for role in result["roles"] if role["key"] == "induction")
    assert role["onset"] == {"after": 1450, "by": 1500, "first": 1500}
    assert role["best"][-1] == {"layer": 2, "head": 2, "score": 0.914454}
    assert role["counts"][-1] == 8
    assert len(role["scores"]) == len(role["best"]) == len(result["steps"]) == len(result["primary_roles"]) == 60
    assert result["losses"]["second_pass"][-1] == 0.2401


def test_the_files_hold_the_run(explorer):
    made = download(explorer, PageState(), "training.json")
    assert made.name == "headroles-headroles-tiny-training.json"
    assert json.loads(made.content) == training_result(find_run(EMBEDDED_MODEL)).model_dump()
    run, text = find_run(EMBEDDED_MODEL), download(explorer, PageState(), "training.csv").content.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(run.steps) * len(run.roles)
    for row, (role, number) in zip(rows, ((role, number) for role in run.roles for number in range(len(run.steps)))):
        best = run.best(role)[number]
        assert (row["model"], row["role"], int(row["step"])) == (run.model, role.name, run.steps[number])
        assert (int(row["best_layer"]), int(row["best_head"])) == (best.head.layer, best.head.index)
        assert (float(row["best_score"]), int(row["heads"])) == (best.score, run.counts(role)[number])
        assert float(row["loss_prose"]) == run.losses["prose"][number]
