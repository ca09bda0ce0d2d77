"""What programs get: plain values alone, and checks whose sentences stay short whatever was sent."""

import base64
import json
from collections.abc import Callable

import pytest

from headroles.core.heads import Head
from headroles.core.readings.comparison import compare_prompts
from headroles.core.registry import EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import ROLES
from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.render.api.result import API_VERSION, FigureResult, HeatmapResult
from headroles.render.api.schema import (
    analysis_result,
    batch_result,
    categories_result,
    comparison_result,
    pattern_result,
)
from headroles.server.api.arguments import checked_choice, checked_head, checked_role, checked_switch, max_tokens, models_result
from headroles.settings import Settings
from tests.conftest import PLAIN, REPEATING
from tests.fixtures.hostile import TOO_LONG, short

RESULTS: dict[str, Callable[[Explorer], object]] = {
    "models": lambda e: models_result(e.models(), Settings()).model_dump(),
    "categories": lambda e: categories_result(e.categories(EMBEDDED_MODEL)).model_dump(),
    "analysis": lambda e: analysis_result(e.analyze(EMBEDDED_MODEL, REPEATING), all_heads=True).model_dump(),
    "batch": lambda e: batch_result(EMBEDDED_MODEL, e.analyze_batch(EMBEDDED_MODEL, [REPEATING, PLAIN])).model_dump(),
    "prompts": lambda e: comparison_result(compare_prompts(*e.analyze_batch(EMBEDDED_MODEL, [REPEATING, PLAIN]))).model_dump(),
    "pattern": lambda e: pattern_result(e.view_head(EMBEDDED_MODEL, REPEATING, Head(1, 2))).model_dump(),
    "heatmap": lambda e: HeatmapResult.encode("image/png", b"\x89PNG", description="d").model_dump(),
}


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_plain_and_says_its_version(explorer, name):
    result = RESULTS[name](explorer)
    assert isinstance(result, dict)
    assert result["api_version"] == API_VERSION
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_picture_is_base64_and_a_drawing_is_text():
    png = FigureResult.encode("image/png", b"\x89PNG\xff")
    assert (png.encoding, base64.b64decode(png.data)) == ("base64", b"\x89PNG\xff")
    svg = FigureResult.encode("image/svg+xml", "<svg>↵</svg>".encode())
    assert (svg.encoding, svg.data) == ("utf-8", "<svg>↵</svg>")


def test_the_tokens_a_model_reads_are_known_before_it_is_loaded(tiny):
    assert max_tokens(MODELS[EMBEDDED_MODEL]) == tiny.max_tokens
    assert all(max_tokens(info) == 256 for info in MODELS.values())


@pytest.mark.parametrize(
    "value", ["1; DROP", "1", -1, 1.0, True, None, [], {}, float("nan"), 10**6000, -(10**6000), TOO_LONG], ids=short
)
@pytest.mark.parametrize("name", ["layer", "head"])
def test_a_head_that_is_none_is_refused_in_a_short_sentence(name, value):
    with pytest.raises(InvalidInputError) as caught:
        checked_head(**{"layer": 0, "head": 0, name: value})
    assert str(caught.value).startswith(name)
    assert len(str(caught.value)) < 150


def test_what_is_right_passes():
    assert checked_head(3, 7) == Head(3, 7)
    assert checked_role("induction") is ROLES["induction"]
    assert checked_role("") is checked_role(None) is None
    assert checked_choice("format", "svg", ("png", "svg")) == "svg"
    assert checked_switch("all_heads", False) is False


@pytest.mark.parametrize("value", ["queen", 7, True, ["induction"], {}, TOO_LONG, "\ud800"], ids=short)
def test_what_is_wrong_is_named_with_what_there_is(value):
    for check, there in (
        (lambda: checked_role(value), "the roles are previous_token"),
        (lambda: checked_choice("format", value, ("png", "svg")), "png or svg"),
        (lambda: checked_switch("all_heads", 1 if value is True else value), "true or false"),
    ):
        with pytest.raises(InvalidInputError, match=there) as caught:
            check()
        assert len(str(caught.value)) < 250
        assert str(caught.value).isprintable()
