"""What is published of single heads: the facts that ship, what they may not say, and how the page names them."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from headroles.core.heads import Head
from headroles.core.roles.literature import (
    LITERATURE,
    Claim,
    KnownModel,
    claims,
    known_model,
    known_models,
    published_claims,
)
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.errors import InvalidInputError
from headroles.render.wording.sources import describe_claims
from tests.fixtures.known import known

SHAPES = {
    "gpt2": (12, 12),
    "gpt2-medium": (24, 16),
    "gpt2-large": (36, 20),
    "gpt2-xl": (48, 25),
    "distilgpt2": (6, 12),
    "EleutherAI/pythia-70m": (6, 8),
    "EleutherAI/pythia-160m": (12, 12),
    "EleutherAI/pythia-410m": (24, 16),
    "EleutherAI/pythia-1.4b": (24, 16),
    "EleutherAI/pythia-2.8b": (32, 32),
    "EleutherAI/gpt-neo-125m": (12, 12),
    "EleutherAI/gpt-j-6b": (28, 16),
}
EVERY_CLAIM = [(model, claim) for model in known_models() for claim in claims(model)]
FACT = {
    "job": "induction",
    "role": "induction",
    "heads": [[0, 1]],
    "setting": "random tokens",
    "kind": "primary",
    "cited_as": "Somebody 2020",
    "source": "Somebody 2020, On Heads",
}


def read(**changes: object) -> KnownModel:
    """A model of 2 layers x 2 heads with one claim, `FACT` but for the changes."""
    text = json.dumps({"num_layers": 2, "num_heads": 2, "claims": [FACT | changes]})
    return TypeAdapter(KnownModel).validate_json(text)


def labels(model: str, job: str, kind: str) -> set[str]:
    return {head.label for claim in claims(model) if (claim.job, claim.kind) == (job, kind) for head in claim.heads}


def test_the_models_have_their_real_shapes():
    assert {
        model: (known(known_model(model)).num_layers, known(known_model(model)).num_heads) for model in known_models()
    } == SHAPES


@pytest.mark.parametrize(("model", "claim"), EVERY_CLAIM)
def test_every_claim_that_ships_can_be_true_of_its_model(model, claim):
    num_layers, num_heads = SHAPES[model]
    assert all(head.layer < num_layers and head.index < num_heads for head in claim.heads)
    assert len(set(claim.heads)) == len(claim.heads)
    assert claim.role is None or claim.role in {role.name for role in measured_roles()}
    assert claim.source.strip()
    assert claim.setting.strip()


@pytest.mark.parametrize(("model", "claim"), EVERY_CLAIM)
def test_a_job_of_ours_is_called_as_our_role_is(model, claim):
    ours = {role.display_name.lower(): role.name for role in measured_roles()}
    assert claim.role == ours.get(claim.job) or claim.is_second


@pytest.mark.parametrize(("model", "claim"), EVERY_CLAIM)
def test_what_a_repository_says_of_its_own_run_is_never_called_primary(model, claim):
    assert (claim.kind == "reported") == ("own run" in claim.source)


def test_primary_claims_stand_before_reported_ones():
    for model in known_models():
        kinds = [claim.kind for claim in claims(model)]
        assert kinds == sorted(kinds)


def test_the_circuit_of_the_ioi_paper_is_there_in_full():
    circuit = {claim.job: {head.label for head in claim.heads} for claim in claims("gpt2") if "(IOI)" in claim.cited_as}
    assert circuit == {
        "previous token": {"L2H2", "L4H11"},
        "induction": {"L5H5", "L6H9"},
        "fuzzy induction": {"L5H8", "L5H9"},
        "duplicate token": {"L0H1", "L3H0"},
        "fuzzy duplicate token": {"L0H10"},
        "S-inhibition": {"L7H3", "L7H9", "L8H6", "L8H10"},
        "name mover": {"L9H9", "L10H0", "L9H6"},
        "backup name mover": {"L10H10", "L10H6", "L10H2", "L10H1", "L11H2", "L9H7", "L9H0", "L11H9"},
        "negative name mover": {"L10H7", "L11H10"},
    }
    assert sum(map(len, circuit.values())) == 26


def test_the_five_induction_heads_are_primary_and_their_scores_reported():
    five = {"L5H1", "L5H5", "L6H9", "L7H2", "L7H10"}
    assert labels("gpt2", "induction", "primary") == labels("gpt2", "induction", "reported") == five
    (measured,) = [claim for claim in published_claims("gpt2", Head(7, 2), ROLES["induction"]) if claim.values]
    assert measured.kind == "reported"
    assert measured.value(Head(7, 2)) == 0.833


def test_a_claim_without_scores_gives_none():
    assert published_claims("gpt2", Head(3, 0))[0].value(Head(3, 0)) is None


def test_the_hub_calls_gpt2_by_two_names():
    assert claims("openai-community/gpt2") == claims("gpt2") != ()


@pytest.mark.parametrize("model", ["headroles-tiny", "EleutherAI/pythia-12b", "EleutherAI/pythia-160m-deduped", "", "GPT2"])
def test_nothing_is_published_of_a_model_that_nobody_wrote_about(model):
    assert known_model(model) is None
    assert claims(model) == ()
    assert published_claims(model, Head(5, 5)) == ()


def test_a_head_is_known_from_all_who_name_it_and_for_a_role_from_those_alone():
    jobs = [claim.job for claim in published_claims("gpt2", Head(10, 7))]
    assert jobs == ["negative name mover", "copy suppression", "copy suppression", "anti-induction"]
    assert published_claims("gpt2", Head(10, 7), ROLES["induction"]) == ()
    assert {claim.role for claim in published_claims("gpt2", Head(5, 5), ROLES["induction"])} == {"induction"}
    assert published_claims("gpt2", Head(5, 5), ROLES["previous_token"]) == ()


def test_a_head_that_nobody_names_is_known_from_nowhere():
    assert published_claims("gpt2", Head(3, 3)) == ()
    assert describe_claims(()) == ""


def test_a_statistic_names_no_head():
    assert {claim.job for claim in published_claims("gpt2", Head(0, 0))} == {"diffuse"}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (Head(3, 0), "known from Wang et al. 2022 (IOI): duplicate token head"),
        (Head(5, 5), "known from Wang et al. 2022 (IOI) and ARENA: induction head"),
        (Head(7, 2), "known from ARENA: induction head; from McDougall et al. 2023 (app): copier head"),
        (
            Head(10, 7),
            "known from Wang et al. 2022 (IOI): negative name mover head; from McDougall et al. 2023: copy suppression head; "
            "from McDougall et al. 2023 (app): anti-induction head",
        ),
        (Head(3, 7), "known from another repository's own run: previous token head"),
    ],
)
def test_the_page_says_who_knows_a_head(head, said):
    assert describe_claims(published_claims("gpt2", head)) == said


def test_a_reported_job_is_said_where_only_another_job_is_primary():
    primary = Claim.model_validate_json(json.dumps(FACT))
    reported = Claim.model_validate_json(json.dumps(FACT | {"job": "diffuse", "kind": "reported", "cited_as": "a run"}))
    same = Claim.model_validate_json(json.dumps(FACT | {"kind": "reported", "cited_as": "a run"}))
    assert describe_claims([reported, same, primary]) == "known from a run: diffuse head; from Somebody 2020: induction head"


def test_who_names_a_head_twice_for_one_job_is_said_once():
    claim = Claim.model_validate_json(json.dumps(FACT))
    again = Claim.model_validate_json(json.dumps(FACT | {"setting": "natural text"}))
    assert describe_claims([claim, again]) == "known from Somebody 2020: induction head"


def test_every_line_of_the_page_is_short():
    for model, (num_layers, num_heads) in SHAPES.items():
        heads = [Head(layer, index) for layer in range(num_layers) for index in range(num_heads)]
        assert max(len(describe_claims(published_claims(model, head))) for head in heads) <= 180


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"role": "inducktion"}, "inducktion is no role that is measured"),
        ({"role": "other"}, "other is no role that is measured"),
        ({"heads": []}, "names heads or a statistic"),
        ({"statistic": "heads at rest", "values": [0.5]}, "names heads or a statistic"),
        ({"heads": [], "statistic": "heads at rest"}, "needs a role and values"),
        ({"heads": [], "statistic": "heads at rest", "role": None, "values": [0.5]}, "needs a role and values"),
        ({"heads": [], "statistic": "heads at rest", "values": [0.5, 0.5]}, "has 2 values and not 1"),
        ({"heads": [], "statistic": "mean by layer", "values": [0.5]}, "has 1 values and not 2"),
        ({"heads": [[0, 0], [0, 1]], "values": [0.9]}, "2 heads have 1 values"),
        ({"values": [1.1]}, "less than or equal to 1"),
        ({"is_second": True}, "the role of induction has no second score"),
        ({"heads": [[0, 1, 2]]}, "heads.0"),
        ({"source": ""}, "source"),
        ({"kind": "rumoured"}, "kind"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_fact_that_cannot_be_true_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        read(**changes)


@pytest.mark.parametrize("head", [[2, 0], [0, 2], [0, -1]])
def test_a_head_outside_the_model_is_refused(head):
    with pytest.raises(InvalidInputError):
        read(heads=[head])


def test_the_facts_are_read_once():
    assert LITERATURE.name == "literature.json"
    assert known_model("gpt2") is known_model("openai-community/gpt2") is known_model("gpt2")
