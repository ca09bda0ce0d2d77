"""Pictures of patterns and roles: the right cells and shapes, any text as a label, the same file each time."""

import base64
import io
import itertools
import warnings
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib.collections
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps
from matplotlib.patches import Rectangle
from PIL import Image

from headroles.core.heads import Head
from headroles.core.readings.analysis import HeadView
from headroles.core.roles.roles import ROLES
from headroles.errors import InvalidInputError
from headroles.render.figures.figure_text import FIGURE_LABELS, LABEL_COLUMNS, one_line, shorten
from headroles.render.figures.heatmaps import attention_figure, map_figure, to_png, to_svg
from headroles.render.figures.pixels import COLORMAP, outline_path, pattern_bytes, pattern_png
from tests.conftest import random_attention
from tests.fixtures.known import known

HOSTILE = ["$\\frac{1}{0}$", "$x^", "<img src=x onerror=alert(1)>", "${alert(1)}", "\\x", "{{7*7}}", "\x00", "\n", "\u202e", "😀"]


def view_of(tokens: list[str], role: str = "induction", seed: int = 0) -> HeadView:
    ids = torch.tensor([sorted(set(tokens)).index(token) for token in tokens])
    return HeadView(
        model="m",
        prompt="".join(tokens),
        tokens=tuple(tokens),
        num_layers=1,
        num_heads=1,
        head=Head(0, 0),
        role=ROLES[role],
        primary=ROLES[role],
        pattern=random_attention(length=len(tokens), seed=seed),
        expected=ROLES[role].expected_keys(ids, delimiters=ids == 0),
        readings={},
    )


def outlined_area(view: HeadView) -> set[tuple[int, int]]:
    """The cells inside the outline, by counting vertical edges from the left."""
    (lines,) = [a for a in attention_figure(view).axes[0].collections if isinstance(a, matplotlib.collections.LineCollection)]
    vertical = [(x, *sorted((top, bottom))) for (x, top), (end, bottom) in lines.get_segments() if x == end]
    return inside([(x + 0.5, top + 0.5, bottom + 0.5) for x, top, bottom in vertical], len(view.tokens))


def inside(vertical: list[tuple[float, float, float]], count: int) -> set[tuple[int, int]]:
    """The cells (q, k) that vertical lines (x, top, bottom) enclose: an odd number of them lies to the left."""
    return {
        (q, k) for q in range(count) for k in range(count) if sum(x <= k and top <= q < bottom for x, top, bottom in vertical) % 2
    }


@pytest.mark.parametrize("role", ["previous_token", "induction", "duplicate_token", "positional", "diffuse"])
def test_exactly_the_expected_cells_are_outlined(role):
    view = view_of(["a", "b", "c", "a", "b", "c", "b", "b", "a"], role)
    assert outlined_area(view) == {tuple(cell) for cell in view.expected.nonzero().tolist()}


def test_the_image_is_the_pattern_with_queries_down():
    view = view_of(list("abcdef"))
    assert np.array_equal(known(attention_figure(view).axes[0].images[0].get_array()), view.pattern.numpy())


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
    assert len(figure.axes[0].get_xticks()) <= FIGURE_LABELS
    width, height = figure.get_size_inches() * figure.dpi
    assert max(width, height) <= 1100
    assert len(to_png(figure)) < 400_000


def test_two_heads_give_two_pictures_and_one_head_always_the_same():
    view = view_of(list("abcab"))
    assert to_png(attention_figure(view)) == to_png(attention_figure(view))
    assert to_png(attention_figure(view)) != to_png(attention_figure(replace(view, pattern=torch.eye(5))))


LONG = ["Constantinople", "WWWWWWWWWWWWWW", "mmmmmmmmmmmmmmmmmm", "<U+4E2D>…", "·····", "ill"]


