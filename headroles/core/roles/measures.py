"""How strongly a head plays a role: the Measure protocol and its kinds.

A measure owns everything that differs by kind of role. Who uses roles never asks which kind one is: it asks the measure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from headroles.core.heads import sink_mass
from headroles.core.patterns.excess import Excess, compute_excess
from headroles.core.patterns.expected_keys import reach, real_queries, visible_keys
from headroles.core.patterns.pattern_ops import Cells, entropy_and_peak, mass_at
from headroles.core.roles.measurement import Capture, Measurement
from headroles.core.roles.second_scores import SecondScore
from headroles.errors import InvalidInputError

Need = Literal["patterns", "outputs", "weights"]
Probes = Literal["repeats", "sentences", "names", "series", "none"]
Calibration = Mapping[str, object]  # what a record says of one role beyond scores; its numbers go before the measure's defaults
ExpectedKeys = Callable[[Int[Tensor, "batch query"]], Bool[Tensor, "batch query key"]]


@runtime_checkable
class Measure(Protocol):
    """The number behind a role, and all that depends on what kind of number it is.

    Attributes:
        needs: what the capture must bring, offline and at run time.
        probes: which probe texts score it: random strings that come twice, sentences, names that come back, series that go on, or
            none, as for weights.
        range: the least and the largest score there can be.
        definition: the score in words, as in a table: "share of attention on the first token".
        beats_uniform: whether uniform attention is what a head has to beat; else it has no chance mark.
        offline: where the score comes from, of a role that is not read on a text.
        takes_precedence: whether a head that has the role is mainly that, before roles that do not.
    """

    needs: ClassVar[Need]
    probes: Probes
    range: ClassVar[tuple[float, float]]
    beats_uniform: ClassVar[bool]
    offline: ClassVar[str] = "Read from the weights, so it is the same on every text"
    takes_precedence: ClassVar[bool] = True

    @property
    def definition(self) -> str:
        """The score in words, as in a table: `share of attention on the first token`."""
        ...

    def __call__(self, evidence: Capture) -> Measurement:
        """The measure of every head. Raises InvalidInputError when the evidence lacks what it `needs`."""
        ...

    def verdict(self, measured: Measurement, calibration: Calibration | None = None) -> Bool[Tensor, "batch *heads"]:
        """Which heads play the role on these texts; a record's calibration goes before the stated default."""
        ...

    @property
    def phrase(self) -> str:
        """The number behind the role on a text, as a clause with `{share}`, `{chance}`, `{score}` or `{negated}` to fill in."""
        ...

    @property
    def second(self) -> SecondScore | None:
        """Another number for the role, shown beside its score; None for none."""
        return None

    @property
    def target(self) -> str:
        """What a head of the role looks at, as in "looks at ..."; empty where it is not about that."""
        return ""

    @property
    def is_triggered(self) -> bool:
        """Whether a text calls for the role at some tokens, where the head is compared with itself at others."""
        return False

    @property
    def reads_texts(self) -> bool:
        """Whether the tokens' texts are needed, beside their ids, to tell which are delimiters."""
        return False

    def excess(
        self, patterns: Float[Tensor, "*heads query key"], token_ids: Int[Tensor, " query"], window: int | None = None
    ) -> Excess:
        """What heads do at each token that calls for the role, beyond what they do when nothing does; only where triggered."""
        raise InvalidInputError("No text triggers this role, so there is no excess.")

    def with_sink(self) -> "Measure":
        """The same measure for a model whose heads have a learned sink: one more place to look, which is no token."""
        return self

    def expected_keys(
        self,
        token_ids: Int[Tensor, " query"],
        window: int | None = None,
        delimiters: Bool[Tensor, " query"] | None = None,
    ) -> Bool[Tensor, "query key"]:
        """The cells of a pattern that the role expects to be strong, inside the window; none for a role without such cells.

        Raises InvalidInputError where it `reads_texts` and nobody says which tokens are delimiters.
        """
        return torch.zeros(len(token_ids), len(token_ids), dtype=torch.bool, device=token_ids.device)

    def expected_token(self, token_ids: Int[Tensor, " query"], query: int) -> list[int]:
        """The tokens that the role foretells as the next one after a query, the nearest key's first; none in most roles."""
        return []

    def picture(
        self, token_ids: Int[Tensor, " query"], delimiters: Bool[Tensor, " query"] | None = None
    ) -> Float[Tensor, "query key"] | None:
        """The pattern of a head that plays the role perfectly; None where a role has no picture."""
        return None

    def chance_on_probes(self, prepend_bos: bool, repeat_length: int) -> float | None:
        """The score of a head with uniform attention; None where the recipe alone does not tell."""
        return None

    def format_score(self, score: float) -> str:
        """A score as people read it, with its unit where it has one."""
        return f"{score:.2f}"

    def fill(self, value: float) -> float:
        """Where a value lies in the measure's range, 0 to 1: how full its bar is."""
        low, high = self.range
        return min(max((value - low) / (high - low), 0.0), 1.0)


