"""Explorer: (model, prompt) -> Analysis. Ties models, capture, store and scoring together."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from cachetools import LRUCache

from headroles.core.bounds import MAX_BATCH_PROMPTS
from headroles.core.heads import Attention, Head, as_head
from headroles.core.readings import Analysis, HeadView, Source
from headroles.core.records import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL, MODELS, ModelInfo, get_model_info
from headroles.core.roles import Role, get_role
from headroles.core.tokens import clean
from headroles.core.verdicts import read_head, read_heads, read_roles
from headroles.errors import InvalidInputError, ModelLoadError, NoHeadCategoriesError, PromptError, UnknownModelError
from headroles.hub.store import RecordStore
from headroles.jobs import Job, Jobs
from headroles.models.capture import PatternReader
from headroles.models.pool import ModelPool
from headroles.models.sweep import analyze_here
from headroles.settings import Settings

MAX_BATCH_BYTES = 512 * 1024 * 1024  # of the patterns that one forward over several prompts gives, padding included
TokenIds = tuple[int, ...]
T = TypeVar("T")


class Explorer:
    """Answers for any number of threads. Models load on first use, as many as the memory budget holds; patterns are kept up to
    `cache_bytes`, so that looking at a head of a prompt just analysed takes no second forward.
    """

    def __init__(
        self, settings: Settings | None = None, cache_bytes: int = 256 * 1024 * 1024, pool: ModelPool | None = None
    ) -> None:
        self.settings = settings or Settings()
        self._pool = pool or ModelPool(self.settings.memory_bytes, pinned=[EMBEDDED_MODEL])
        self._analyses: Jobs[HeadCategories] = Jobs(workers=1)  # each takes all the machine's cores
        self._store = RecordStore(self.settings)
        self._patterns: LRUCache[tuple[str, str, TokenIds], Attention] = LRUCache(
            cache_bytes, getsizeof=lambda attention: attention.patterns.nbytes
        )
        self._cache_lock = threading.Lock()
        self._batch_lock = threading.Lock()  # the patterns of one batch are in memory at a time

    def models(self) -> tuple[ModelInfo, ...]:
        """The models that can be picked by name, in the order of the page."""
        return tuple(MODELS.values())

    def prepare(self, model: str) -> Job:
        """The load of a model, started or joined; done when it is in memory. The job raises as `analyze` does."""
        source = self._source(model)
        self._store.refresh(model)  # so that its roles come while its weights do
        return self._pool.prepare(model, source)

    def categories(self, model: str) -> HeadCategories:
        """A model's record, checked against the model. Raises as `analyze` does."""
        return self._use(model, lambda reader: self._store.find(reader.loaded.identity)[0])

    def has_roles(self, model: str) -> bool:
        """Whether there is a record for a model. Raises as `analyze` does, but for the want of one."""
        try:
            self.categories(model)
        except NoHeadCategoriesError:
            return False
        return True

    def analyze(self, model: str, prompt: str) -> Analysis:
        """What every role's top heads do on a prompt.

        Raises:
            UnknownModelError, ModelLoadError, UnsupportedModelError: when there is no such model, or it cannot be read.
            NoHeadCategoriesError, InvalidRecordError: when it has no roles, or they do not fit it.
            PromptError: when the prompt is empty or too long.
            BusyError: when the models in use leave no memory for this one.
        """

        def work(reader: PatternReader) -> Analysis:
            categories, source = self._store.find(reader.loaded.identity)
            return analysis_of(prompt, self._attention(reader, prompt), categories, source)

        return self._use(model, work)

    def analyze_batch(self, model: str, prompts: Sequence[str]) -> list[Analysis]:
        """`analyze` for up to MAX_BATCH_PROMPTS prompts, in their order, from one padded forward, or from as few as
        MAX_BATCH_BYTES allows.

        Raises:
            InvalidInputError: when there are none or too many, or they are no list.
            PromptError: names the number of the first prompt that is empty or too long.
            And all that `analyze` raises.
        """
        check_batch(prompts)

        def work(reader: PatternReader) -> list[Analysis]:
            categories, source = self._store.find(reader.loaded.identity)
            encoded = _encode_all(reader, prompts)
            found: dict[TokenIds, Analysis] = {}
            with self._batch_lock:
                for texts in _forwards(set(encoded), 4 * categories.num_layers * categories.num_heads):
                    for attention in reader.read_texts(texts):
                        self._keep(reader, attention)
                        found[attention.token_ids] = analysis_of("", attention, categories, source)
            return [replace(found[token_ids], prompt=clean(prompt)) for token_ids, prompt in zip(encoded, prompts)]

        return self._use(model, work)

    def view_head(self, model: str, prompt: str, head: Head | str | tuple[int, int], role: Role | str | None = None) -> HeadView:
        """One head on a prompt, looked at for `role`, by default its primary one.

        Args:
            head: a Head, `"L2H3"` or `(2, 3)`.
            role: a role, or its name or display name.

        Raises:
            InvalidInputError: for a head outside the model, or what is no head or role.
            And all that `analyze` raises.
        """
        which, asked = as_head(head), None if role is None else get_role(role)

        def work(reader: PatternReader) -> HeadView:
            categories, _ = self._store.find(reader.loaded.identity)
            which.check_inside(categories.num_layers, categories.num_heads)
            attention = self._attention(reader, prompt)
            primary = categories.primary_role(which)
            looked_for = asked or primary
            return HeadView(
                model=model,
                prompt=clean(prompt),
                tokens=attention.tokens,
                num_layers=attention.num_layers,
                num_heads=attention.num_heads,
                head=which,
                role=looked_for,
                primary=primary,
                pattern=attention.pattern(which),
                expected=looked_for.expected_keys(torch.tensor(attention.token_ids), attention.window(which.layer)),
                readings=read_head(read_heads(attention, categories), which),
            )

        return self._use(model, work)

    def analyze_here(self, model: str) -> Job[HeadCategories]:
        """Scores all heads of a model on this machine, in the background, and keeps the record on disk; or joins who does it.

        The record then serves `analyze`. Who waits no longer calls the job's `leave`; when nobody waits, it ends and nothing is
        kept. The job raises as `analyze` does, and ModelLoadError when the disk is full.
        """
        self._source(model)

        def work(job: Job[HeadCategories]) -> HeadCategories:
            job.report(0.0, f"loading {model}")
            return self._use(model, lambda reader: self._analyze(reader, job))

        return self._analyses.start(model, work)

    def _analyze(self, reader: PatternReader, job: Job[HeadCategories]) -> HeadCategories:
        note = f"scoring all heads of {reader.loaded.name}"
        record = analyze_here(reader, on_progress=lambda share: job.report(share, note))
        try:
            self._store.keep(record)
        except OSError as error:
            raise ModelLoadError(f"The record of {reader.loaded.name} could not be kept: {error.strerror}.") from error
        return record

    def _source(self, model: str) -> str | Path:
        if isinstance(model, str) and model not in MODELS and self.settings.any_model:
            if not model.strip() or len(model) > 300 or not model.isprintable():
                raise UnknownModelError("Type a model's name on the Hub (organisation/name) or a folder of this server.")
            return model
        return get_model_info(model).source

    def _use(self, model: str, work: Callable[[PatternReader], T]) -> T:
        return self._pool.use(model, self._source(model), work)

    def _attention(self, reader: PatternReader, prompt: str) -> Attention:
        token_ids = reader.loaded.encode(prompt)
        with self._cache_lock:
            if (known := self._patterns.get(_key(reader, token_ids))) is not None:
                return known
        attention = reader.read(token_ids)
        self._keep(reader, attention)
        return attention

    def _keep(self, reader: PatternReader, attention: Attention) -> None:
        if attention.patterns.nbytes <= self._patterns.maxsize:
            with self._cache_lock:
                self._patterns[_key(reader, attention.token_ids)] = attention