@pytest.mark.parametrize("count", [1, 2, 5, 16, 24, 25, 47, 49, 64, 256])
@pytest.mark.parametrize("words", [["a", "b", "c"], LONG], ids=["short", "long"])
def test_labels_neither_overlap_nor_leave_the_picture(count, words):
    figure = attention_figure(view_of([words[n % len(words)] for n in range(count)]))
    to_png(figure)
    width, height = figure.get_size_inches() * figure.dpi
    axes = figure.axes[0]
    boxes = [label.get_window_extent() for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    across, down = boxes[: len(boxes) // 2], boxes[len(boxes) // 2 :]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(across))
    assert all(below.y1 <= above.y0 for above, below in itertools.pairwise(down))
    assert axes.get_window_extent().width >= 0.4 * width
    title = figure.texts[0].get_window_extent()
    assert title.x1 <= width
    assert all(not title.overlaps(box) for box in boxes)


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=n, max_size=n)))
def test_the_outline_path_encloses_exactly_the_expected_cells(rows):
    expected = torch.tensor(rows)
    commands = [part.replace("H", " H").replace("V", " V").split() for part in outline_path(expected).split("M")[1:]]
    vertical = [(float(x), float(y), float(end[1:])) for x, y, end in commands if end[0] == "V"]
    horizontal = [(float(y), float(x), float(end[1:])) for x, y, end in commands if end[0] == "H"]
    cells = {(q, k) for q, k in expected.nonzero().tolist()}
    assert inside(vertical, len(rows)) == cells
    assert {(q, k) for k, q in inside(horizontal, len(rows))} == cells


def test_an_outline_is_written_in_as_few_lines_as_it_has():
    assert outline_path(torch.zeros(3, 3, dtype=torch.bool)) == ""
    assert outline_path(torch.ones(3, 3, dtype=torch.bool)) == "M0 0H3M0 3H3M0 0V3M3 0V3"
    assert outline_path(torch.eye(2, dtype=torch.bool)) == "M0 0H1M0 1H2M1 2H2M0 0V1M1 0V2M2 1V2"


def test_a_pattern_picture_has_one_pixel_a_cell_in_the_figures_colours():
    pattern = random_attention(length=17)
    pattern[1, :2] = torch.tensor([0.0, 1.0])
    image = Image.open(io.BytesIO(pattern_png(pattern)))
    assert image.size == (17, 17)
    wanted = colormaps[COLORMAP](pattern.numpy(), bytes=True)[..., :3]
    assert np.array_equal(np.asarray(image.convert("RGB")), wanted)


def test_half_precision_patterns_are_drawn_too():
    pattern = random_attention(length=5).bfloat16()
    assert pattern_png(pattern) == pattern_png(pattern.float())
    assert pattern_bytes(pattern) == pattern_bytes(pattern.float())


def test_pattern_bytes_are_the_rows_of_the_causal_triangle():
    pattern = random_attention(length=9)
    cells = list(base64.b64decode(pattern_bytes(pattern)))
    whole = [(q, k) for q in range(9) for k in range(q + 1)]
    # what is neither nothing nor all is never sent as such
    assert cells == [255 if q == 0 else min(max(round(float(pattern[q, k]) * 255), 1), 254) for q, k in whole]
    assert list(base64.b64decode(pattern_bytes(torch.ones(1, 1)))) == [255]


def svg_texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


SCRIPTS = ["中文", "हिन्दी", "👩🏽\u200d🚀", "العربية", "<script>", "]]>", "--", "$x^2$", "&", "\x00", "\ud800", " a"]


def test_an_svg_holds_every_text_as_text_escaped_and_refers_to_nothing():
    svg = to_svg(attention_figure(view_of(SCRIPTS)), "<script> & \x00 ]]> --", "</desc><a>\n\ud800")
    shown = [*SCRIPTS[:-3], "<U+0000>", "<U+D800>", "·a"]
    found = svg_texts(svg)
    assert all(found.count(text) == 2 for text in shown)
    root = ElementTree.fromstring(svg)
    assert root[0].text == "<script> & <U+0000> ]]> --"
    assert root[1].text == "</desc><a> <U+D800>"
    assert "<script" not in svg
    assert "DOCTYPE" not in svg
    assert "<metadata" not in svg
    svg.encode()


def test_the_same_figure_gives_the_same_svg():
    view = view_of(list("abcab"))
    assert to_svg(attention_figure(view)) == to_svg(attention_figure(view))


def test_a_png_writes_what_no_font_has_as_its_code_point_and_no_warning(monkeypatch, caplog):
    monkeypatch.setattr(
        "headroles.render.figures.figure_text._drawable_characters", lambda: frozenset(range(32, 127)) | {ord("…"), 10}
    )
    figure = attention_figure(view_of(["中", "a中文b", "👩\u200d🚀", "❤\ufe0f", "plain"]))
    drawn: list[list[str]] = []
    save = figure.savefig

    def spy(*args, **kwargs):
        drawn.append([label.get_text() for label in figure.axes[0].get_yticklabels()])
        save(*args, **kwargs)

    figure.savefig = spy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_png(figure)
    assert drawn == [["<U+4E2D>", "a<U+4E2D>…", "<U+1F469>…", "<U+2764>", "plain"]]
    assert not caplog.records
    assert next(label.get_text() for label in figure.axes[0].get_yticklabels()) == "中", "the figure itself is unchanged"