@dataclass(frozen=True)
class MassOnExpectedKeys(Measure):
    """Mean attention mass on the keys that a role expects, over the eligible queries (those with such a key).

    In a layer with a sliding window, keys outside it are neither expected nor part of chance: no head could look there.

    The mask idea is TransformerLens' `head_detector`, whose `error_measure="mul"` is this value times
    eligible queries / tokens.

    Attributes:
        keys: the expected keys of every query.
        target_description: those keys in words, as in "81% of its attention goes to ...".
        active_threshold: the activation, corrected for chance, from which on a head plays the role.
        expects_sink: whether a learned sink, where there is one, is expected like the keys.
        predicts_token: whether a head that looks there predicts_token that token as the next one.
        has_sink: whether there is one.
    """

    keys: ExpectedKeys
    target_description: str
    probes: Probes = "sentences"
    active_threshold: float = 0.2
    expects_sink: bool = False
    predicts_token: bool = False
    has_sink: bool = False
    needs: ClassVar[Need] = "patterns"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    beats_uniform: ClassVar[bool] = True

    @property
    def definition(self) -> str:
        """As for every measure."""
        return f"share of attention on {self.target_description}"

    def __call__(self, evidence: Capture) -> Measurement:
        """The mean attention on the expected keys."""
        patterns, token_ids = evidence.text()
        expected = self._keys(token_ids, evidence.delimiters)
        cells = self._cells(expected, token_ids, evidence)
        batch, length = token_ids.shape
        keys = torch.bincount(cells[0] * length + cells[1], minlength=batch * length).view(batch, length)
        eligible = keys > 0
        per_token = mass_at(patterns, cells)
        places = visible_keys(token_ids, evidence.window) + int(self.has_sink)
        if self.expects_sink and self.has_sink:
            eligible = expected.any(-1) & real_queries(token_ids, evidence.lengths)  # no window hides the sink
            per_token += sink_mass(patterns) * at_heads(eligible, patterns)
            keys = keys + eligible
        chance = (keys / places).sum(-1).to(patterns.dtype)
        count = eligible.sum(-1)
        return Measurement(_mean(per_token.sum(-1), count), per_token, _mean(chance, count), eligible)

    @property
    def target(self) -> str:
        """The expected keys in words."""
        return self.target_description

    @property
    def is_triggered(self) -> bool:
        """Whether it is scored on repeats, which a text must have, too."""
        return self.probes == "repeats"

    def excess(
        self, patterns: Float[Tensor, "*heads query key"], token_ids: Int[Tensor, " query"], window: int | None = None
    ) -> Excess:
        """The attention on the expected keys beyond the larger control."""
        return compute_excess(patterns, self.expected_keys(token_ids, window), window)

    def with_sink(self) -> Measure:
        """What is expected may be the sink too; uniform attention gives the sink as much as each key."""
        target_description = f"{self.target_description} or the learned sink" if self.expects_sink else self.target_description
        return replace(self, target_description=target_description, has_sink=True)

    def verdict(self, measured: Measurement, calibration: Calibration | None = None) -> Bool[Tensor, "batch *heads"]:
        """Heads whose activation, corrected for chance as in kappa, reaches the threshold."""
        threshold = _number(calibration, "active_threshold", self.active_threshold)
        chance = measured.by_head(measured.chance)
        # kappa = (value - chance) / (1 - chance), without a division that chance 1 would break
        over = measured.values - chance >= threshold * (1 - chance)
        return measured.by_head(measured.count > 0) & over & (chance < 1)

    @property
    def phrase(self) -> str:
        """The share of attention and what chance would give."""
        where = "where a token comes back, " if self.probes == "repeats" else ""
        return f"{where}{{share}} of its attention goes to {self.target_description} ({{chance}} would by chance)"

    def expected_keys(
        self,
        token_ids: Int[Tensor, " query"],
        window: int | None = None,
        delimiters: Bool[Tensor, " query"] | None = None,
    ) -> Bool[Tensor, "query key"]:
        """The expected keys inside the window."""
        return self._keys(token_ids[None], None if delimiters is None else delimiters[None])[0] & reach(token_ids, window)

    def expected_token(self, token_ids: Int[Tensor, " query"], query: int) -> list[int]:
        """The tokens at the expected keys, where the role predicts them."""
        if not self.predicts_token:
            return []
        keys = self.expected_keys(token_ids)[query].nonzero()[:, 0].flip(0)
        return list(dict.fromkeys(token_ids[keys].tolist()))

    def _keys(
        self, token_ids: Int[Tensor, "batch query"], delimiters: Bool[Tensor, "batch query"] | None
    ) -> Bool[Tensor, "batch query key"]:
        return self.keys(token_ids)

    def _cells(
        self, expected: Bool[Tensor, "batch query key"], token_ids: Int[Tensor, "batch query"], evidence: Capture
    ) -> Cells:
        """The expected keys of all real queries, inside the window."""
        if evidence.window is not None:
            expected = expected & reach(token_ids, evidence.window)
        if evidence.lengths is not None:
            expected = expected & real_queries(token_ids, evidence.lengths)[..., None]
        batch, query, key = expected.nonzero().unbind(-1)
        return batch, query, key

    def picture(
        self, token_ids: Int[Tensor, " query"], delimiters: Bool[Tensor, " query"] | None = None
    ) -> Float[Tensor, "query key"] | None:
        """The expected keys, each with all attention."""
        return self.expected_keys(token_ids, delimiters=delimiters).float()

    def chance_on_probes(self, prepend_bos: bool, repeat_length: int) -> float | None:
        """Exact for repeats, `[BOS] + r + r` with no token twice in r; for sentences it depends on how many tokens each has."""
        if self.probes != "repeats":
            return None
        string = torch.arange(1, repeat_length + 1)
        token_ids = torch.cat([torch.zeros(int(prepend_bos), dtype=torch.long), string, string])
        return float(self(Capture(uniform_pattern(len(token_ids)).double()[None], token_ids[None])).chance)


