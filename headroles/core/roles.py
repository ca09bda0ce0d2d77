"""The one place where a role is defined: what it is called, how it is measured, when it counts, what people are told of it.

Offline analysis and run-time verification both call `Role.measure`, so they cannot disagree.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.errors import InvalidInputError

Shape = tuple[tuple[float, float], ...]
ExpectedKeys = Callable[[Int[Tensor, "batch query"]], Bool[Tensor, "batch query key"]]


@dataclass(frozen=True)
class Measurement:
    """One role's measure for many heads at once.

    Attributes:
        values: 0 to 1, how strongly each head plays the role; 0 where no query is eligible.
        chance: what a head with uniform attention would get.
        eligible: how many queries the mean is over.
        peaks: mean largest attention of the eligible queries, for roles that are judged by it.
    """

    values: Float[Tensor, "batch *heads"]
    chance: Float[Tensor, " batch"]
    eligible: Int[Tensor, " batch"]
    peaks: Float[Tensor, "batch *heads"] | None = None


@dataclass(frozen=True)
class MassOnExpectedKeys:
    """Mean attention mass on the keys that a role expects, over the eligible queries (those with such a key).

    In a layer with a sliding window, keys outside it are neither expected nor part of chance: no head could look there.

    The mask idea is TransformerLens' `head_detector`, whose `error_measure="mul"` is this value times
    eligible queries / tokens.
    """

    expected_keys: ExpectedKeys

    def __call__(
        self,
        patterns: Float[Tensor, "batch *heads query key"],
        token_ids: Int[Tensor, "batch query"],
        lengths: Int[Tensor, " batch"] | None = None,
        window: int | None = None,
    ) -> Measurement:
        patterns = _at_least_float32(patterns)
        expected = self.expected_keys(token_ids) & _real_queries(token_ids, lengths)[..., None] & _reach(token_ids, window)
        keys = expected.sum(-1)
        eligible = (keys > 0).sum(-1)
        visible = _reach(token_ids, window).sum(-1)
        mass = torch.einsum("b...qk,bqk->b...", patterns, expected.to(patterns.dtype))
        chance = (keys / visible).sum(-1).to(patterns.dtype)
        return Measurement(_mean(mass, eligible), _mean(chance, eligible), eligible)


@dataclass(frozen=True)
class EntropyOfRows:
    """Mean entropy of the pattern's rows, divided by that of uniform attention, over the queries from `first_query` on."""

    first_query: int

    def __call__(
        self,
        patterns: Float[Tensor, "batch *heads query key"],
        token_ids: Int[Tensor, "batch query"],
        lengths: Int[Tensor, " batch"] | None = None,
        window: int | None = None,
    ) -> Measurement:
        patterns = _at_least_float32(patterns)[..., self.first_query :, :]
        queries = _real_queries(token_ids, lengths)[:, self.first_query :].to(patterns.dtype)
        # a window of one key leaves no choice: entropy 0, not 0 / 0
        visible = _reach(token_ids, window).sum(-1)[self.first_query :].clamp(min=2)
        normalised = torch.special.entr(patterns).sum(-1) / visible.log()
        eligible = queries.sum(-1).long()
        spread = torch.einsum("b...q,bq->b...", normalised, queries)
        peaks = torch.einsum("b...q,bq->b...", patterns.amax(-1), queries)
        return Measurement(_mean(spread, eligible), (eligible > 0).to(patterns.dtype), eligible, _mean(peaks, eligible))


@dataclass(frozen=True)
class Role:
    """One job a head can have.

    Attributes:
        name: the key in records and in the API.
        display_name, icon, description, explanation: for people; `explanation` speaks to students.
        try_this: an experiment for students; every one of them works on the embedded model, and a test carries it out.
        look_for: what a head's heatmap shows when it plays the role.
        shape: stands for it in pictures, beside the colour, for those who see colours otherwise: a polygon in a unit square,
            points (x, y) with y downwards.
        looks_at: the expected keys in words, as in "81% of its attention goes to ..."; empty for roles without.
        requires_repetition: whether only a text that repeats a token can show it; scored on such texts alone.
        why_inactive: completes "Not visible here: ..." when no query of a prompt is eligible.
        suggested_prompt: a text on which it shows.
        measure: the number behind it; None for the heads that are left over.
        threshold, diversity_threshold: the score a top head needs, and one from an otherwise unheard layer.
        active_threshold: the activation a head needs on a prompt: corrected for chance, or raw where `peak_ceiling` is set.
        peak_ceiling: the mean largest attention above which a head is not active, whatever its activation.
        is_content: whether it says what a head does, and not where it rests.
        source: the paper that describes it.
    """

    name: str
    display_name: str
    icon: str
    color: str
    shape: Shape
    description: str
    explanation: str
    try_this: str
    look_for: str
    looks_at: str = ""
    requires_repetition: bool = False
    why_inactive: str = ""
    suggested_prompt: str = ""
    measure: MassOnExpectedKeys | EntropyOfRows | None = None
    threshold: float = 0.4
    diversity_threshold: float = 0.3
    active_threshold: float = 0.2
    peak_ceiling: float | None = None
    is_content: bool = False
    source: str = ""

    def expected_keys(self, token_ids: Int[Tensor, " query"], window: int | None = None) -> Bool[Tensor, "query key"]:
        """The cells of a pattern that this role expects to be strong, inside the window; none for roles without such cells."""
        if isinstance(self.measure, MassOnExpectedKeys):
            return self.measure.expected_keys(token_ids[None])[0] & _reach(token_ids, window)
        return torch.zeros(len(token_ids), len(token_ids), dtype=torch.bool, device=token_ids.device)


