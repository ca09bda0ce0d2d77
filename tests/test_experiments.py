"""What lessons and documents tell people to try is tried, as they tell it, on the embedded model and on a published one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from headroles.core.heads import Head
from headroles.core.outputs.direct_effects import DirectEffects
from headroles.core.readings.head_readings import HeadReading, RoleReading
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES
from headroles.core.roles.scoring import pattern_roles
from headroles.explorer import Explorer
from headroles.models.loading.loader import LoadedModel
from headroles.server.layout import EXAMPLES
from tests.fixtures.known import known
from tests.fixtures.real import REAL_MODEL

PREVIOUS, INDUCTION, DUPLICATE, CURRENT, FIRST, DELIMITER, DIFFUSE = (role.suggested_prompt for role in pattern_roles())
TEACHERS = Path(__file__).parent.parent / "docs" / "teachers.md"


@dataclass(frozen=True)
class Model:
    """A model as a visitor sees it."""

    explorer: Explorer
    name: str

    def role(self, text: str, role: str) -> RoleReading:
        return self.explorer.analyze(self.name, text).role(role)

    def is_active(self, text: str, role: str) -> bool:
        return self.role(text, role).is_active

    def longest_bar(self, text: str, role: str) -> HeadReading:
        """The head with the longest bar in a role's card."""
        return max(self.role(text, role).heads, key=lambda reading: known(reading.activation))

    def pattern(self, text: str, head: Head) -> torch.Tensor:
        return self.explorer.view_head(self.name, text, head).pattern

    def position(self, text: str, word: str, nth: int) -> int:
        """The position of the nth token with that text, from 0."""
        tokens = self.explorer.analyze(self.name, text).tokens
        return [place for place, token in enumerate(tokens) if token.strip() == word][nth]

    def most_looked_at(self, text: str, head: Head) -> str:
        """What the last token looks at most."""
        view = self.explorer.view_head(self.name, text, head)
        return view.tokens[int(view.pattern[-1].argmax())].strip()


@pytest.fixture(params=[EMBEDDED_MODEL, REAL_MODEL])
def model(request) -> Model:
    is_real = request.param == REAL_MODEL
    return Model(request.getfixturevalue("real_explorer" if is_real else "explorer"), request.param)


@pytest.mark.parametrize("role", pattern_roles(), ids=lambda role: role.name)
def test_a_role_is_active_on_its_own_suggested_prompt(model, role):
    """Where the model has heads of it at all."""
    has_heads = bool(model.explorer.categories(model.name).top_heads(role))
    assert model.is_active(role.suggested_prompt, role.name) == has_heads
    assert has_heads or role.name == "delimiter"


def test_every_example_of_the_page_is_read(model):
    for text in EXAMPLES:
        assert model.explorer.analyze(model.name, text).tokens


def test_previous_token_goes_by_position_and_not_by_meaning(model):
    head = model.longest_bar(PREVIOUS, "previous_token").head
    backwards = " ".join(reversed(PREVIOUS.split()))
    for text in (PREVIOUS, backwards, "blue seven run under happy paper sing tall", "xq zzv brrp wug flim"):
        assert model.is_active(text, "previous_token")
        pattern = model.pattern(text, head)
        # an unbroken line: each row's strong cell is one step left of its own token
        assert torch.equal(pattern[1:].argmax(-1), torch.arange(len(pattern) - 1))
        assert (pattern.diagonal(-1) > 0.5).all()


def test_induction_looks_up_the_word_that_followed_and_empties_when_nothing_repeats(model):
    head = model.longest_bar(INDUCTION, "induction").head
    with_horse = INDUCTION.replace("window", "horse")
    assert model.most_looked_at(INDUCTION, head) == "window"
    assert model.most_looked_at(with_horse, head) == "horse"
    for text in (INDUCTION, with_horse):
        once = text.removesuffix(" My uncle hid a small green")
        assert once != text
        assert model.role(once, "induction").state == "not applicable"


