"""The address: what it says comes back, and what strangers write into it is refused in a sentence."""

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.heads import Head
from headroles.core.outputs.ablation import ABLATION_METHODS
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.errors import InvalidInputError
from headroles.server.page.page_state import TABS, AblationTarget, PageState

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
heads = st.builds(Head, st.integers(0, 127), st.integers(0, 127))
outs = st.builds(
    AblationTarget, st.sampled_from(measured_roles()), st.lists(heads, unique=True, max_size=9).map(tuple)
) | st.builds(AblationTarget, st.none(), st.lists(heads, unique=True, min_size=1, max_size=9).map(tuple))
places = st.builds(
    PageState,
    model=texts,
    prompt=texts,
    head=st.none() | heads,
    role=st.none() | st.sampled_from(list(ROLES.values())),
    other_prompt=st.just("") | texts,
    other_model=st.just("") | texts,
    out=st.none() | outs,
    method=st.sampled_from(ABLATION_METHODS),
    tab=st.sampled_from(list(TABS)),
    step=st.none() | st.integers(0, 10**12 - 1),
)


def read(query: str) -> PageState:
    return PageState.from_query(dict(parse_qsl(query)))


@given(place=places)
def test_an_address_says_the_whole_place_and_its_contents_all_but_the_tab_and_the_step(place):
    assert read(place.query()) == place
    assert read(place.contents) == replace(place, tab=PageState.tab, step=None)


@given(place=places)
def test_an_address_is_plain_ascii_that_needs_no_escaping_in_html(place):
    assert not set(place.query()) & set("<>\"' ")
    assert place.query().isascii()


def test_what_an_address_leaves_out_is_as_on_a_first_visit_and_what_it_does_not_know_is_ignored():
    assert read("") == PageState()
    assert read("__theme=dark&embed=1&utm=x&model=") == PageState()
    assert read("head=l2h3").head == Head(2, 3)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("head=L2", "a head is written L2H3"),
        ("head=<script>", "a head is written L2H3"),
        ("head=L99999H0", "a head is written L2H3"),
        ("head=L٢H٣", "a head is written L2H3"),
        ("role=boss", "There is no role 'boss'; the roles are"),
        ("tab=admin", "there are explore, prompts"),
        ("tab=training&step=-1", "names a step '-1'; a step of a training is a whole number"),
        ("step=1e3", "a step of a training is a whole number"),
        ("step=٣", "a step of a training is a whole number"),
        ("out=boss", "There is no role 'boss'"),
        ("out=other", "Other is what is left over and not measured"),
        ("out=L2", "a head is written L2H3"),
        ("out=induction:<script>", "a head is written L2H3"),
        ("out=:", "it may be 1 to 512"),
        (
            "out=" + ",".join(f"L{layer}H{head}" for layer in range(30) for head in range(20)),
            "takes out 600 heads; it may be 1 to 512",
        ),
        ("out=induction&method=drop", "there are zero, mean, resample, null"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_in_one_sentence(query, message):
    with pytest.raises(InvalidInputError, match=message):
        read(query)


def test_a_lone_surrogate_does_not_break_an_address():
    assert read(PageState(prompt="a \ud800 b").query()).prompt == "a ? b"


def test_a_comparison_of_models_needs_both_in_memory():
    assert PageState(model="a", other_model="b").models == ("a", "b")
    assert PageState(model="a").models == ("a",)
