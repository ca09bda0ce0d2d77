"""Explorer: (model, prompt) -> Analysis. Ties models, capture, store and scoring together."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from headroles.causal import Causal, ablation_bytes
from headroles.core.heads import Attention, Head, as_head
from headroles.core.outputs.ablation import Ablation
from headroles.core.patterns.excess import control_cells
from headroles.core.readings.analysis import Analysis, HeadView, RecordSource
from headroles.core.readings.detection import is_detected
from headroles.core.readings.verdicts import read_head, read_heads, read_roles
from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL, MODELS, ModelInfo, get_model_info
from headroles.core.roles.roles import MeasuredRole, Role, get_measured_role, get_role
from headroles.core.surveys.atlas import Atlas
from headroles.core.surveys.training_run import TrainingRun
from headroles.core.text.edits import Edit, propose_edits
from headroles.core.text.tokens import clean_text
from headroles.errors import ModelLoadError, NoHeadCategoriesError, UnknownModelError
from headroles.hub.atlas_store import AtlasStore
from headroles.hub.packages import is_available, model_source
from headroles.hub.record_store import RecordStore
from headroles.hub.training_store import TrainingStore
from headroles.jobs import Job, Jobs
from headroles.models.loading.aging_cache import AgingCache
from headroles.models.model_pool import ModelPool
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.reading.batches import TokenIds, check_batch, encode_all, split_into_forwards
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import analyze_model
from headroles.settings import Settings

READINGS_SHARE = 8  # one byte for readings to so many for patterns: of a text of 40 tokens or more they take less than that
BYTES_A_PLACE = 256  # of one token that is told of a head
BYTES_A_READING = 256  # of one head in one role, at most: its numbers as Python objects, and the places that hold them
EDITS_AT_ONCE = 4  # in one forward: mostly the first of them does it
ABLATION_BYTES = 8 * 1024 * 1024
HERE = ProbeSizes(calibration=3, outputs=25)  # somebody waits: a fraction of the texts that the offline analysis takes
T = TypeVar("T")


class Explorer(Causal):
    """Answers for any number of threads. Models load on first use, as many as the memory budget holds; patterns are kept up to
    `cache_bytes`, readings up to an eighth of it, so that a text just analysed takes no second forward and no second measuring.

    `settings` are what the environment says where none are given. Raises InvalidInputError when it says what it may not.
    """

    def __init__(
        self, settings: Settings | None = None, cache_bytes: int = 256 * 1024 * 1024, pool: ModelPool | None = None
    ) -> None:
        self.settings = settings or Settings.from_environment()
        self._pool = pool or ModelPool(self.settings.memory_bytes, pinned=[EMBEDDED_MODEL])
        self._analyses: Jobs[HeadCategories] = Jobs(workers=1)  # each takes all the machine's cores
        self._store = RecordStore(self.settings)
        self._atlas = AtlasStore(self.settings, self._store.local)
        self._runs = TrainingStore(self.settings)
        self._patterns = AgingCache[Attention](cache_bytes, lambda attention: attention.patterns.nbytes)
        # each with the very record that it was made from: a newer one takes its place and never serves what was read before
        self._readings = AgingCache[tuple[HeadCategories, Analysis]](cache_bytes // READINGS_SHARE, lambda kept: _bytes(kept[1]))
        self._ablations = AgingCache[Ablation](ABLATION_BYTES, ablation_bytes)
        self._batch_lock = threading.Lock()  # the patterns of one batch are in memory at a time

    def models(self) -> tuple[ModelInfo, ...]:
        """The models that can be picked by name, in the order of the page; one that a package brings, once it was fetched."""
        return tuple(info for info in MODELS.values() if is_available(info, self.settings.home))

    def prepare(self, model: str) -> Job:
        """The load of a model, started or joined; done when it is in memory. The job raises as `analyze` does."""
        source = self._source(model)
        self._store.refresh(model)  # so that its roles come while its weights do
        return self._pool.prepare(model, source)

    def has_loaded(self, model: str) -> bool:
        """Whether a model is in memory, so that nobody need wait for it; asks for newer roles as `prepare` does.

        Raises UnknownModelError when there is no such model.
        """
        self._source(model)
        if model not in self._pool.loaded:
            return False
        self._store.refresh(model)
        return True

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

    def training(self, model: str) -> TrainingRun:
        """The recorded training run of a model, which need not be in memory; `source` says where it came from.

        Raises:
            UnknownModelError: when there is no such model.
            NoTrainingRunError: when nobody recorded one; names the models that ship with one.
            InvalidRecordError: when the one that ships is broken.
        """
        self._source(model)
        return self._runs.find(model)

    def atlas(self) -> Atlas:
        """Which share of heads plays which role, over the records at hand: the operator's own, the dataset's, those that ship.

        Asks the dataset for a newer one in the background; who asks first waits a few seconds for it.
        """
        return self._atlas.find()

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
            return self._read(reader, prompt, reader.loaded.encode(prompt), categories, source)

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
            encoded = encode_all(reader.loaded, prompts)
            found: dict[TokenIds, Analysis] = {}
            with self._batch_lock:
                for texts in split_into_forwards(set(encoded), 4 * len(categories.heads())):
                    for attention in reader.read_texts(texts):
                        self._patterns.put(_key(reader, attention.token_ids), attention)
                        found[attention.token_ids] = self._measure(reader, "", attention, categories, source)
            return [replace(found[token_ids], prompt=clean_text(prompt)) for token_ids, prompt in zip(encoded, prompts)]

        return self._use(model, work)

    def find_edits(self, model: str, prompt: str) -> dict[MeasuredRole, tuple[Edit, Analysis] | None]:
        """For each triggered role of the model that is not seen on the prompt: the smallest of the tried changes of the prompt on
        which it is, with the analysis of that text; None where none does it.

        A few are looked at in one padded forward, the smallest first, and the one that is offered once more alone. Raises as
        `analyze` does.
        """
        analysis = self.analyze(model, prompt)
        wanted = [
            get_measured_role(reading.role)
            for reading in analysis.roles
            if reading.heads and reading.role.name in analysis.heads.evidence and reading.state != "seen"
        ]
        edits = propose_edits(clean_text(prompt)) if wanted else ()
        found: dict[MeasuredRole, tuple[Edit, Analysis] | None] = dict.fromkeys(wanted)
        for first in range(0, len(edits), EDITS_AT_ONCE):
            missing = [role for role in wanted if found[role] is None]
            if not missing:
                break
            for edit, roles in self._try_edits(model, edits[first : first + EDITS_AT_ONCE], missing):
                for role in roles:
                    # padded forwards differ in the last bits
                    if found[role] is None and (alone := self.analyze(model, edit.text)).role(role).is_active:
                        found[role] = edit, alone
        return found

    def _try_edits(
        self, model: str, edits: Sequence[Edit], roles: Sequence[MeasuredRole]
    ) -> list[tuple[Edit, list[MeasuredRole]]]:
        """Which of the roles are seen on each edit that is short enough to be read."""

        def work(reader: PatternReader) -> list[tuple[Edit, list[MeasuredRole]]]:
            record, _ = self._store.find(reader.loaded.identity)
            encoded = {edit: reader.loaded.encode(edit.text) for edit in edits if reader.loaded.can_encode(edit.text)}
            seen: dict[TokenIds, list[MeasuredRole]] = {}
            with self._batch_lock:
                for texts in split_into_forwards(set(encoded.values()), 4 * len(record.heads())):
                    for attention in reader.read_texts(texts):
                        seen[attention.token_ids] = [role for role in roles if is_detected(role, attention, record)]
            return [(edit, seen[token_ids]) for edit, token_ids in encoded.items()]

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
            categories, source = self._store.find(reader.loaded.identity)
            which.check_inside(categories.num_layers, categories.num_heads, categories.layers)
            token_ids = reader.loaded.encode(prompt)
            heads = self._read(reader, prompt, token_ids, categories, source).heads
            attention = self._attention(reader, token_ids)
            primary = categories.primary_role(which)
            looked_for, window = asked or primary, attention.window(which.layer)
            expected = looked_for.expected_keys(torch.tensor(attention.token_ids), window, attention.delimiters)
            readings = read_head(heads, which)
            looked_at = readings.get(looked_for.name)
            return HeadView(
                model=model,
                prompt=clean_text(prompt),
                tokens=attention.tokens,
                num_layers=attention.num_layers,
                num_heads=attention.num_heads,
                head=which,
                role=looked_for,
                primary=primary,
                pattern=attention.pattern(which),
                expected=expected,
                readings=readings,
                eligible_counts=heads.tokens,
                other_layers=attention.other_layers,
                has_sink=attention.has_sink,
                suggested_prompt=categories.suggested_prompt(looked_for),
                controls=control_cells(expected, looked_at.evidence[0].query, window)
                if looked_at and looked_at.evidence
                else None,
                source=source,
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
        record = analyze_model(reader, HERE, on_progress=lambda share: job.report(share, note))
        try:
            self._store.save(record)
        except OSError as error:
            raise ModelLoadError(f"The record of {reader.loaded.name} could not be kept: {error.strerror}.") from error
        return record

    def _source(self, model: str) -> str | Path:
        if isinstance(model, str) and model not in MODELS and self.settings.any_model:
            if not model.strip() or len(model) > 300 or not model.isprintable():
                raise UnknownModelError("Type a model's name on the Hub (organisation/name) or a folder of this server.")
            return model
        return model_source(get_model_info(model), self.settings.home)

    def _use(self, model: str, work: Callable[[PatternReader], T]) -> T:
        return self._pool.use(model, self._source(model), work)

    def _attention(self, reader: PatternReader, token_ids: TokenIds) -> Attention:
        key = _key(reader, token_ids)
        attention = self._patterns.get(key)
        if attention is None:
            attention = reader.read(token_ids)
            self._patterns.put(key, attention)
        return attention

    def _read(
        self, reader: PatternReader, prompt: str, token_ids: TokenIds, record: HeadCategories, source: RecordSource
    ) -> Analysis:
        """The analysis of a prompt: kept from the last time, if it was made from this very record, or else measured."""
        kept = self._readings.get(_key(reader, token_ids))
        if kept is None or kept[0] is not record:
            return self._measure(reader, prompt, self._attention(reader, token_ids), record, source)
        return replace(kept[1], prompt=clean_text(prompt), source=source)  # other texts may have the same tokens

    def _measure(
        self, reader: PatternReader, prompt: str, attention: Attention, record: HeadCategories, source: RecordSource
    ) -> Analysis:
        analysis = analysis_of(prompt, attention, record, source)
        self._readings.put(_key(reader, attention.token_ids), (record, analysis))
        return analysis


def analysis_of(prompt: str, attention: Attention, categories: HeadCategories, source: RecordSource) -> Analysis:
    """What a model's record says of attention that was read from it on a prompt.

    Raises:
        InvalidRecordError: when the record belongs to a model of another shape.
    """
    heads = read_heads(attention, categories)
    return Analysis(
        model=attention.model,
        prompt=clean_text(prompt),
        tokens=attention.tokens,
        source=source,
        num_layers=attention.num_layers,
        num_heads=attention.num_heads,
        roles=read_roles(heads, categories),
        heads=heads,
        other_layers=attention.other_layers,
        has_sink=attention.has_sink,
    )


def _key(reader: PatternReader, token_ids: TokenIds) -> tuple[str, str, TokenIds]:
    return reader.loaded.name, reader.loaded.revision, token_ids


def _bytes(analysis: Analysis) -> int:
    """About what an analysis takes, each token's text counted as one reading."""
    heads = analysis.num_layers * analysis.num_heads
    places = sum(len(places) for table in analysis.heads.evidence.values() for row in table for places in row)
    return BYTES_A_READING * (heads * len(analysis.roles) + len(analysis.tokens)) + BYTES_A_PLACE * places