def test_induction_draws_a_line_where_a_passage_comes_twice_and_rests_elsewhere(model):
    text = "red green blue black white red green blue black white"
    view = model.explorer.view_head(model.name, text, model.longest_bar(text, "induction").head, ROLES["induction"])
    found = view.expected.any(-1)
    assert view.pattern[view.expected].mean() > 0.6
    assert (view.pattern[view.expected] > 0.3).all()
    assert view.pattern[~found, 0].median() > 0.5


def test_duplicate_token_loses_its_cell_with_the_copy(model):
    head = model.longest_bar(DUPLICATE, "duplicate_token").head
    row, key = model.position(DUPLICATE, "boy", 1), model.position(DUPLICATE, "boy", 0)
    with_cat = DUPLICATE.replace("and the boy", "and the cat")
    assert model.position(with_cat, "cat", 0) == row
    assert model.pattern(DUPLICATE, head)[row, key] > 0.6
    assert model.pattern(with_cat, head)[row, key] < 0.05
    for text in (DUPLICATE, with_cat):
        assert not model.is_active(text[: text.index("a story") + len("a story")], "duplicate_token")


def test_the_first_column_of_the_best_induction_head_fades_where_the_sentence_comes_again(model):
    head = model.role(FIRST, "induction").heads[0].head
    once, twice = model.pattern(FIRST, head), model.pattern(f"{FIRST} {FIRST}", head)
    assert twice[len(once) :, 0].mean() < 0.5 * once[2:, 0].mean()


def test_diffuse_does_not_mind_a_word_and_empties_on_a_text_too_short(model):
    head = model.longest_bar(DIFFUSE, "diffuse").head
    before, after = (model.pattern(text, head) for text in (DIFFUSE, DIFFUSE.replace("village", "castle")))
    moved = (before - after).abs().sum(-1).mean() / 2  # the share of attention that lies elsewhere
    assert moved < 0.05
    assert before[-8:].max() < 0.5
    assert before[-8:].amax(-1).mean() < 0.6 * before[2:8].amax(-1).mean()
    assert not model.is_active("The sun", "diffuse")


def test_current_token_goes_by_itself_and_not_by_meaning(model):
    head = model.longest_bar(CURRENT, "current_token").head
    for text in (CURRENT, " ".join(reversed(CURRENT.split())), "blue seven run under happy paper sing tall"):
        pattern = model.pattern(text, head)
        own = pattern[2:].argmax(-1) == torch.arange(2, len(pattern))
        assert own.float().mean() > 0.5  # most rows have their strong cell on the diagonal


def test_delimiter_looks_at_the_marks_and_has_nothing_to_look_at_without(published):
    model = Model(published.explorer, REAL_MODEL)
    head = model.longest_bar(DELIMITER, "delimiter").head
    tokens = model.explorer.analyze(model.name, DELIMITER).tokens
    marks = [place for place, token in enumerate(tokens) if token.strip() in (",", ".") and place]
    columns = model.pattern(DELIMITER, head)[max(marks) + 1 :].mean(0)
    assert columns[marks].sum() > 0.4
    without = DELIMITER.replace(",", "").replace(".", "")
    assert model.role(without, "delimiter").state == "not applicable"


def test_there_are_heads_that_no_role_names(model):
    assert model.explorer.categories(model.name).heads_without_role()


def test_the_teachers_lesson_in_three_sentences_is_the_one_that_was_tried():
    told = TEACHERS.read_text("utf-8")
    (lesson,) = re.findall(r"\*\*A lesson in three sentences\.\*\* (.*?)\n\n", told, re.S)
    assert f"`{INDUCTION}`" in lesson
    assert re.findall(r'"(\w+)"', lesson) == ["window", "window", "horse", "horse"]


def neox_values(loaded: LoadedModel) -> Callable[[int, int], tuple[str, slice, torch.Tensor]]:
    """Where a head's values come out, and what carries them into the residual stream."""
    config = loaded.model.config
    width = config.hidden_size // config.num_attention_heads

    def of(layer: int, head: int) -> tuple[str, slice, torch.Tensor]:
        attention = f"gpt_neox.layers.{layer}.attention"
        written = loaded.model.get_parameter(f"{attention}.dense.weight")[:, head * width : (head + 1) * width]
        first = 3 * width * head + 2 * width
        return f"{attention}.query_key_value", slice(first, first + width), written

    return of