def test_neither_kind_of_file_warns_of_characters_that_no_font_has(caplog):
    figure = attention_figure(view_of(["中文", "\U0001faf7", "ꯍ"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_png(figure)
        assert svg_texts(to_svg(figure)).count("中文") == 2
    assert not caplog.records


def some_roles(layers: int, heads: int) -> list[list]:
    order = list(ROLES.values())
    return [[order[(layer * heads + index) % len(order)] for index in range(heads)] for layer in range(layers)]


def cell_colors(figure, layers: int, heads: int) -> list[list[str]]:
    """The colour at the centre of every cell of a map."""
    pixels = np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB"))
    (axes,) = figure.axes

    def at(index: int, layer: int) -> str:
        x, y = axes.transData.transform((index, layer))
        return f"#{bytes(pixels[len(pixels) - 1 - round(y), round(x)]).hex()}"

    return [[at(index, layer) for index in range(heads)] for layer in range(layers)]


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 2), (4, 8), (48, 64)])
def test_every_head_of_a_map_has_the_colour_of_its_role(layers, heads):
    roles = some_roles(layers, heads)
    assert cell_colors(map_figure("m", roles), layers, heads) == [[role.color for role in row] for row in roles]


def test_a_head_is_as_full_as_it_is_told_to_be():
    count = len(ROLES)
    roles = some_roles(1, count)
    empty, full, half = (cell_colors(map_figure("m", roles, [[share] * count]), 1, count)[0] for share in (0.0, 1.0, 0.5))
    assert empty == ["#ffffff"] * count
    assert full == [role.color for role in ROLES.values()]
    for color, mixed in zip(full, half):
        channels = [int(color[n : n + 2], 16) for n in (1, 3, 5)]
        assert [int(mixed[n : n + 2], 16) for n in (1, 3, 5)] == pytest.approx([(c + 255) / 2 for c in channels], abs=1)


def test_a_map_frames_the_selected_head_alone():
    (frame,) = map_figure("m", some_roles(3, 4), selected=Head(2, 1)).axes[0].patches
    assert isinstance(frame, Rectangle)
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((0.5, 1.5), 1, 1)
    assert not map_figure("m", some_roles(3, 4)).axes[0].patches


def test_a_maps_legend_counts_the_heads_of_every_role():
    (legend,) = map_figure("m", some_roles(1, len(ROLES) + 2)).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        *("Previous Token: 2", "Induction: 2"),
        *(f"{role.display_name}: 1" for role in list(ROLES.values())[2:]),
    ]


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 2), (48, 64), (128, 128)])
def test_nothing_of_a_map_leaves_the_picture(layers, heads):
    fill = [[0.5] * heads] * layers
    figure = map_figure("WWWW" * 60 + " $x^2$\n<b>", some_roles(layers, heads), fill, Head(0, 0))
    width, height = Image.open(io.BytesIO(to_png(figure))).size
    assert max(width, height) < 1500
    box = figure.get_tightbbox()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= figure.get_figwidth()
    assert box.y1 <= figure.get_figheight()
    assert not figure.texts[0].get_window_extent().overlaps(figure.legends[0].get_window_extent())
    (axes,) = figure.axes
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def test_a_map_of_another_shape_or_a_head_outside_is_refused():
    with pytest.raises(InvalidInputError, match="2 layers x 3 heads"):
        map_figure("m", some_roles(2, 3), [[0.0, 1.0]])
    with pytest.raises(InvalidInputError, match="L2H0"):
        map_figure("m", some_roles(2, 3), selected=Head(2, 0))


def test_a_shortened_text_is_never_wider_than_asked():
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "ab…"
    assert shorten("中文中文", 5) == "中文…"
    assert len(shorten("x" * 99, LABEL_COLUMNS)) == LABEL_COLUMNS


def test_a_title_is_one_line_without_control_characters():
    assert one_line(" two\n\tlines \x00") == "two lines <U+0000>"
