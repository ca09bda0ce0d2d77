"""Interventions on a model: what its heads write to the output, and what is lost without them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from headroles.core.heads import Head, as_head
from headroles.core.outputs.ablation import ABLATION_METHODS, Ablation, AblationMethod
from headroles.core.outputs.direct_effects import DirectEffects
from headroles.core.outputs.next_tokens import Predictions
from headroles.core.readings.analysis import Analysis
from headroles.core.roles.roles import MeasuredRole
from headroles.core.text.tokens import clean_text
from headroles.errors import InvalidInputError
from headroles.models.interventions.ablation_runs import AblationRequest, run_ablation
from headroles.models.interventions.ablator import open_ablator, open_outputs
from headroles.models.interventions.direct_effects import read_direct_effects
from headroles.models.interventions.next_tokens import predict
from headroles.models.loading.aging_cache import AgingCache
from headroles.models.loading.loader import LoadedModel
from headroles.models.reading.pattern_reader import PatternReader

T = TypeVar("T")
HeadLike = Head | str | tuple[int, int]
MAX_SEED = 2**31
ABLATION_CACHE_BYTES = 8 * 1024 * 1024
BYTES_PER_NUMBER = 100


class UseModel(Protocol):
    """Calls a function with the reader of a model, and loads the model first where it is not in memory."""

    def __call__(self, model: str, work: Callable[[PatternReader], T], /) -> T:
        """Returns what the function returns."""
        ...


@dataclass(frozen=True)
class HeadSelection:
    """The heads that a question is about.

    Attributes:
        heads: Strongest first.
        role: The role that they stand for, if they do.
        excluded_controls: Other heads of that role, which must not serve as control heads.
    """

    heads: tuple[Head, ...]
    role: MeasuredRole | None = None
    excluded_controls: frozenset[Head] = frozenset()


def select_heads(analysis: Analysis, role: MeasuredRole, heads: Sequence[HeadLike] = ()) -> HeadSelection:
    """Selects the heads that stand for a role on an analysed prompt.

    Args:
        analysis: The analysis of the prompt.
        role: The role that they stand for.
        heads: These heads; by default those in which the role is detected on the prompt, or else its top heads.

    Returns:
        The heads, with the role's other heads excluded from the controls.

    Raises:
        InvalidInputError: No heads are given, and the model has none for the role.
    """
    reading = analysis.role(role)
    detected = [head for head in reading.heads if head.is_active] or list(reading.heads)
    strongest_first = sorted(detected, key=lambda head: (-head.excess, -(head.score or 0.0)))
    selected = unique_heads(heads) or tuple(head.head for head in strongest_first)
    if not selected:
        raise InvalidInputError(f"No head of {analysis.model} has the role {role.display_name}; name some heads instead.")
    of_role = {head.head for head in (*reading.heads, *reading.other_heads)}
    return HeadSelection(selected, role, frozenset(of_role - set(selected)))


def unique_heads(heads: Sequence[HeadLike]) -> tuple[Head, ...]:
    """The heads, each once and in their order. Raises InvalidInputError for what is no head."""
    return tuple(dict.fromkeys(as_head(head) for head in heads))


class Interventions:
    """Runs interventions on selected heads; opens a model's output side at the first question.

    Args:
        use: Gives access to the models.
    """

    def __init__(self, use: UseModel) -> None:
        self._use = use
        self._ablations = AgingCache[Ablation](ABLATION_CACHE_BYTES, ablation_bytes)  # page, files and links ask for the same

    def next_tokens(self, model: str, prompt: str, count: int) -> Predictions:
        """Predicts the next token after every token of a prompt; see `Explorer.next_tokens`."""
        return self._use(model, lambda reader: predict(open_ablator(reader), prompt, reader.loaded.encode(prompt), count))

    def effects(self, model: str, prompt: str, selection: HeadSelection, query: int = -1) -> DirectEffects:
        """Reads the direct effects of the selected heads; see `Explorer.effects`."""

        def work(reader: PatternReader) -> DirectEffects:
            token_ids = reader.loaded.encode(prompt)
            check_question(reader.loaded, selection.heads, query, len(token_ids))
            return read_direct_effects(
                open_outputs(reader), prompt, token_ids, selection.heads, selection.role, query, selection.excluded_controls
            )

        return self._use(model, work)

    def ablate(
        self,
        model: str,
        prompt: str,
        selection: HeadSelection,
        method: AblationMethod = "zero",
        seed: int = 0,
        query: int = -1,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> Ablation:
        """Ablates the selected heads, and as many control heads; see `Explorer.ablate`."""
        check_ablation(method, seed)

        def work(reader: PatternReader) -> Ablation:
            token_ids = reader.loaded.encode(prompt)
            check_question(reader.loaded, selection.heads, query, len(token_ids))
            request = AblationRequest(
                token_ids, selection.heads, selection.role, selection.excluded_controls, method, seed, query % len(token_ids)
            )
            key = reader.loaded.name, reader.loaded.revision, request
            ablation = self._ablations.get(key)
            if ablation is None:
                ablation = run_ablation(open_outputs(reader), open_ablator(reader), prompt, request, on_progress)
                self._ablations.put(key, ablation)
            return replace(ablation, prompt=clean_text(prompt))  # other texts may have the same tokens

        return self._use(model, work)


def check_ablation(method: object, seed: object) -> None:
    """Raises InvalidInputError unless there is such a method and such a seed."""
    if method not in ABLATION_METHODS:
        raise InvalidInputError(f"There is no method {str(method)[:50]!r}; there are {', '.join(ABLATION_METHODS)}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < MAX_SEED:
        raise InvalidInputError(f"seed must be a whole number from 0 to {MAX_SEED - 1:,}.")


def check_question(loaded: LoadedModel, heads: Sequence[Head], query: int, num_tokens: int) -> None:
    """Raises InvalidInputError unless the model has these heads, and the text the query position."""
    for head in heads:
        head.check_inside(len(loaded.windows), loaded.identity.num_heads, loaded.layers)
    if isinstance(query, bool) or not isinstance(query, int) or not -num_tokens <= query < num_tokens:
        raise InvalidInputError(f"query must be a token of the text, 0 to {num_tokens - 1}, or counted from its end.")


def ablation_bytes(ablation: Ablation) -> int:
    """Estimates what an ablation takes: its numbers as Python objects, and the tokens and heads that they belong to."""
    numbers = 4 * len(ablation.tokens) + 4 * (len(ablation.controls) + len(ablation.cumulative))
    return BYTES_PER_NUMBER * (numbers + sum(map(len, ablation.control_sets)) + len(ablation.heads) + 100)