def llama_values(loaded: LoadedModel) -> Callable[[int, int], tuple[str, slice, torch.Tensor]]:
    config = loaded.model.config
    width, shared = config.head_dim, config.num_attention_heads // config.num_key_value_heads

    def of(layer: int, head: int) -> tuple[str, slice, torch.Tensor]:
        attention = f"model.layers.{layer}.self_attn"
        written = loaded.model.get_parameter(f"{attention}.o_proj.weight")[:, head * width : (head + 1) * width]
        return f"{attention}.v_proj", slice(width * (head // shared), width * (head // shared + 1)), written

    return of


def test_resting_heads_take_little_from_the_first_token(model):
    """`first_token.html`: the first token's value, carried through the head's part of the output projection, is often small."""

    def share_that_take_little(reader) -> tuple[int, int]:
        loaded = reader.loaded
        values = (llama_values if loaded.model.config.model_type == "llama" else neox_values)(loaded)
        seen: dict[str, torch.Tensor] = {}
        resting = [head.head for head in model.role(FIRST, "positional").heads if known(head.activation) > 0.5]
        with loaded.lock, torch.no_grad():
            modules = dict(loaded.model.named_modules())
            names = {values(head.layer, head.index)[0] for head in resting}
            hooks = [
                modules[name].register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out[0]))
                for name in names
            ]
            loaded.model.base_model(input_ids=torch.tensor([loaded.encode(FIRST)]))
            for hook in hooks:
                hook.remove()
        little = 0
        for head in resting:
            name, place, written = values(head.layer, head.index)
            sizes = (seen[name][:, place] @ written.T).norm(dim=-1)
            little += int(sizes[0] < 0.5 * sizes[1:].mean())
        return little, len(resting)

    little, resting = model.explorer._use(model.name, share_that_take_little)
    assert little >= resting / 2 > 0


NAMES = "When Mary and John went to the store, John gave a drink to"


@dataclass(frozen=True)
class Published:
    """The model that has name movers, suppressors and successors."""

    explorer: Explorer

    def writes(self, text: str, role: str) -> DirectEffects:
        return self.explorer.effects(REAL_MODEL, text, role=role)


@pytest.fixture
def published(real_explorer) -> Published:
    return Published(real_explorer)


def most_read(writes: DirectEffects) -> str:
    return writes.tokens[max(range(len(writes.by_key)), key=lambda key: abs(writes.by_key[key]))].strip()


@pytest.mark.parametrize("name", ["Mary", "Anna"])
def test_name_movers_raise_the_name_that_they_read(published, name):
    writes = published.writes(NAMES.replace("Mary", name), "name_mover")
    assert writes.top_token.token.strip() == name == most_read(writes)
    assert writes.total_effect(writes.top_token) > max(writes.control_effects(writes.top_token))
    assert name in [word.token.strip() for word in writes.raised]


def test_copy_suppression_lowers_the_name_and_without_it_the_model_is_surer(published):
    writes = published.writes(NAMES, "copy_suppression")
    assert most_read(writes) == "Mary"
    assert writes.total_effect(writes.top_token) < min(writes.control_effects(writes.top_token))
    lost = published.explorer.ablate(REAL_MODEL, NAMES, role="copy_suppression")
    assert lost.top_token.after > lost.top_token.before


@pytest.mark.parametrize(
    ("days", "following"), [("Monday, Tuesday, Wednesday", "Thursday"), ("Wednesday, Monday, Tuesday", "Wednesday")]
)
def test_the_successor_raises_the_day_that_comes_after_the_last_one(published, days, following):
    writes = published.writes(f"The days are {days},", "successor")
    assert writes.top_token.token.strip() == following
    assert writes.total_effect(writes.top_token) > max(writes.control_effects(writes.top_token))