def check_batch(prompts: Sequence[str]) -> None:
    """Raises InvalidInputError unless these are 1 to MAX_BATCH_PROMPTS prompts; each of them is looked at later."""
    if not isinstance(prompts, list | tuple) or not 1 <= len(prompts) <= MAX_BATCH_PROMPTS:
        count = f"; these are {len(prompts):,}" if isinstance(prompts, list | tuple) else ""
        raise InvalidInputError(f"prompts must be a list of 1 to {MAX_BATCH_PROMPTS} texts{count}.")


def _key(reader: PatternReader, token_ids: TokenIds) -> tuple[str, str, TokenIds]:
    return reader.loaded.name, reader.loaded.revision, token_ids


def _encode_all(reader: PatternReader, prompts: Sequence[str]) -> list[TokenIds]:
    encoded = []
    for number, prompt in enumerate(prompts, start=1):
        try:
            encoded.append(reader.loaded.encode(prompt))
        except PromptError as error:
            reason = str(error)
            raise PromptError(f"Prompt {number} of {len(prompts)}: {reason[:1].lower()}{reason[1:]}") from error
    return encoded


def _forwards(texts: set[TokenIds], bytes_a_cell: int) -> list[list[TokenIds]]:
    """The texts in as few groups as MAX_BATCH_BYTES allows, those of like length together, so that little is padding.

    `bytes_a_cell` is what one query-key pair takes over all heads.
    """
    groups: list[list[TokenIds]] = []
    for text in sorted(texts, key=lambda text: (len(text), text)):  # the last one of a group is its longest
        if groups and (len(groups[-1]) + 1) * len(text) ** 2 * bytes_a_cell <= MAX_BATCH_BYTES:
            groups[-1].append(text)
        else:
            groups.append([text])
    return groups


def analysis_of(prompt: str, attention: Attention, categories: HeadCategories, source: Source) -> Analysis:
    heads = read_heads(attention, categories)
    return Analysis(
        model=attention.model,
        prompt=clean(prompt),
        tokens=attention.tokens,
        source=source,
        num_layers=attention.num_layers,
        num_heads=attention.num_heads,
        roles=read_roles(heads, categories),
        heads=heads,
    )
