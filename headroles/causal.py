"""Questions about causes, for the explorer: what heads write, and what is lost without them. Patterns alone do not tell."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from headroles.core.heads import Head, as_head
from headroles.core.outputs.ablation import ABLATION_METHODS, Ablation, AblationMethod
from headroles.core.outputs.direct_effects import DirectEffects
from headroles.core.outputs.next_tokens import Predictions
from headroles.core.readings.analysis import Analysis
from headroles.core.roles.roles import MeasuredRole, Role, get_measured_role
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
BYTES_A_NUMBER = 100


@dataclass(frozen=True)
class HeadSelection:
    """Heads that a question is about, strongest first, and the role that they stand for, if they do."""

    heads: tuple[Head, ...]
    role: MeasuredRole | None = None
    excluded_controls: frozenset[Head] = frozenset()


class Causal:
    """What an explorer can be asked beyond patterns; the model's output side is opened at the first question."""

    _ablations: AgingCache[Ablation]  # the latest: page, files and links ask for the same ones

    @abstractmethod
    def analyze(self, model: str, prompt: str) -> Analysis: ...

    @abstractmethod
    def _use(self, model: str, work: Callable[[PatternReader], T]) -> T: ...

    def next_tokens(self, model: str, prompt: str, count: int = 5) -> Predictions:
        """The likeliest next tokens after every token of a prompt, and how badly each token was foreseen.

        Raises as `analyze` does, but for the want of roles, and UnsupportedModelError when what the model writes cannot be read;
        InvalidInputError unless `count` is 1 to 50.
        """
        return self._use(model, lambda reader: predict(open_ablator(reader), prompt, reader.loaded.encode(prompt), count))

    def effects(
        self,
        model: str,
        prompt: str,
        heads: Sequence[HeadLike] = (),
        role: Role | str | None = None,
        query: int = -1,
    ) -> DirectEffects:
        """What heads write to the logits of the next token directly, split by the token that they read.

        Args:
            heads: those that are asked for; by default those of `role` that are seen here, or else its top heads.
            role: what they are looked at for.
            query: after which token; by default the last.

        Raises as `analyze` does; UnsupportedModelError when what the model writes cannot be read; InvalidInputError for heads
        outside the model, a query outside the text, or neither heads nor role.
        """
        chosen = self._chosen(model, prompt, heads, role)

        def work(reader: PatternReader) -> DirectEffects:
            token_ids = reader.loaded.encode(prompt)
            check_question(reader.loaded, chosen.heads, query, len(token_ids))
            return read_direct_effects(
                open_outputs(reader), prompt, token_ids, chosen.heads, chosen.role, query, chosen.excluded_controls
            )

        return self._use(model, work)

    def ablate(
        self,
        model: str,
        prompt: str,
        heads: Sequence[HeadLike] = (),
        role: Role | str | None = None,
        method: AblationMethod = "zero",
        seed: int = 0,
        query: int = -1,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> Ablation:
        """What is lost without heads, beside what is lost without as many others of the same layers.

        Args:
            heads, role, query: as in `effects`.
            method: `zero` takes their outputs away; `mean` puts their average on ordinary sentences in its place, `resample` what
                they put out on another text; `null` takes out of their patterns what the role adds to them.
            seed: draws the other heads and the other text.
            on_progress: called between forwards with the share that is done, 0 to 1; what it raises ends the work.

        Raises as `effects` does.
        """
        if method not in ABLATION_METHODS:
            raise InvalidInputError(f"There is no method {str(method)[:50]!r}; there are {', '.join(ABLATION_METHODS)}.")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < MAX_SEED:
            raise InvalidInputError(f"seed must be a whole number from 0 to {MAX_SEED - 1:,}.")
        chosen = self._chosen(model, prompt, heads, role)

        def work(reader: PatternReader) -> Ablation:
            token_ids = reader.loaded.encode(prompt)
            check_question(reader.loaded, chosen.heads, query, len(token_ids))
            question = AblationRequest(
                token_ids, chosen.heads, chosen.role, chosen.excluded_controls, method, seed, query % len(token_ids)
            )
            key = reader.loaded.name, reader.loaded.revision, question
            found = self._ablations.get(key)
            if found is None:
                found = run_ablation(open_outputs(reader), open_ablator(reader), prompt, question, on_progress)
                self._ablations.put(key, found)
            return replace(found, prompt=clean_text(prompt))  # other texts may have the same tokens

        return self._use(model, work)

    def _chosen(self, model: str, prompt: str, heads: Sequence[HeadLike], role: Role | str | None) -> HeadSelection:
        measured = None if role is None else get_measured_role(role)
        found = tuple(dict.fromkeys(as_head(head) for head in heads))
        if measured is None:
            if not found:
                raise InvalidInputError("Say which heads are meant, or which role's.")
            return HeadSelection(found)
        reading = self.analyze(model, prompt).role(measured)
        seen = [head for head in reading.heads if head.is_active] or list(reading.heads)
        mine = found or tuple(head.head for head in sorted(seen, key=lambda head: (-head.excess, -(head.score or 0.0))))
        if not mine:
            raise InvalidInputError(f"No head of {model} has the role {measured.display_name}; name some heads instead.")
        also = {head.head for head in (*reading.heads, *reading.other_heads)}
        return HeadSelection(mine, measured, frozenset(also - set(mine)))


def check_question(loaded: LoadedModel, heads: Sequence[Head], query: int, tokens: int) -> None:
    """Raises InvalidInputError unless there are such heads, and such a token."""
    for head in heads:
        head.check_inside(len(loaded.windows), loaded.identity.num_heads, loaded.layers)
    if isinstance(query, bool) or not isinstance(query, int) or not -tokens <= query < tokens:
        raise InvalidInputError(f"query must be a token of the text, 0 to {tokens - 1}, or counted from its end.")


def ablation_bytes(found: Ablation) -> int:
    """About what one takes: its numbers as Python objects, and the tokens and heads that they are of."""
    numbers = 4 * len(found.tokens) + 4 * (len(found.controls) + len(found.cumulative))
    return BYTES_A_NUMBER * (numbers + sum(map(len, found.control_sets)) + len(found.heads) + 100)
