"""The typed API: each endpoint with its checks. Who publishes them, and to whom, is another room's."""

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import gradio as gr

from headroles.core.limits import MAX_BATCH_PROMPTS, MAX_PROMPT_TOKENS
from headroles.core.outputs.ablation import ABLATION_METHODS
from headroles.core.readings.comparison import compare_models, compare_prompts
from headroles.core.records.head_categories import MAX_TOP_HEADS
from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.jobs import Job
from headroles.models.interventions.ablation_runs import count_texts
from headroles.models.reading.batches import check_batch
from headroles.render.api import schema
from headroles.render.api.result import FigureResult, HeatmapResult
from headroles.render.api.schema_atlas import AtlasResult, atlas_result
from headroles.render.api.schema_outputs import AblationResult, EffectsResult, NextTokensResult, ablation_result, effects_result
from headroles.render.api.schema_training import TrainingResult, training_result
from headroles.render.files.exports import KINDS, SHEETS, atlas_sheet_file, heatmap_file, model_sheet_file, text_sheet_file
from headroles.render.page.chat import explain_in_words
from headroles.render.wording.head_sentences import describe_head_view
from headroles.server.api import arguments as api
from headroles.server.gate.progress import follow_job
from headroles.server.gate.request_queue import LARGE_PROMPTS, RequestQueue
from headroles.server.gate.visitors import visitor_of
from headroles.server.page.page_data import load_page_data, view_sheet_heads
from headroles.server.page.page_state import PageState

F = TypeVar("F", bound=Callable)
R = TypeVar("R")


def with_limits(endpoint: F) -> F:
    """Puts the limits into an endpoint's docstring, which is what clients see of it."""
    endpoint.__doc__ = (endpoint.__doc__ or "").format(tokens=MAX_PROMPT_TOKENS, texts=MAX_BATCH_PROMPTS)
    return endpoint


