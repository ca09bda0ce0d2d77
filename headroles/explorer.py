"""Explorer: the Python interface; ties models, records, analyses and interventions together."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from headroles.core.heads import Head, as_head
from headroles.core.outputs.ablation import Ablation, AblationMethod
from headroles.core.outputs.direct_effects import DirectEffects
from headroles.core.outputs.next_tokens import Predictions
from headroles.core.readings.analysis import Analysis, HeadView
from headroles.core.readings.analyze import view_head
from headroles.core.readings.detection import is_detected
from headroles.core.records.head_categories import HeadCategories
from headroles.core.registry import EMBEDDED_MODEL, MODELS, ModelInfo, get_model_info
from headroles.core.roles.roles import MeasuredRole, Role, get_measured_role, get_role
from headroles.core.surveys.atlas import Atlas
from headroles.core.surveys.training_run import TrainingRun
from headroles.core.text.edits import Edit, propose_edits
from headroles.core.text.tokens import clean_text
from headroles.errors import InvalidInputError, ModelLoadError, NoHeadCategoriesError, UnknownModelError
from headroles.hub.atlas_store import AtlasStore
from headroles.hub.packages import is_available, model_source
from headroles.hub.record_store import RecordStore
from headroles.hub.training_store import TrainingStore
from headroles.interventions import HeadLike, HeadSelection, Interventions, check_ablation, select_heads, unique_heads
from headroles.jobs import Job, Jobs
from headroles.models.model_pool import ModelPool
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.reading.analysis_cache import AnalysisCache
from headroles.models.reading.batches import TokenIds, check_batch, encode_all, split_into_forwards
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.sweep import analyze_model
from headroles.settings import Settings

EDITS_AT_ONCE = 4  # in one forward; mostly the first of them does it
HERE = ProbeSizes(calibration=3, outputs=25)  # somebody waits: a fraction of the texts that the offline analysis takes
T = TypeVar("T")


class Explorer:
    """Answers questions about models and prompts, for any number of threads.

    Models load on first use, as many as the memory budget holds. Patterns and analyses of the last texts are kept, so that a
    text that was just analysed takes no second forward and no second measuring.

    Args:
        settings: By default what the environment says.
        cache_bytes: How much the kept patterns may take; analyses may take an eighth of it beside them.
        pool: The models in memory; by default a new pool with the settings' memory budget.

    Raises:
        InvalidInputError: A setting in the environment has a value that is not allowed.
    """

    def __init__(
        self, settings: Settings | None = None, cache_bytes: int = 256 * 1024 * 1024, pool: ModelPool | None = None
    ) -> None:
        self.settings = settings or Settings.from_environment()
        self.interventions = Interventions(self._use)
        self._pool = pool or ModelPool(self.settings.memory_bytes, pinned=[EMBEDDED_MODEL])
        self._analyses: Jobs[HeadCategories] = Jobs(workers=1)  # each takes all the machine's cores
        self._store = RecordStore(self.settings)
        self._atlas = AtlasStore(self.settings, self._store.local)
        self._runs = TrainingStore(self.settings)
        self._cache = AnalysisCache(cache_bytes)
        self._batch_lock = threading.Lock()  # the patterns of one batch are in memory at a time

    def models(self) -> tuple[ModelInfo, ...]:
        """Lists the models that can be picked by name, in the order of the page.

        A model that comes as a package is listed once that package is fetched.
        """
        return tuple(info for info in MODELS.values() if is_available(info, self.settings.home))

    def prepare(self, model: str) -> Job:
        """Starts to load a model, or joins the load that is under way.

        Args:
            model: The name of a registered model; where the settings allow any model, also a repository or a folder.

        Returns:
            The job, which is done when the model is in memory. It raises as `analyze` does.
        """
        source = self._source(model)
        self._store.refresh(model)  # so that its roles come while its weights do
        return self._pool.prepare(model, source)

    def has_loaded(self, model: str) -> bool:
        """Tells whether a model is in memory, and asks for newer roles as `prepare` does.

        Raises:
            UnknownModelError: There is no such model.
        """
        self._source(model)
        if model not in self._pool.loaded:
            return False
        self._store.refresh(model)
        return True

    def categories(self, model: str) -> HeadCategories:
        """Gives a model's record, checked against the model. Raises as `analyze` does."""
        return self._use(model, lambda reader: self._store.find(reader.loaded.identity)[0])

    def has_roles(self, model: str) -> bool:
        """Tells whether there is a record for a model. Raises as `analyze` does, except NoHeadCategoriesError."""
        try:
            self.categories(model)
        except NoHeadCategoriesError:
            return False
        return True

    def training(self, model: str) -> TrainingRun:
        """Gives the recorded training run of a model, which need not be in memory.

        Raises:
            UnknownModelError: There is no such model.
            NoTrainingRunError: No run is recorded for it; the message names the models that ship with one.
            InvalidRecordError: The run that ships is broken.
        """
        self._source(model)
        return self._runs.find(model)

    def atlas(self) -> Atlas:
        """Gives the share of heads that plays each role, over all known records.

        These are the operator's own records, those of the dataset, and those that ship. A newer dataset is asked for in the
        background; the first call waits a few seconds for it.
        """
        return self._atlas.find()

    def analyze(self, model: str, prompt: str) -> Analysis:
        """Reads what every role's top heads do on a prompt.

        Args:
            model: As in `prepare`.
            prompt: The text, at most as long as the model reads.

        Returns:
            Every role with its heads, and the table of all heads.

        Raises:
            UnknownModelError: There is no such model.
            ModelLoadError: The model cannot be loaded.
            UnsupportedModelError: Its attention cannot be read.
            NoHeadCategoriesError: It has no roles.
            InvalidRecordError: Its roles do not fit it.
            PromptError: The prompt is empty or too long.
            BusyError: The models in use leave no memory for this one.
        """

        def work(reader: PatternReader) -> Analysis:
            record, source = self._store.find(reader.loaded.identity)
            return self._cache.analyze(reader, prompt, reader.loaded.encode(prompt), record, source)

        return self._use(model, work)

    def analyze_batch(self, model: str, prompts: Sequence[str]) -> list[Analysis]:
        """Analyses several prompts in one padded forward, or in as few as MAX_BATCH_BYTES allows.

        Args:
            model: As in `prepare`.
            prompts: 1 to MAX_BATCH_PROMPTS texts.

        Returns:
            The analyses in the order of the prompts.

        Raises:
            InvalidInputError: The prompts are no list, or too few or too many.
            PromptError: A prompt is empty or too long; the message gives the number of the first one.
            HeadRolesError: All else as in `analyze`.
        """
        check_batch(prompts)

        def work(reader: PatternReader) -> list[Analysis]:
            categories, source = self._store.find(reader.loaded.identity)
            encoded = encode_all(reader.loaded, prompts)
            found: dict[TokenIds, Analysis] = {}
            with self._batch_lock:
                for texts in split_into_forwards(set(encoded), 4 * len(categories.heads())):
                    for attention in reader.read_texts(texts):
                        found[attention.token_ids] = self._cache.add(reader, "", attention, categories, source)
            return [replace(found[token_ids], prompt=clean_text(prompt)) for token_ids, prompt in zip(encoded, prompts)]

        return self._use(model, work)

    def find_edits(self, model: str, prompt: str) -> dict[MeasuredRole, tuple[Edit, Analysis] | None]:
        """Finds small changes of a prompt that bring out roles which are not detected on it.

        Several changes are tried in one padded forward, the smallest first; the one that is returned is read once more alone.

        Args:
            model: As in `prepare`.
            prompt: As in `analyze`.

        Returns:
            For each triggered role of the model that is not detected: the smallest change of those tried, with the analysis of
            the changed text; None where no change does it.

        Raises:
            HeadRolesError: As in `analyze`.
        """
        return self.find_analyzed_edits(self.analyze(model, prompt))

    def find_analyzed_edits(self, analysis: Analysis) -> dict[MeasuredRole, tuple[Edit, Analysis] | None]:
        """`find_edits` for a prompt that is analysed already. Raises as `analyze` does."""
        wanted = [
            get_measured_role(reading.role)
            for reading in analysis.roles
            if reading.heads and reading.role.name in analysis.heads.evidence and reading.state != "seen"
        ]
        edits = propose_edits(analysis.prompt) if wanted else ()
        found: dict[MeasuredRole, tuple[Edit, Analysis] | None] = dict.fromkeys(wanted)
        for first in range(0, len(edits), EDITS_AT_ONCE):
            missing = [role for role in wanted if found[role] is None]
            if not missing:
                break
            for edit, roles in self._try_edits(analysis.model, edits[first : first + EDITS_AT_ONCE], missing):
                roles = [role for role in roles if found[role] is None]
                if roles:
                    alone = self.analyze(analysis.model, edit.text)  # padded forwards differ in the last bits
                    found |= {role: (edit, alone) for role in roles if alone.role(role).is_active}
        return found

    def _try_edits(
        self, model: str, edits: Sequence[Edit], roles: Sequence[MeasuredRole]
    ) -> list[tuple[Edit, list[MeasuredRole]]]:
        """Tells which of the roles are detected on each edit that is short enough to be read."""

        def work(reader: PatternReader) -> list[tuple[Edit, list[MeasuredRole]]]:
            record, _ = self._store.find(reader.loaded.identity)
            encoded = {edit: reader.loaded.encode(edit.text) for edit in edits if reader.loaded.can_encode(edit.text)}
            detected: dict[TokenIds, list[MeasuredRole]] = {}
            with self._batch_lock:
                for texts in split_into_forwards(set(encoded.values()), 4 * len(record.heads())):
                    for attention in reader.read_texts(texts):
                        detected[attention.token_ids] = [role for role in roles if is_detected(role, attention, record)]
            return [(edit, detected[token_ids]) for edit, token_ids in encoded.items()]

        return self._use(model, work)

    def view_head(self, model: str, prompt: str, head: Head | str | tuple[int, int], role: Role | str | None = None) -> HeadView:
        """Looks at one head on a prompt.

        Args:
            model: As in `prepare`.
            prompt: As in `analyze`.
            head: A Head, `"L2H3"` or `(2, 3)`.
            role: The role whose expected keys are marked, or its name; by default the head's primary role.

        Returns:
            The head's pattern, the cells that the role expects to be strong, and its readings in every measured role.

        Raises:
            InvalidInputError: The head is outside the model, or what is given is no head or no role.
            HeadRolesError: All else as in `analyze`.
        """
        head, role = as_head(head), None if role is None else get_role(role)
        return self.view_analyzed_head(self.analyze(model, prompt), head, role)

    def view_analyzed_head(self, analysis: Analysis, head: Head, role: Role | None = None) -> HeadView:
        """`view_head` on a prompt that is analysed already. Raises as `view_head` does."""

        def work(reader: PatternReader) -> HeadView:
            return view_head(analysis, self._cache.attention(reader, reader.loaded.encode(analysis.prompt)), head, role)

        return self._use(analysis.model, work)

    def next_tokens(self, model: str, prompt: str, count: int = 5) -> Predictions:
        """Predicts the next token after every token of a prompt.

        Args:
            model: As in `prepare`.
            prompt: As in `analyze`.
            count: How many of the likeliest tokens, 1 to 50.

        Returns:
            The likeliest next tokens at each position, and the loss of each token of the prompt.

        Raises:
            InvalidInputError: `count` is out of range.
            UnsupportedModelError: The model's output cannot be read.
            HeadRolesError: All else as in `analyze`, except that the model needs no roles.
        """
        return self.interventions.next_tokens(model, prompt, count)

    def effects(
        self,
        model: str,
        prompt: str,
        heads: Sequence[HeadLike] = (),
        role: Role | str | None = None,
        query: int = -1,
    ) -> DirectEffects:
        """Reads what heads write directly to the logits of the next token, split by the token that they read.

        Args:
            model: As in `prepare`.
            prompt: As in `analyze`.
            heads: The heads; by default those in which `role` is detected on the prompt, or else its top heads.
            role: The role that the heads stand for.
            query: The position after which the next token is predicted; by default the last.

        Returns:
            The direct effects of each head.

        Raises:
            InvalidInputError: A head is outside the model, the query outside the prompt, or neither heads nor role are given.
            UnsupportedModelError: The model's output cannot be read.
            HeadRolesError: All else as in `analyze`.
        """
        return self.interventions.effects(model, prompt, self._select(model, prompt, heads, role), query)

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
        """Measures what is lost without heads, beside what is lost without as many control heads of the same layers.

        Args:
            model: As in `prepare`.
            prompt: As in `analyze`.
            heads: As in `effects`.
            role: As in `effects`.
            method: What replaces the heads' outputs: `zero` nothing, `mean` their average on ordinary sentences, `resample`
                their outputs on another text. `null` removes from their patterns what the role adds to them.
            seed: Draws the control heads and the other text.
            query: As in `effects`.
            on_progress: Called between forwards with the share that is done, 0 to 1; what it raises ends the work.

        Returns:
            The losses with and without the heads, and those without the control heads.

        Raises:
            InvalidInputError: As in `effects`, or there is no such method or seed.
            UnsupportedModelError: The model's output cannot be read.
            HeadRolesError: All else as in `analyze`.
        """
        check_ablation(method, seed)
        selection = self._select(model, prompt, heads, role)
        return self.interventions.ablate(model, prompt, selection, method, seed, query, on_progress)

    def _select(self, model: str, prompt: str, heads: Sequence[HeadLike], role: Role | str | None) -> HeadSelection:
        measured, selected = None if role is None else get_measured_role(role), unique_heads(heads)
        if measured is not None:
            return select_heads(self.analyze(model, prompt), measured, selected)
        if not selected:
            raise InvalidInputError("Name the heads, or the role whose heads are meant.")
        return HeadSelection(selected)

    def analyze_here(self, model: str) -> Job[HeadCategories]:
        """Scores all heads of a model on this machine in the background, or joins the job that does so.

        The record is kept on disk and serves `analyze` from then on. Callers that stop waiting call the job's `leave`; when
        the last one has left, the job ends and nothing is kept.

        Args:
            model: As in `prepare`.

        Returns:
            The job. It raises as `analyze` does, and ModelLoadError when the record cannot be written.

        Raises:
            UnknownModelError: There is no such model.
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
