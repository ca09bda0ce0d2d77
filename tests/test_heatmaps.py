"""The attention figure: the right cells outlined, any text as a label, no pyplot state."""

from dataclasses import replace

import matplotlib.collections
import numpy as np
import pytest
import torch

from headroles.attention import Head
from headroles.heatmaps import MAX_LABELS, attention_figure, to_png
from headroles.readings import HeadView
from headroles.roles import ROLES
from tests.conftest import random_attention

HOSTILE = ["$\\frac{1}{0}$", "$x^", "<img src=x onerror=alert(1)>", "${alert(1)}", "\\x", "{{7*7}}", "\x00", "\n", "\u202e", "😀"]


def view_of(tokens: list[str], role: str = "induction", seed: int = 0) -> HeadView:
    ids = torch.tensor([sorted(set(tokens)).index(token) for token in tokens])
    return HeadView(
        model="m",
        tokens=tuple(tokens),
        head=Head(0, 0),
        role=ROLES[role],
        primary=ROLES[role],
        pattern=random_attention(length=len(tokens), seed=seed),
        expected=ROLES[role].expected_keys(ids),
        readings={},
    )


def outlined_area(view: HeadView) -> set[tuple[int, int]]:
    """The cells inside the outline, by counting vertical edges from the left."""
    (lines,) = [a for a in attention_figure(view).axes[0].collections if isinstance(a, matplotlib.collections.LineCollection)]
    vertical = {(float(s[0][0]), float(min(s[0][1], s[1][1]))) for s in lines.get_segments() if s[0][0] == s[1][0]}
    count, inside = len(view.tokens), set()
    for q in range(count):
        for k in range(count):
            crossed = sum((x, q - 0.5) in vertical for x in np.arange(-0.5, k + 0.1))
            if crossed % 2:
                inside.add((q, k))
    return inside


@pytest.mark.parametrize("role", ["previous_token", "induction", "duplicate_token", "positional", "diffuse"])
def test_exactly_the_expected_cells_are_outlined(role):
    view = view_of(["a", "b", "c", "a", "b", "c", "b", "b", "a"], role)
    assert outlined_area(view) == {tuple(cell) for cell in view.expected.nonzero().tolist()}


def test_the_image_is_the_pattern_with_queries_down():
    view = view_of(list("abcdef"))
    assert np.array_equal(attention_figure(view).axes[0].images[0].get_array(), view.pattern.numpy())


def test_any_text_is_drawn_as_text():
    figure = attention_figure(view_of(HOSTILE))
    assert to_png(figure).startswith(b"\x89PNG")
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "{{7*7}}" in labels
    assert "${alert(1)}" in labels
    assert "<U+0000>" in labels


@pytest.mark.parametrize("length", [1, 2, 256])
def test_every_length_is_drawn_with_labels_that_fit(length):
    figure = attention_figure(view_of([f"t{n % 40}" for n in range(length)], "duplicate_token"))
    assert len(figure.axes[0].get_xticks()) <= MAX_LABELS
    width, height = figure.get_size_inches() * figure.dpi
    assert max(width, height) <= 1100
    assert len(to_png(figure)) < 400_000


def test_two_heads_give_two_pictures_and_one_head_always_the_same():
    view = view_of(list("abcab"))
    assert to_png(attention_figure(view)) == to_png(attention_figure(view))
    assert to_png(attention_figure(view)) != to_png(attention_figure(replace(view, pattern=torch.eye(5))))
