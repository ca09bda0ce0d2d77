"""Questions about causes, as a program asks them: what is refused, what is chosen, and that answers can be had again."""

import pytest

from headroles.core.heads import Head
from headroles.errors import InvalidInputError, JobCancelledError, PromptError, UnknownModelError
from headroles.render.page.lessons import LOOKS_AND_MATTERS
from tests.conftest import PLAIN, REPEATING

MODEL = "headroles-tiny"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": ["L9H0"]}, "L9H0 is outside the model: layer must be 0 to 3 and head 0 to 7"),
        ({"heads": ["king"]}, "'king' is no head"),
        ({"heads": []}, "Say which heads are meant, or which role's"),
        ({"role": "other"}, "Other is what is left over and not measured"),
        ({"role": "nonsense"}, "There is no role 'nonsense'"),
        ({"heads": ["L2H2"], "query": 15}, "query must be a token of the text, 0 to 14"),
        ({"heads": ["L2H2"], "query": True}, "query must be a token of the text"),
    ],
)
def test_what_is_no_head_role_or_token_is_refused_in_a_sentence(changes, said, explorer):
    for ask in (explorer.effects, explorer.ablate):
        with pytest.raises(InvalidInputError, match=said.replace("(", r"\(")):
            ask(MODEL, REPEATING, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "drop"}, "There is no method 'drop'; there are zero, mean, resample, null"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": 1.5}, "seed must be a whole number from 0"),
    ],
)
def test_a_method_or_seed_that_is_none_is_refused(changes, said, explorer):
    with pytest.raises(InvalidInputError, match=said):
        explorer.ablate(MODEL, REPEATING, ["L2H2"], **changes)


def test_texts_and_models_are_refused_as_everywhere(explorer):
    with pytest.raises(PromptError, match="There is no text"):
        explorer.ablate(MODEL, "  ", ["L2H2"])
    with pytest.raises(UnknownModelError):
        explorer.next_tokens("nothing", REPEATING)
    with pytest.raises(InvalidInputError, match="count must be a whole number from 1 to 50"):
        explorer.next_tokens(MODEL, REPEATING, 0)


def test_a_role_stands_for_its_heads_that_are_seen_here_strongest_first(explorer):
    seen = [head.head for head in explorer.analyze(MODEL, REPEATING).role("induction").heads if head.is_active]
    heads = explorer.effects(MODEL, REPEATING, role="induction").heads
    assert set(heads) == set(seen)
    strongest = explorer.analyze(MODEL, REPEATING).role("induction").strongest
    assert heads[0] == strongest.head


def test_where_none_is_seen_all_of_the_roles_heads_are_meant(explorer):
    reading = explorer.analyze(MODEL, PLAIN).role("previous_token")
    assert set(explorer.effects(MODEL, PLAIN, role="previous_token").heads) == {head.head for head in reading.heads}


def test_the_same_seed_gives_the_same_ablation_and_another_one_other_controls(explorer):
    first = explorer.ablate(MODEL, REPEATING, ["L2H2", "L3H1"], seed=1)
    assert explorer.ablate(MODEL, REPEATING, [Head(2, 2), (3, 1)], seed=1) == first
    other = explorer.ablate(MODEL, REPEATING, ["L2H2", "L3H1"], seed=2)
    assert other.control_sets != first.control_sets
    assert other.effect == first.effect
    assert len(first.controls) == 20


def test_made_up_words_need_the_induction_heads_and_the_control_text_does_not(explorer):
    ablation = explorer.ablate(MODEL, "Zorbat melkin frayd ustole. Zorbat melkin frayd", role="induction")
    assert ablation.importance_at_query == "matters"
    assert ablation.top_token.before > 0.5 > 0.01 > ablation.top_token.after
    assert ablation.control_text.effect.logprob_drop < 0.1
    assert len(ablation.cumulative) == len(ablation.heads) <= 8
    assert ablation.cumulative[-1] == ablation.effect


def test_the_lesson_on_what_looks_and_matters_holds_on_the_embedded_model(explorer):
    """It says that there the heads are seen and matter on both of its sentences."""
    for text in LOOKS_AND_MATTERS:
        assert explorer.analyze(MODEL, text).role("induction").state == "seen"
        assert explorer.ablate(MODEL, text, role="induction").importance_at_query == "matters"


def test_all_heads_of_the_model_can_go_and_nothing_is_left_to_compare_with(explorer):
    every = [f"L{layer}H{index}" for layer in range(4) for index in range(8)]
    ablation = explorer.ablate(MODEL, REPEATING, every)
    assert (len(ablation.controls), len(ablation.cumulative)) == (0, 8)
    assert ablation.importance_at_query == "no control"


def test_progress_rises_to_the_end_and_what_it_raises_ends_the_work(explorer):
    shares: list[float] = []
    explorer.ablate(MODEL, REPEATING, ["L2H2"], seed=50, on_progress=shares.append)
    assert shares == sorted(shares)
    assert (shares[0] > 0, shares[-1]) == (True, 1.0)

    def stop(_: float) -> None:
        raise JobCancelledError("stopped")

    with pytest.raises(JobCancelledError):
        explorer.ablate(MODEL, REPEATING, ["L2H2"], seed=51, on_progress=stop)
    before = len(shares)
    again = explorer.ablate(MODEL, REPEATING, ["L2H2"], seed=50, on_progress=shares.append)
    assert (len(shares), again.seed) == (before, 50)  # kept from the first time


def test_one_token_alone_has_no_losses_and_still_a_next_one(explorer):
    ablation = explorer.ablate(MODEL, "a", ["L2H2"])
    assert len(ablation.losses_before) == len(ablation.tokens) - 1
    assert explorer.effects(MODEL, "a", ["L2H2"], query=0).by_key[0] != 0