def previous_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Key q-1, for q >= 2: at q = 1 the previous token is also the first one."""
    q, k = _positions(token_ids)
    return ((k == q - 1) & (q >= 2)).expand(len(token_ids), -1, -1)


def first_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Key 0, for q >= 2: rows 0 and 1 have too little choice to say anything."""
    q, k = _positions(token_ids)
    return ((k == 0) & (q >= 2)).expand(len(token_ids), -1, -1)


def duplicate_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Every earlier key with the query's own token."""
    q, k = _positions(token_ids)
    return (token_ids[:, :, None] == token_ids[:, None, :]) & (k < q)


def induction_keys(token_ids: Int[Tensor, "batch query"]) -> Bool[Tensor, "batch query key"]:
    """Every key right after an earlier copy of the query's token, but never the query itself (`a a`)."""
    q, k = _positions(token_ids)
    after_copy = duplicate_keys(token_ids).roll(1, dims=-1)
    return after_copy & (k >= 1) & (k < q)


def _positions(token_ids: Int[Tensor, "*batch query"]) -> tuple[Int[Tensor, "query 1"], Int[Tensor, "1 key"]]:
    positions = torch.arange(token_ids.shape[-1], device=token_ids.device)
    return positions[:, None], positions[None, :]


def _reach(token_ids: Int[Tensor, "*batch query"], window: int | None) -> Bool[Tensor, "query key"]:
    """The keys that each query can look at: itself and those before it, at most `window` in all."""
    q, k = _positions(token_ids)
    return (k <= q) if window is None else (k <= q) & (k > q - window)


def _real_queries(token_ids: Int[Tensor, "batch query"], lengths: Int[Tensor, " batch"] | None) -> Bool[Tensor, "batch query"]:
    if lengths is None:
        return torch.ones_like(token_ids, dtype=torch.bool)
    return torch.arange(token_ids.shape[-1], device=token_ids.device) < lengths[:, None]


def _mean(total: Float[Tensor, "batch *heads"], count: Int[Tensor, " batch"]) -> Float[Tensor, "batch *heads"]:
    """total / count, 0 where there is nothing to count; rounding kept from leaving 0..1."""
    shape = (-1,) + (1,) * (total.ndim - 1)
    return (total / count.clamp(min=1).to(total.dtype).view(shape)).clamp(0, 1)


def _circle(radius: float) -> Shape:
    angles = [math.tau * corner / 24 for corner in range(24)]
    return tuple((round(0.5 + radius * math.cos(angle), 3), round(0.5 + radius * math.sin(angle), 3)) for angle in angles)


def _at_least_float32(patterns: Float[Tensor, "batch *heads query key"]) -> Float[Tensor, "batch *heads query key"]:
    return patterns if patterns.dtype == torch.float64 else patterns.float()


