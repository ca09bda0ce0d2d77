"""The typed API: each endpoint with its checks; `publish` offers them to programs and chat clients."""

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
    """Puts the limits into an endpoint's docstring, which clients read."""
    endpoint.__doc__ = (endpoint.__doc__ or "").format(tokens=MAX_PROMPT_TOKENS, texts=MAX_BATCH_PROMPTS)
    return endpoint


class Endpoints:
    """The endpoints. Each checks its inputs itself, since gradio does not enforce type hints, and raises only HeadRolesErrors.

    Their docstrings are read by people and by chat clients: on the page, in gradio's own list and through MCP.
    """

    def __init__(self, explorer: Explorer, queue: RequestQueue) -> None:
        self._explorer, self._queue = explorer, queue

    def all(self) -> tuple[Callable, ...]:
        """Lists the endpoints in the order in which they are published."""
        patterns = self.models, self.categories, self.analyze, self.analyze_batch, self.compare, self.pattern, self.heatmap
        return *patterns, self.figure, self.explain, self.next_tokens, self.effects, self.ablate, self.training, self.atlas

    async def models(self, request: gr.Request) -> schema.ModelsResult:
        """Lists the models, with the number of tokens that each reads, and the limits of this server."""
        explorer = self._explorer
        return await self._queue.run(visitor_of(request), api.models_result, explorer.models(), explorer.settings, cost=0)

    async def categories(self, request: gr.Request, model: str) -> schema.CategoriesResult:
        """Gives the role of every attention head of a model, measured offline: the top heads of each role, and all scores.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
        """
        return schema.categories_result(await self._run(request, [model], self._explorer.categories, model))

    @with_limits
    async def analyze(self, request: gr.Request, model: str, prompt: str, all_heads: bool = False) -> schema.AnalysisResult:
        """Shows which attention heads of a model do which job on a text: every role with its top heads, and why a role is absent.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            all_heads: Whether to list every head of the model in every role.
        """
        api.checked_switch("all_heads", all_heads)
        analysis = await self._run(request, [model], self._explorer.analyze, model, prompt)
        return schema.analysis_result(analysis, all_heads)

    @with_limits
    async def analyze_batch(
        self, request: gr.Request, model: str, prompts: list[str], all_heads: bool = False
    ) -> schema.BatchResult:
        """Analyses several texts at once, in their order; far faster than one call of analyze for each text.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompts: The texts, 1 to {texts}, each at most {tokens} tokens.
            all_heads: Whether to list every head of the model in every role for each text.
        """
        check_batch(prompts)
        api.checked_switch("all_heads", all_heads)

        def read() -> schema.BatchResult:  # with all heads, the result is large enough to hold up other requests
            return schema.batch_result(model, self._explorer.analyze_batch(model, prompts), all_heads)

        return await self._run(request, [model], read, cost=len(prompts))

    @with_limits
    async def compare(
        self, request: gr.Request, model: str, prompt: str, other_prompt: str = "", other_model: str = ""
    ) -> schema.ComparisonResult:
        """Compares two texts on one model, or two models on one text. Give either other_prompt or other_model.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            other_prompt: A second text for the same model.
            other_model: The name of a second model for the same text.
        """
        if bool(other_prompt) == bool(other_model):
            raise InvalidInputError("Give either other_prompt or other_model, not both.")
        analyze, analyze_batch = self._explorer.analyze, self._explorer.analyze_batch
        if other_prompt:
            analyses = await self._run(request, [model], analyze_batch, model, [prompt, other_prompt], cost=2)
            return schema.comparison_result(compare_prompts(*analyses))
        on_both = [model, other_model]
        analyses = await self._run(request, on_both, lambda: [analyze(name, prompt) for name in on_both], cost=2)
        return schema.comparison_result(compare_models(*analyses))

    @with_limits
    async def pattern(self, request: gr.Request, model: str, prompt: str, layer: int, head: int) -> schema.PatternResult:
        """Gives the attention pattern of one head on a text as [query][key], and what the head does there in every role.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            layer: The head's layer, from 0.
            head: The head's number within the layer, from 0.
        """
        which = api.checked_head(layer, head)
        return schema.pattern_result(await self._run(request, [model], self._explorer.view_head, model, prompt, which))

    @with_limits
    async def heatmap(
        self, request: gr.Request, model: str, prompt: str, layer: int, head: int, role: str = "", format: str = "png"
    ) -> HeatmapResult:
        """Draws the attention pattern of one head on a text, and outlines the cells that a role expects to be strong.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            layer: The head's layer, from 0.
            head: The head's number within the layer, from 0.
            role: The role whose cells are outlined, for instance induction; empty for the head's main role.
            format: png or pdf (the result holds it in base64) or svg (as text).
        """
        which, looked_for = api.checked_head(layer, head), api.checked_role(role)
        kind = api.checked_choice("format", format, KINDS)

        def draw() -> HeatmapResult:
            view = self._explorer.view_head(model, prompt, which, looked_for)
            file = heatmap_file(view, kind)
            return HeatmapResult.encode(file.media_type, file.content, description=describe_head_view(view))

        return await self._run(request, [model], draw)

    @with_limits
    async def figure(
        self, request: gr.Request, model: str, prompt: str = "", sheet: str = "text", format: str = "pdf"
    ) -> FigureResult:
        """Makes a sheet for print: of a text and the roles that are detected on it, of a model, or of all models.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            sheet: text, model or atlas. The model sheet needs no prompt; the atlas is the same for every model.
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

        return await self._run(request, [model], draw)

    @with_limits
    async def explain(self, request: gr.Request, model: str, prompt: str) -> schema.ExplainResult:
        """Explains a text in words: which roles are detected, where and in which heads, why others are not, and the next word.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
        """

        def explain() -> schema.ExplainResult:
            data = load_page_data(self._explorer, PageState(prompt=prompt, model=model), ("analysis", "next"))
            assert data.next is not None
            return schema.ExplainResult.of(data.known_analysis, words=explain_in_words(data.known_analysis, data.next))

        return await self._run(request, [model], explain, cost=2)

    @with_limits
    async def next_tokens(self, request: gr.Request, model: str, prompt: str, count: int = 5) -> NextTokensResult:
        """Predicts the next token after every token of a text, with probabilities, and gives the loss of each token.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            count: How many of the likeliest next tokens, 1 to 50.
        """
        found = await self._run(request, [model], self._explorer.next_tokens, model, prompt, count)
        return NextTokensResult.of(found)

    @with_limits
    async def effects(
        self, request: gr.Request, model: str, prompt: str, heads: list[str] | None = None, role: str = "", query: int = -1
    ) -> EffectsResult:
        """Measures the direct effects of heads on the next token's logits: which words they raise or lower, and by which token.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            heads: The heads, such as L2H2; by default those in which the role is detected on this text.
            role: The role that they stand for, for instance induction; then the answer has the token that the role expects too.
            query: The position of the token after which the next one is predicted, from 0; by default the last.
        """
        which, looked_for = api.checked_heads(heads), api.checked_role(role)
        found = await self._run(request, [model], self._explorer.effects, model, prompt, which, looked_for, query, cost=2)
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
        """Ablates heads: measures what is lost without them, beside what is lost without as many control heads.

        It reads the text about thirty times, and counts as that many prompts.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny.
            prompt: The text, at most {tokens} tokens.
            heads: The heads, such as L2H2; by default those in which the role is detected on this text.
            role: The role that they stand for, for instance induction.
            method: What replaces their outputs: zero, mean, resample or null.
            seed: Draws the control heads and, for resample, the other text.
            query: The position of the token after which the next one is predicted, from 0; by default the last.
        """
        which, looked_for = api.checked_heads(heads), api.checked_role(role)
        chosen = api.checked_choice("method", method, ABLATION_METHODS)
        cost, job = count_texts(len(which) or MAX_TOP_HEADS), Job((model, prompt))
        ask = partial(self._explorer.ablate, on_progress=lambda share: job.report(share, "taking heads out"))
        try:
            found = await self._run(request, [model], ask, model, prompt, which, looked_for, chosen, seed, query, cost=cost)
        finally:
            job.cancel()  # the client may be gone; then the work ends between two forwards
        return ablation_result(found)

    async def training(self, request: gr.Request, model: str) -> TrainingResult:
        """Shows how the roles of a model formed: what every head did at each recorded step of its training, and the losses.

        Args:
            model: The model's name as /models gives it, for instance headroles-tiny, which has a recorded run.
        """

        def read() -> TrainingResult:
            return training_result(self._explorer.training(model))

        return await self._queue.run(visitor_of(request), read)

    async def atlas(self, request: gr.Request) -> AtlasResult:
        """Gives the share of heads that plays each role over all models that this server knows: by depth, family and size."""

        def read() -> AtlasResult:
            return atlas_result(self._explorer.atlas())

        return await self._queue.run(visitor_of(request), read)

    async def _run(self, request: gr.Request, models: list[str], function: Callable[..., R], *args: object, cost: int = 1) -> R:
        """Runs a function once the models are loaded; the wait for a load takes no worker."""
        visitor = visitor_of(request)
        with self._queue.charged(visitor, cost):
            for model in models:
                if not self._explorer.has_loaded(model):
                    async with aclosing(follow_job(partial(self._explorer.prepare, model), self._queue, visitor, model)) as steps:
                        async for _ in steps:
                            pass
            return await self._queue.run(visitor, function, *args, cost=0, is_large=cost >= LARGE_PROMPTS)
