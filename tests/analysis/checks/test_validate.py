"""A record held against the literature: a made-up GPT-2 that is as published, and what changes when one score does not fit."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
import torch

from analysis.__main__ import main
from analysis.checks.validate import agree, report, run, validate
from headroles.core.heads import Head
from headroles.core.records.head_categories import HeadCategories, Recipe
from headroles.core.records.record_builder import build_record, with_scores
from headroles.core.records.record_files import write_record
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.literature import claims
from headroles.core.roles.roles import ROLES, measured_roles
from headroles.errors import InvalidRecordError
from tests.fixtures.known import known

INDUCTION = ROLES["induction"]
RECIPE = Recipe(
    transformer_lens=None,
    transformers="5",
    torch="2",
    dtype="float32",
    seed=0,
    prepend_bos=False,
    tokenizer_sha256="0",
    repeated_sequences=1,
    repeat_length=2,
    sentences=1,
)
JUDGED = 56  # 47 heads in roles of ours, 7 in second scores and two statistics of GPT-2
Scores = dict[str, torch.Tensor]


def scores_as_published(model: str = "gpt2", num_layers: int = 12, num_heads: int = 12) -> Scores:
    """Scores [layer, head] of every role: what is published of a head, 0.7 where it has no number, else 0.1.

    In the first-token role every layer's mean is as published, with as many of its heads at rest as that allows: 108 of 144.
    """
    scores = {role.name: torch.full((num_layers, num_heads), 0.1) for role in measured_roles()}
    for claim in claims(model):
        for head in claim.heads:
            if claim.role and not claim.is_second:
                table, value = scores[claim.role], claim.value(head) or max(0.7, ROLES[claim.role].threshold)
                table[head.layer, head.index] = max(table[head.layer, head.index].item(), value)
        if claim.statistic == "mean by layer":
            scores["positional"] = torch.stack([resting_layer(mean, num_heads) for mean in claim.values])
    return scores


def resting_layer(mean: float, num_heads: int) -> torch.Tensor:
    """Scores [head] of that mean: 0, but for as many as can share it at 0.5 or more."""
    resting = min(num_heads, int(mean * num_heads / 0.5))
    scores = torch.zeros(num_heads)
    scores[:resting] = mean * num_heads / resting
    return scores


def record_of(
    scores: Scores, model: str = "gpt2", changes: Mapping[tuple[str, Head], float] = MappingProxyType({})
) -> HeadCategories:
    """With second scores as published, but for the changes."""
    made = build_record(scores, model_name=model, revision="r", date="2026-01-01", recipe=RECIPE)
    seconds = {role.name: torch.zeros(1, *scores[role.name].shape) for role in measured_roles() if role.measure.second}
    for claim in claims(model):
        for head in claim.heads if claim.is_second else ():
            table = seconds[str(claim.role)][0]
            if head.layer < table.shape[0] and head.index < table.shape[1]:
                table[head.layer, head.index] = known(claim.value(head))
    for (role, head), second in changes.items():
        seconds[role][0, head.layer, head.index] = second
    return with_scores(made, {name: scores[name][None] for name in seconds}, seconds)


def test_what_is_published_of_a_second_score_is_held_against_that_and_open_where_there_is_none():
    off = {("name_mover", Head(9, 6)): 0.2, ("copy_suppression", Head(10, 7)): 0.2}
    made = record_of(scores_as_published(), changes=off)
    assert {(v.claim.role, v.subject) for v in validate(made) if v.agrees is False} == {(role, head.label) for role, head in off}
    older = made.model_copy(update={"second_scores": None})
    assert {v.agrees for v in validate(older) if v.claim.is_second} == {None}


def changed(role: str, head: Head, score: float) -> HeadCategories:
    """The record of GPT-2 as published, but for one score."""
    scores = scores_as_published()
    scores[role][head.layer, head.index] = score
    return record_of(scores)


def refused(record: HeadCategories) -> list[tuple[str, str, int | None]]:
    return [(v.claim.job, v.subject, v.rank) for v in validate(record) if v.agrees is False]


def test_a_record_as_published_agrees_with_every_claim():
    verdicts = validate(record_of(scores_as_published()))
    claimed = [(claim.job, head.label) for claim in claims("gpt2") for head in claim.heads]
    assert [(v.claim.job, v.subject) for v in verdicts if v.claim.heads] == claimed
    assert len(verdicts) == len(claimed) + 2
    assert {v.agrees for v in verdicts if v.claim.role} == {True}
    assert {v.agrees for v in verdicts if not v.claim.role} == {None}


def test_a_head_pushed_down_makes_its_claim_disagree_alone_with_its_rank():
    record = changed("duplicate_token", Head(3, 0), 0.09)
    assert refused(record) == [("duplicate token", "L3H0", 144)]


def test_a_head_that_three_name_disagrees_with_all_three():
    assert refused(changed("induction", Head(5, 5), 0.3)) == [("induction", "L5H5", 5)] * 3


def test_a_head_just_at_the_threshold_agrees():
    assert refused(changed("duplicate_token", Head(3, 0), ROLES["duplicate_token"].threshold)) == []


def test_equal_scores_share_the_better_rank():
    scores = scores_as_published()
    scores["induction"].fill_(0.5)
    scores["induction"][0, 0] = 0.6
    ranks = {v.rank for v in validate(record_of(scores)) if v.claim.role == "induction"}
    assert ranks == {2}


def test_the_best_head_has_rank_1():
    verdicts = [v for v in validate(record_of(scores_as_published())) if v.subject == "L5H5"]
    assert {(v.rank, round(known(v.ours), 3)) for v in verdicts} == {(1, 0.932)}
    assert [v.published for v in verdicts] == [None, None, 0.932]


@pytest.mark.parametrize(
    ("ours", "published", "agrees"),
    [
        (0.4, None, True),
        (0.399, None, False),
        (0.4, 0.95, True),
        (0.95, 0.4, True),
        (0.399, 0.4, False),
        (0.35, 0.2, True),
        (0.36, 0.2, False),
        (0.05, 0.2, True),
        (0.04, 0.2, False),
    ],
)
def test_a_score_agrees_at_the_threshold_or_near_a_published_one_below_it(ours, published, agrees):
    assert INDUCTION.threshold == 0.4
    assert agree(INDUCTION, ours, published) is agrees


def test_a_job_without_a_role_of_ours_is_shown_with_what_the_head_mainly_does():
    record = changed("induction", Head(7, 3), 0.6)
    (verdict,) = [v for v in validate(record) if v.subject == "L7H3"]
    assert (verdict.agrees, verdict.ours, verdict.rank, verdict.mainly) == (None, None, None, INDUCTION)


@pytest.mark.parametrize(("resting", "agrees"), [(0.736, True), (0.60, True), (0.57, False), (0.88, True), (0.90, False)])
def test_the_share_of_heads_at_rest_may_be_off_by_a_little(resting, agrees):
    scores = scores_as_published()
    flat = torch.full((144,), 0.4)
    flat[: round(144 * resting)] = 0.5
    scores["positional"] = flat.reshape(12, 12)
    (verdict,) = [v for v in validate(record_of(scores)) if v.claim.statistic == "heads at rest"]
    assert verdict.agrees is agrees
    assert verdict.ours == pytest.approx(resting, abs=1 / 144)
    assert verdict.published == 0.736


def layers_alike(scores: Scores) -> None:
    scores["positional"] = torch.full((12, 12), 0.6)


def layers_reversed(scores: Scores) -> None:
    scores["positional"] = scores["positional"].flip(0)


def layers_scaled(scores: Scores) -> None:
    scores["positional"] = scores["positional"] / 2 + 0.2


@pytest.mark.parametrize(("change", "ours"), [(layers_alike, 0.0), (layers_reversed, None), (layers_scaled, 1.0)])
def test_the_layers_must_follow_the_published_ones(change, ours):
    scores = scores_as_published()
    change(scores)
    (verdict,) = [v for v in validate(record_of(scores)) if v.claim.statistic == "mean by layer"]
    assert verdict.agrees is (ours == 1.0)
    assert ours is None or verdict.ours == pytest.approx(ours, abs=1e-4)


def test_the_correlation_is_pearsons():
    scores = scores_as_published()
    scores["positional"] = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    (verdict,) = [v for v in validate(record_of(scores)) if v.claim.statistic == "mean by layer"]
    pairs = torch.stack([scores["positional"].mean(1), torch.tensor(verdict.claim.values)])
    assert verdict.ours == pytest.approx(torch.corrcoef(pairs)[0, 1].item(), abs=1e-4)


def test_every_other_model_that_is_published_can_agree_too():
    for model, num_layers, num_heads in [("EleutherAI/pythia-160m", 12, 12), ("EleutherAI/pythia-410m", 24, 16)]:
        record = record_of(scores_as_published(model, num_layers, num_heads), model)
        text, code = run(model, record)
        assert code == 0
        heads = sum(len(claim.heads) for claim in claims(model))
        assert text.endswith(f"{heads} of {heads} claims agree.")


def test_the_report_shows_claim_and_source_ours_and_the_sum():
    record = changed("duplicate_token", Head(3, 0), 0.09)
    text = report(record, validate(record))
    lines = text.splitlines()
    claim = lines.index("duplicate token (primary)")
    assert lines[claim + 1].startswith("  source: Wang et al. 2022, Interpretability in the Wild (IOI), section 3.3")
    assert lines[claim + 3] == "  ours: L0H1"
    (row,) = [line for line in lines if line.strip().startswith("L3H0")]
    assert row.split() == ["L3H0", "0.090", "144", "NO", "First", "Token"]
    assert lines[-2:] == [f"{JUDGED - 1} of {JUDGED} claims agree.", "17 more name jobs that none of our roles measures."]


def test_the_columns_of_the_report_stand_under_their_heads():
    text = report(record_of(scores_as_published()), validate(record_of(scores_as_published())))
    header, *_ = [line for line in text.splitlines() if "mainly here" in line]
    rows = [line for line in text.splitlines() if line.startswith("  L")]
    assert len(rows) == sum(len(claim.heads) for claim in claims("gpt2"))
    column = header.index("mainly here")
    names = tuple(role.display_name for role in ROLES.values())
    assert all(row[column - 1] == " " and row[column:].startswith(names) for row in rows)
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_exit_code_is_0_when_all_agrees_and_1_when_a_claim_does_not():
    assert run("gpt2", record_of(scores_as_published()))[1] == 0
    text, code = run("gpt2", changed("duplicate_token", Head(3, 0), 0.09))
    assert code == 1
    assert f"{JUDGED - 1} of {JUDGED} claims agree." in text


def test_a_record_by_the_other_name_of_the_hub_serves_as_well():
    record = record_of(scores_as_published(), "openai-community/gpt2")
    assert run("gpt2", record)[1] == run("openai-community/gpt2", record)[1] == 0


def test_without_a_record_it_says_how_to_make_one():
    text, code = run("EleutherAI/pythia-160m", None)
    assert code == 2
    assert "python -m analysis EleutherAI/pythia-160m --out DIR" in text


@pytest.mark.parametrize("with_record", [True, False])
def test_of_a_model_that_nobody_wrote_about_it_says_which_are_known(record, with_record):
    text, code = run("headroles-tiny", record if with_record else None)
    assert code == 0
    assert text.startswith("Nothing is published here about headroles-tiny; known models are gpt2, EleutherAI/pythia-160m")
    assert validate(record) == []


def test_a_record_of_another_shape_is_refused_with_both_shapes():
    small = {role.name: torch.zeros(2, 3) for role in measured_roles()}
    with pytest.raises(InvalidRecordError, match="2 layers x 3 heads, but the gpt2 of the literature has 12 x 12"):
        validate(record_of(small))


def test_a_record_of_another_model_is_refused(record):
    with pytest.raises(InvalidRecordError, match="headroles-tiny cannot be compared with what is published of gpt2"):
        run("gpt2", record)


# the command


def command(*arguments: object) -> int:
    return main(["validate", *map(str, arguments)])


def test_the_command_without_a_record_says_how_to_make_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADROLES_HOME", str(tmp_path))
    for where in ([], ["--out", tmp_path]):
        assert command("gpt2", *where) == 2
        assert capsys.readouterr().err.splitlines() == [
            "error: There is no record of gpt2 yet; make one: python -m analysis gpt2 --out DIR"
        ]


def test_the_command_reads_the_record_of_a_folder_or_of_a_model_analysed_on_the_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADROLES_HOME", str(tmp_path))
    made = record_of({role.name: torch.zeros(12, 12) for role in measured_roles()})
    for path, where in ((tmp_path / "gpt2.json", ["--out", tmp_path]), (tmp_path / "analysed" / "gpt2@r.json", [])):
        write_record(made, path)
        assert command("gpt2", *where) == 1
        assert "Published claims about gpt2" in capsys.readouterr().out


def test_the_command_has_nothing_to_compare_for_the_embedded_model_and_refuses_a_broken_record(tmp_path, capsys):
    assert command(EMBEDDED_MODEL) == 0
    assert f"Nothing is published here about {EMBEDDED_MODEL}" in capsys.readouterr().out
    (tmp_path / "gpt2.json").write_text("{", "utf-8")
    assert command("gpt2", "--out", tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: The record gpt2.json is no JSON")