_ALL = (
    Role(
        name="previous_token",
        display_name="Previous Token",
        icon="arrow-left",
        color="#0072b2",
        shape=((0, 0.5), (1, 0), (1, 1)),
        description="Looks at the token right before.",
        explanation=(
            "From every token, this head looks one step back. That tells each position what came just before it, "
            "which other heads, induction heads above all, build upon. In the picture it is a line just below "
            "the diagonal."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar. Then put its words in any order you like, or type "
            "nonsense: the circle stays filled, because the head goes by position and not by meaning."
        ),
        look_for="An unbroken line just below the diagonal: each row's strong cell is one step left of its own token.",
        looks_at="the token right before",
        why_inactive="your text is too short; it takes three tokens or more.",
        suggested_prompt="Once upon a time there was a little girl who lived near a great forest.",
        measure=MassOnExpectedKeys(previous_keys),
        is_content=True,
        source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
    ),
    Role(
        name="induction",
        display_name="Induction",
        icon="repeat",
        color="#d55e00",
        shape=_circle(0.5),
        description="Finds an earlier copy of the current token and looks at what came next.",
        explanation=(
            "When a token has occurred before, this head looks at the token that followed it then. So the model can "
            "guess that the text goes on as it did the last time: after “the king and the queen … the king and the”, “queen”."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar: in the last row, “the” looks most at “queen”. Change "
            "“queen” to “bird”, and it looks at “bird”. Then delete the second “The king and the”: nothing repeats any more, "
            "and the circle empties."
        ),
        look_for=(
            "When a passage comes twice, a line of strong cells parallel to the diagonal, from where the text begins to repeat. "
            "Rows of tokens that are new often show only a strong first cell: the head found nothing and rests."
        ),
        looks_at="what followed an earlier copy of the token",
        requires_repetition=True,
        why_inactive="no word of your text comes back after others, so there is no earlier continuation to look up.",
        suggested_prompt="The king and the queen lived in a castle. The king and the",
        measure=MassOnExpectedKeys(induction_keys),
        is_content=True,
        source="Olsson et al. 2022, In-context Learning and Induction Heads",
    ),
    Role(
        name="duplicate_token",
        display_name="Duplicate Token",
        icon="copy",
        color="#009e73",
        shape=((0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)),
        description="Looks back at earlier copies of the current token.",
        explanation=(
            "When a token has occurred before, this head looks straight at the earlier copy. It notices that something "
            "comes again, where an induction head asks what came after it."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar: the row of the second “boy” has its strong cell in the "
            "column of the first “boy”. Change the second “boy” to “king”, and that cell goes out. Then delete everything after "
            "“a story”: no word comes twice any more, and the circle empties."
        ),
        look_for=(
            "Strong cells left of the diagonal, wherever the token of the row is also the token of the column. When a whole "
            "passage comes twice they form a line, one step left of the line of an induction head."
        ),
        looks_at="earlier copies of the token",
        requires_repetition=True,
        why_inactive="no word of your text comes twice.",
        suggested_prompt="The old man told the boy a story, and the boy told the old man another story.",
        measure=MassOnExpectedKeys(duplicate_keys),
        threshold=0.3,
        diversity_threshold=0.2,
        is_content=True,
        source="Wang et al. 2022, Interpretability in the Wild (IOI)",
    ),
    Role(
        name="positional",
        display_name="First Token",
        icon="anchor",
        color="#cc79a7",
        shape=((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)),
        description="Keeps its attention on the first token of the text.",
        explanation=(
            "Attention must always add up to 1, so a head with nothing to do has to put it somewhere. Many heads rest it on the "
            "first token. So a strong first-token score is often a rest state and not a job."
        ),
        try_this=(
            "Run the prompt and open a head that also stands under Induction. Then write the sentence twice in a row: in the "
            "second half the first column fades, because now the head has something to do."
        ),
        look_for=(
            "A strong first column, from top to bottom. The first row is always 1, since the first token can see only itself, "
            "and the second row has only two tokens to choose from, so neither of them counts."
        ),
        looks_at="the first token",
        why_inactive="your text is too short; it takes three tokens or more.",
        suggested_prompt="She opened the door and saw a small garden behind the house.",
        measure=MassOnExpectedKeys(first_keys),
        threshold=0.5,
        source="Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks",
    ),
    Role(
        name="diffuse",
        display_name="Diffuse",
        icon="grid",
        color="#e69f00",
        shape=((0, 0.28), (1, 0.28), (1, 0.72), (0, 0.72)),
        description="Spreads its attention evenly over many tokens.",
        explanation=(
            "This head looks at everything a little and at nothing in particular, like taking the average of the whole "
            "text so far. In the picture its rows fade evenly."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar. Change “village” to “castle”: the picture hardly changes, "
            "because the head does not pick out words. With “The sun” alone there is too little to spread over, and the circle "
            "empties."
        ),
        look_for=(
            "Rows without a really strong cell, except for the first few, and fainter the further down they are: the same "
            "attention is shared by more and more tokens."
        ),
        why_inactive="your text is too short; it takes four tokens or more.",
        suggested_prompt="The sun rose over the hills, and the village was still asleep when the first boats came home.",
        measure=EntropyOfRows(first_query=3),
        threshold=0.8,
        diversity_threshold=0.7,
        active_threshold=0.75,
        peak_ceiling=0.45,
        source="Clark et al. 2019, What Does BERT Look At?",
    ),
    Role(
        name="other",
        display_name="Other",
        icon="circle-question",
        color="#777777",
        shape=_circle(0.2),
        description="Reaches the threshold of none of the other roles.",
        explanation=(
            "Many heads have no simple name. They may follow grammar, join the pieces of a word, or do several small things "
            "at once. That is no fault of theirs: these five roles are only the best understood ones."
        ),
        try_this=(
            "Take headroles-tiny, open L2H7 in the map of all heads and look at it on three different sentences. Say in one "
            "sentence what it does, then test your sentence on a fourth text."
        ),
        look_for=(
            "Whatever comes back on every text: lines at other distances, blocks, single strong columns. L2H7 of "
            "headroles-tiny has a strong diagonal on ordinary sentences: each token looks at itself, a job that has no card "
            "here."
        ),
    ),
)

ROLES: Mapping[str, Role] = MappingProxyType({role.name: role for role in _ALL})
MEASURED_ROLES: tuple[Role, ...] = tuple(role for role in _ALL if role.measure is not None)


def get_role(name: str) -> Role:
    """The role of that name. Raises InvalidInputError that lists the names there are."""
    if not isinstance(name, str) or name not in ROLES:
        raise InvalidInputError(f"There is no role {name!r}; the roles are {', '.join(ROLES)}.")
    return ROLES[name]
