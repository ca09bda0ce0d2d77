"""The sentence on all that a head is says what its scores say, whatever they are, and the same in every room."""

import csv
import io
import re
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import OTHER, RESTING, Role, get_measured_role, measured_roles
from headroles.errors import InvalidInputError
from headroles.render.api.schema import analysis_result
from headroles.render.files.exports import scores_csv
from headroles.render.page.cards import render_panel
from headroles.render.wording.head_sentences import A_LITTLE, describe_head, describe_head_view, describe_scores
from tests.conftest import PLAIN

# around the thresholds above all
SCORES = st.floats(0, 1, allow_nan=False) | st.sampled_from([0.0, 0.15, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0])
TABLES = st.fixed_dictionaries({}, optional={role.name: SCORES | st.none() for role in measured_roles()})
CLAUSE = re.compile(r"(is mainly an? |also a little |also an? |rests on )(.*?)( head)? \((-?\d\.\d\d(?: logits)?)\)")


class Clause(NamedTuple):
    how: str
    what: str
    score: str


def primary_of(scores: Mapping[str, float | None]) -> Role:
    """By the rule that a record follows: content before rest, what patterns show before what is written, and the stronger."""
    reached = [role for role in measured_roles() if (scores.get(role.name) or 0.0) >= role.threshold]
    return max(reached, key=lambda role: (role.is_content, role.measure.takes_precedence, scores[role.name]), default=OTHER)


@given(scores=TABLES, has_sink=st.booleans())
def test_it_names_what_the_scores_reach_each_once_and_nothing_else(scores, has_sink):
    primary = primary_of(scores)
    said = describe_scores(Head(3, 1), primary, scores, has_sink)
    assert said.startswith("L3H1 ")
    assert said.endswith(".")
    assert "\n" not in said
    first, *rest = said.removeprefix("L3H1 ").removesuffix(".").split("; ")
    expected = []
    if primary == OTHER:
        assert first == "reaches no role's threshold in this model"
    else:
        rest = [first, *rest]
        expected.append(
            Clause(
                "is mainly", primary.display_name.lower(), get_measured_role(primary).measure.format_score(scores[primary.name])
            )
        )
    when = "when nothing repeats" if primary.requires_repetition else "when it has nothing to do"
    first_token = "the first token or the learned sink" if has_sink else "the first token"
    places = {"current_token": "the token itself", "positional": first_token, "delimiter": "punctuation and line breaks"}
    for name, where in places.items():
        rests = scores.get(name) or 0.0
        if primary.name != name and rests >= RESTING:
            expected.append(Clause("rests on", f"{where} {when}", f"{rests:.2f}"))
    for role in measured_roles():
        score = scores.get(role.name) or 0.0
        if role.is_content and role != primary and score >= role.threshold * A_LITTLE:
            how = "also" if score >= role.threshold else "also a little"
            expected.append(Clause(how, role.display_name.lower(), role.measure.format_score(score)))
    found = []
    for clause in rest:
        match = CLAUSE.fullmatch(clause)
        assert match, clause
        found.append(Clause(re.sub(r" an?$", "", match[1].strip()), match[2], match[4]))
    assert found == expected


def test_a_head_that_does_several_things_is_told_in_one_sentence():
    scores = {"induction": 0.9, "positional": 0.98, "duplicate_token": 0.2}
    assert describe_scores(Head(18, 6), primary_of(scores), scores) == (
        "L18H6 is mainly an induction head (0.90); rests on the first token when nothing repeats (0.98); "
        "also a little duplicate token (0.20)."
    )


def test_head_page_card_programs_and_files_say_the_same_of_every_head(explorer):
    analysis = explorer.analyze(EMBEDDED_MODEL, PLAIN)
    told = {head: describe_head(analysis, head) for head in analysis.heads.heads()}
    assert [entry["description"] for entry in analysis_result(analysis, all_heads=True).model_dump()["heads"]] == list(
        told.values()
    )
    rows = list(csv.DictReader(io.StringIO(scores_csv(analysis).content.decode())))
    assert {(Head(int(row["layer"]), int(row["head"])), row["told"]) for row in rows} == set(told.items())
    for head, sentence in told.items():
        assert describe_head_view(explorer.view_head(EMBEDDED_MODEL, PLAIN, head)).startswith(f"{sentence} ")
        assert primary_of({name: table[head.layer][head.index] for name, table in analysis.heads.scores.items()}) == (
            analysis.heads.primary_role(head)
        )
    panel = render_panel(analysis)
    for reading in analysis.roles:
        for head in reading.heads:
            assert f"on the probe texts. {told[head.head]}</span>".replace("'", "&#39;") in panel
    with pytest.raises(InvalidInputError):
        describe_head(analysis, "L9H9")