@dataclass(frozen=True)
class MassOnDelimiters(MassOnExpectedKeys):
    """The same, on those of the expected keys that are delimiters, which ids alone do not tell."""

    @property
    def reads_texts(self) -> bool:
        """Yes: only the texts tell which tokens are delimiters."""
        return True

    def _keys(
        self, token_ids: Int[Tensor, "batch query"], delimiters: Bool[Tensor, "batch query"] | None
    ) -> Bool[Tensor, "batch query key"]:
        if delimiters is None:
            raise InvalidInputError("This role is measured on delimiters; the texts of the tokens must be given, too.")
        return super()._keys(token_ids, delimiters) & delimiters[:, None, :]


@dataclass(frozen=True)
class EntropyOfRows(Measure):
    """Mean entropy of the pattern's rows, divided by that of uniform attention, over the queries from `first_query` on.

    Attributes:
        first_query: the first query that counts.
        active_threshold: the activation from which on a head plays the role.
        peak_ceiling: the mean largest attention of a row above which it does not, whatever its entropy.
        has_sink: whether there is a learned sink, which is then one more place that attention can be spread over.
    """

    first_query: int
    probes: Probes = "sentences"
    active_threshold: float = 0.75
    peak_ceiling: float = 0.45
    has_sink: bool = False
    needs: ClassVar[Need] = "patterns"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    beats_uniform: ClassVar[bool] = False

    @property
    def definition(self) -> str:
        """As for every measure."""
        return "entropy of the attention over the tokens so far, as a share of the largest one possible"

    def __call__(self, evidence: Capture) -> Measurement:
        """The mean entropy of the rows and their mean peak."""
        patterns, token_ids = evidence.text()
        eligible = real_queries(token_ids, evidence.lengths).clone()
        eligible[:, : self.first_query] = False
        entropy, peak = entropy_and_peak(patterns)
        if self.has_sink:
            sink = sink_mass(patterns)
            entropy, peak = entropy + torch.special.entr(sink), peak.maximum(sink)
        # a window of one key leaves no choice: entropy 0, not 0 / 0
        places = (visible_keys(token_ids, evidence.window) + int(self.has_sink)).clamp(min=2)
        counted = at_heads(eligible, patterns)
        per_token = entropy / places.log() * counted
        count = eligible.sum(-1)
        peaks = _mean((peak * counted).sum(-1), count)
        chance = (count > 0).to(patterns.dtype)
        return Measurement(_mean(per_token.sum(-1), count), per_token, chance, eligible, {"peaks": peaks})

    def with_sink(self) -> Measure:
        """The sink is one more place that attention can be spread over."""
        return replace(self, has_sink=True)

    def verdict(self, measured: Measurement, calibration: Calibration | None = None) -> Bool[Tensor, "batch *heads"]:
        """Heads whose entropy reaches the threshold without a high peak."""
        threshold = _number(calibration, "active_threshold", self.active_threshold)
        ceiling = _number(calibration, "peak_ceiling", self.peak_ceiling)
        spread = (measured.values >= threshold) & (measured.details["peaks"] <= ceiling)
        return measured.by_head(measured.count > 0) & spread

    @property
    def phrase(self) -> str:
        """How evenly the attention is spread."""
        return "its attention is {share} as evenly spread as it could be"

    def picture(
        self, token_ids: Int[Tensor, " query"], delimiters: Bool[Tensor, " query"] | None = None
    ) -> Float[Tensor, "query key"] | None:
        """Uniform attention."""
        return uniform_pattern(len(token_ids))

    def chance_on_probes(self, prepend_bos: bool, repeat_length: int) -> float | None:
        """1: uniform attention has the largest entropy."""
        return 1.0


def at_heads(
    eligible: Bool[Tensor, "batch query"], patterns: Float[Tensor, "batch *heads query key"]
) -> Bool[Tensor, "batch *ones query"]:
    """The queries that count, shaped so that they meet every head."""
    return eligible.view(len(eligible), *(1,) * (patterns.ndim - 3), -1)


def uniform_pattern(length: int) -> Float[Tensor, "query key"]:
    """The pattern of a head that looks at every token so far alike."""
    return torch.tril(torch.ones(length, length)) / torch.arange(1, length + 1)[:, None]


def _mean(total: Float[Tensor, "batch *heads"], count: Int[Tensor, " batch"]) -> Float[Tensor, "batch *heads"]:
    """Divides total by count; 0 where there is nothing to count; rounding kept from leaving 0..1."""
    shape = (-1,) + (1,) * (total.ndim - 1)
    return (total / count.clamp(min=1).to(total.dtype).view(shape)).clamp(0, 1)


def _number(calibration: Calibration | None, name: str, default: float) -> float:
    """What a record's calibration says of a threshold, where it does."""
    value = (calibration or {}).get(name, default)
    return float(value) if isinstance(value, int | float) else default