class Endpoints:
    """What programs may ask; every input is checked inside, since hints are not enforced.

    The docstrings are what the page, gradio's own list and MCP tell of the endpoints. Each raises HeadRolesErrors alone.
    """

    def __init__(self, explorer: Explorer, desk: RequestQueue) -> None:
        self._explorer, self._desk = explorer, desk

    def all(self) -> tuple[Callable, ...]:
        """Those that are published, in the order in which they are told."""
        asked = self.models, self.categories, self.analyze, self.analyze_batch, self.compare, self.pattern, self.heatmap
        return *asked, self.figure, self.explain, self.next_tokens, self.effects, self.ablate, self.training, self.atlas

    async def models(self, request: gr.Request) -> schema.ModelsResult:
        """The models that can be analysed, with how many tokens each reads, and the limits of this server."""
        explorer = self._explorer
        return await self._desk.run(visitor_of(request), api.models_result, explorer.models(), explorer.settings, cost=0)

    async def categories(self, request: gr.Request, model: str) -> schema.CategoriesResult:
        """Which head plays which role in a model, measured offline: the top heads of every role, all scores, all primary roles.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
        """
        return schema.categories_result(await self._asked(request, [model], self._explorer.categories, model))

    @with_limits
    async def analyze(self, request: gr.Request, model: str, prompt: str, all_heads: bool = False) -> schema.AnalysisResult:
        """Which attention heads of a model do which job on a text: every role with its top heads, applicable or not and why.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            all_heads: Whether to add every head of the model in every role.
        """
        api.checked_switch("all_heads", all_heads)
        analysis = await self._asked(request, [model], self._explorer.analyze, model, prompt)
        return schema.analysis_result(analysis, all_heads)

    @with_limits
    async def analyze_batch(
        self, request: gr.Request, model: str, prompts: list[str], all_heads: bool = False
    ) -> schema.BatchResult:
        """The same as analyze for several texts at once, in their order; far faster than one call a text.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompts: The texts, 1 to {texts}, each at most {tokens} tokens.
            all_heads: Whether to add every head of the model in every role, to each text.
        """
        check_batch(prompts)
        api.checked_switch("all_heads", all_heads)

        def read() -> schema.BatchResult:  # with all heads, what is read is large enough to hold up other requests
            return schema.batch_result(model, self._explorer.analyze_batch(model, prompts), all_heads)

        return await self._asked(request, [model], read, cost=len(prompts))

    @with_limits
    async def compare(
        self, request: gr.Request, model: str, prompt: str, other_prompt: str = "", other_model: str = ""
    ) -> schema.ComparisonResult:
        """What changes between two texts on one model, or between two models on one text; give one of the last two arguments.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            other_prompt: A second text for the same model.
            other_model: The name of a second model for the same text.
        """
        if bool(other_prompt) == bool(other_model):
            raise InvalidInputError("Give either other_prompt or other_model, one of the two.")
        analyze, analyze_batch = self._explorer.analyze, self._explorer.analyze_batch
        if other_prompt:
            analyses = await self._asked(request, [model], analyze_batch, model, [prompt, other_prompt], cost=2)
            return schema.comparison_result(compare_prompts(*analyses))
        on_both = [model, other_model]
        analyses = await self._asked(request, on_both, lambda: [analyze(name, prompt) for name in on_both], cost=2)
        return schema.comparison_result(compare_models(*analyses))

    @with_limits
    async def pattern(self, request: gr.Request, model: str, prompt: str, layer: int, head: int) -> schema.PatternResult:
        """The attention of one head on a text, [query][key], with what the head does there in every role.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            layer: The head's layer, from 0.
            head: The head's number within the layer, from 0.
        """
        which = api.checked_head(layer, head)
        return schema.pattern_result(await self._asked(request, [model], self._explorer.view_head, model, prompt, which))

    @with_limits
    async def heatmap(
        self, request: gr.Request, model: str, prompt: str, layer: int, head: int, role: str = "", format: str = "png"
    ) -> HeatmapResult:
        """A picture of one head's attention on a text, with the cells outlined that a role expects to be strong.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            layer: The head's layer, from 0.
            head: The head's number within the layer, from 0.
            role: The role whose cells are outlined, for instance induction; empty for what the head mainly does.
            format: png or pdf (the result holds it in base64) or svg (as text).
        """
        which, looked_for = api.checked_head(layer, head), api.checked_role(role)
        kind = api.checked_choice("format", format, KINDS)

        def draw() -> HeatmapResult:
            view = self._explorer.view_head(model, prompt, which, looked_for)
            file = heatmap_file(view, kind)
            return HeatmapResult.encode(file.media_type, file.content, description=describe_head_view(view))

        return await self._asked(request, [model], draw)

    @with_limits
    async def figure(
        self, request: gr.Request, model: str, prompt: str = "", sheet: str = "text", format: str = "pdf"
    ) -> FigureResult:
        """A sheet for print: of a text with the heads of the roles that are seen on it, of a model, or of all models.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            sheet: text, model or atlas; a model's needs no prompt, and the atlas is the same for every model.
            format: pdf or png (the result holds it in base64) or svg (as text).
        """
        kind, which = api.checked_choice("format", format, KINDS), api.checked_choice("sheet", sheet, SHEETS)

        def draw() -> FigureResult:
            if which == "atlas":
                file = atlas_sheet_file(self._explorer.atlas(), kind)
            elif which == "model":
                file = model_sheet_file(self._explorer.categories(model), kind)
            else:
                analysis = self._explorer.analyze(model, prompt)
                file = text_sheet_file(analysis, view_sheet_heads(self._explorer, analysis), kind)
            return FigureResult.encode(file.media_type, file.content)

        return await self._asked(request, [model], draw)

    @with_limits
    async def explain(self, request: gr.Request, model: str, prompt: str) -> schema.ExplainResult:
        """What goes on in a text, in words: which roles are seen, where, in which heads, why others are not, and the next word.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
        """

        def say() -> schema.ExplainResult:
            place = PageState(prompt=prompt, model=model)
            scene = load_page_data(self._explorer, place, ("analysis", "next"))
            assert scene.analysis is not None
            assert scene.next is not None
            return schema.ExplainResult.of(scene.analysis, words=explain_in_words(scene.analysis, scene.next))

        return await self._asked(request, [model], say, cost=2)

    @with_limits
    async def next_tokens(self, request: gr.Request, model: str, prompt: str, count: int = 5) -> NextTokensResult:
        """What a model says comes next after every token of a text, with probabilities, and how badly it foresaw each token.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            count: How many of the likeliest next tokens, 1 to 50.
        """
        found = await self._asked(request, [model], self._explorer.next_tokens, model, prompt, count)
        return NextTokensResult.of(found)

    @with_limits
    async def effects(
        self, request: gr.Request, model: str, prompt: str, heads: list[str] | None = None, role: str = "", query: int = -1
    ) -> EffectsResult:
        """What heads write to the next token's logits directly, by the token that they read; which words they raise and lower.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            heads: The heads, such as L2H2; by default those of the role that are seen on this text.
            role: The role that they are looked at for, for instance induction; its expected token is told too.
            query: After which token, from 0; by default the last.
        """
        which, looked_for = api.checked_heads(heads), api.checked_role(role)
        found = await self._asked(request, [model], self._explorer.effects, model, prompt, which, looked_for, query, cost=2)
        return effects_result(found)

    @with_limits
    async def ablate(
        self,
        request: gr.Request,
        model: str,
        prompt: str,
        heads: list[str] | None = None,
        role: str = "",
        method: str = "zero",
        seed: int = 0,
        query: int = -1,
    ) -> AblationResult:
        """What is lost without some heads, beside what is lost without as many other heads of the same layers.

        Reads the text some thirty times, and counts as that many prompts.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            heads: The heads, such as L2H2; by default those of the role that are seen on this text.
            role: The role that they stand for, for instance induction.
            method: zero, mean, resample or null: what stands in place of their outputs.
            seed: Draws the other heads and, for resample, the other text.
            query: After which token the next one is looked at, from 0; by default the last.
        """
        which, looked_for = api.checked_heads(heads), api.checked_role(role)
        chosen = api.checked_choice("method", method, ABLATION_METHODS)
        cost, job = count_texts(len(which) or MAX_TOP_HEADS), Job((model, prompt))
        ask = partial(self._explorer.ablate, on_progress=lambda share: job.report(share, "taking heads out"))
        try:
            found = await self._asked(request, [model], ask, model, prompt, which, looked_for, chosen, seed, query, cost=cost)
        finally:
            job.cancel()  # whoever asked may be gone; then the work ends between two forwards
        return ablation_result(found)

    async def training(self, request: gr.Request, model: str) -> TrainingResult:
        """How the roles of a model came to be: what every head did at each recorded step of its training, and the losses.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny, which has a recorded run.
        """

        def read() -> TrainingResult:
            return training_result(self._explorer.training(model))

        return await self._desk.run(visitor_of(request), read)

    async def atlas(self, request: gr.Request) -> AtlasResult:
        """Which share of heads plays which role over all models whose records this server knows: by depth, family and size."""

        def read() -> AtlasResult:
            return atlas_result(self._explorer.atlas())

        return await self._desk.run(visitor_of(request), read)

    async def _asked(self, request: gr.Request, models: list[str], function: Callable[..., R], *args: object, cost: int = 1) -> R:
        """What a function gives once the models are loaded; the wait for a load takes no worker."""
        visitor = visitor_of(request)
        with self._desk.charged(visitor, cost):
            for model in models:
                if not self._explorer.has_loaded(model):
                    async with aclosing(follow_job(partial(self._explorer.prepare, model), self._desk, visitor, model)) as steps:
                        async for _ in steps:
                            pass
            return await self._desk.run(visitor, function, *args, cost=0, is_large=cost >= LARGE_PROMPTS)
