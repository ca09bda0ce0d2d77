"""Results as people meet them in Python: asked by name, short in print, and tables where they are tables."""

import sys

import pytest

from headroles.core.heads import Head, as_head
from headroles.core.readings.comparison import compare_models, compare_prompts
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import OTHER, ROLES, get_measured_role, get_role, measured_roles
from headroles.errors import HeadRolesError, InvalidInputError, MissingPackageError
from tests.conftest import PLAIN, REPEATING
from tests.core.readings.test_comparison import made_up


@pytest.fixture(scope="module")
def repeating(explorer):
    return explorer.analyze(EMBEDDED_MODEL, REPEATING)


@pytest.fixture(scope="module")
def plain(explorer):
    return explorer.analyze(EMBEDDED_MODEL, PLAIN)


@pytest.mark.parametrize("given", [Head(2, 3), "L2H3", "l2h3", (2, 3), [2, 3], {"layer": 2, "head": 3}])
def test_a_head_may_be_given_as_label_pair_or_mapping(given):
    assert as_head(given) == Head(2, 3)


@pytest.mark.parametrize(
    "given", ["L2", "H3L2", "", "L2H3 ", "L99999H1", (1,), (1, 2, 3), (-1, 0), ("a", 0), 7, None, {"layer": 1}]
)
def test_what_is_no_head_is_refused_in_a_sentence(given):
    with pytest.raises(InvalidInputError, match=r"is no head; |whole number"):
        as_head(given)


@pytest.mark.parametrize("given", ["induction", "Induction", " INDUCTION ", ROLES["induction"]])
def test_a_role_may_be_given_by_name_or_display_name(given, repeating):
    assert get_role(given) == ROLES["induction"]
    assert repeating.role(given).role == ROLES["induction"]


def test_what_is_no_role_or_not_measured_is_refused_with_the_names_there_are(repeating):
    for ask in (repeating.role, get_role, get_measured_role):
        with pytest.raises(InvalidInputError, match="no role 'typo'; the roles are previous_token, induction"):
            ask("typo")
    with pytest.raises(InvalidInputError, match="Other is what is left over and not measured; measured are previous_token, "):
        get_measured_role("other")
    assert repeating.role("other").role == OTHER


def test_the_explorer_takes_heads_and_roles_by_name(explorer):
    view = explorer.view_head(EMBEDDED_MODEL, REPEATING, "L2H2", "First Token")
    assert (view.head, view.role.name, view.primary.name) == (Head(2, 2), "positional", "induction")
    assert explorer.view_head(EMBEDDED_MODEL, REPEATING, (2, 2)).role.name == "induction"
    for head, role in (("L17H4", None), ((17, 4), None), ("L2H2", "typo"), (None, None)):
        with pytest.raises(HeadRolesError):
            explorer.view_head(EMBEDDED_MODEL, REPEATING, head, role)


@pytest.mark.parametrize("prompt", [["a", "b"], ("a",), 7, None, b"a"])
def test_several_texts_where_one_belongs_are_told_where_to_go(explorer, prompt):
    with pytest.raises(HeadRolesError, match=r"A text was expected, but \w+ came; several texts go to analyze_batch\."):
        explorer.analyze(EMBEDDED_MODEL, prompt)


def test_results_are_short_in_print(explorer, repeating, plain):
    view = explorer.view_head(EMBEDDED_MODEL, REPEATING, "L2H2")
    texts, models = compare_prompts(plain, repeating), compare_models(made_up(2, 2, 0, "m"), made_up(2, 2, 0, "n"))
    for result in (repeating, repeating.heads, repeating.roles[0].heads[0], view, texts, models):
        assert len(repr(result)) < 250, repr(result)
    assert repr(repeating).startswith(
        "Analysis('headroles-tiny', 'The king and the queen lived in a castle. The king and the', 15 tok"
    )
    assert "active: " in repr(repeating)


def test_results_that_are_tables_become_tables(explorer, repeating, plain):
    table = repeating.to_frame()
    assert list(table.columns)[:4] == ["model", "layer", "head", "role"]
    assert len(table) == 32 * len(measured_roles())
    row = table[(table["layer"] == 2) & (table["head"] == 2) & (table["role"] == "induction")].iloc[0]
    assert row["activation"] == repeating.heads.reading("induction", "L2H2").activation
    view = explorer.view_head(EMBEDDED_MODEL, REPEATING, "L2H2")
    cells = view.to_frame()
    assert len(cells) == len(view.tokens) * (len(view.tokens) + 1) // 2
    assert cells.groupby("query")["attention"].sum().to_list() == pytest.approx([1.0] * len(view.tokens), abs=1e-5)
    texts = compare_prompts(plain, repeating)
    assert texts.to_frame()["difference"].to_list() == [change.difference for change in texts.heads]
    models = compare_models(repeating, made_up(2, 2, 0, "n", prompt=REPEATING)).to_frame()
    assert [sum(rows["share"]) for _, rows in models.groupby("model")] == pytest.approx([1.0, 1.0])


def test_without_pandas_a_table_says_what_to_install(repeating, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match=r"A table needs pandas, .*: pip install 'headroles\[app\]'"):
        repeating.to_frame()
