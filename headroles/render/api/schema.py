"""The shapes of what programs get: plain numbers, strings, lists and dicts, each with an `api_version`."""

from typing import TypedDict


class TokenEvidenceResult(TypedDict):
    """What a head does at one token that calls for a role: positions of the token and of the expected key it looks at most.

    `attention` on all expected keys; `control`, the larger of what other tokens give them, and what the head gives keys as far
    back. `most_key`, of all keys the one it looks at most, or null for its learned sink; `most_attention` on that.
    """

    query: int
    key: int
    attention: float
    control: float
    most_key: int | None
    most_attention: float


class HeadResult(TypedDict):
    """One head in one role; null: a score that the record does not hold, an activation or a chance that no text gives.

    `verdict` is "seen" or "not seen" of a role that a text calls for, with the strongest `places`, the `excess` at the first of
    them, and at how many tokens it is seen; of an always-on role "as usual" or "unusual here", with the head's `percentile` among
    ordinary texts and the range of nine in ten of them in `usual`; null where it is of the other kind, or the record has none.
    """

    layer: int
    head: int
    score: float | None
    activation_score: float | None
    chance: float | None
    is_active: bool
    verdict: str
    excess: float | None
    seen_at: int
    places: list[TokenEvidenceResult]
    percentile: float | None
    usual: list[float] | None
    unusual: bool


class RoleEffectResult(TypedDict):
    """The rise of the mean loss, in nats, without a role's heads on `texts` probe texts, with its interval; that without each
    control set of other heads; and of the same heads where nothing repeats, null for a role that needs no repetition.
    """

    texts: int
    heads: int
    rise: float
    interval: list[float]
    controls: list[float]
    control_text: float | None


class RoleResult(TypedDict):
    """One role on the prompt; `heads` are the model's top heads of this role, best first.

    `verdict` in words, `tokens` how many call for it and can be compared, `also_seen` the heads that are seen in it without being
    known for it; of "other", those that are away from where they rest, and no role says why. `suggested_prompt` is a text on
    which it shows on this model, empty where the analysis found none, or there is none. `effect`: what the model loses without
    its heads on the probe texts, null where nobody looked.
    """

    key: str
    display_name: str
    description: str
    applicable: bool
    active: bool
    verdict: str
    unusual: bool
    tokens: int
    reason: str
    suggested_prompt: str
    heads: list[HeadResult]
    also_seen: list[HeadResult]
    effect: RoleEffectResult | None


class HeadRoles(TypedDict):
    """One head in every measured role, by role key; `told` in words, all its roles and where it rests, whatever the text."""

    layer: int
    head: int
    primary_role: str
    told: str
    roles: dict[str, HeadResult]


class OfSomeModels(TypedDict, total=False):
    """What is said only of a model that has it: what its layers without an attention pattern are, by number; a learned sink."""

    other_layers: dict[str, str]
    learned_sink: bool


class AnalysisResult(OfSomeModels):
    """What every role's top heads do on the prompt; `heads` are all heads of the model if they were asked for, else none.

    A learned sink takes what a row of a pattern leaves of 1, and First Token counts it.
    """

    api_version: str
    model: str
    prompt: str
    tokens: list[str]
    num_layers: int
    num_heads: int
    source: str
    source_note: str
    dataset: str
    commit: str
    analysis_date: str
    revision: str
    roles: list[RoleResult]
    heads: list[HeadRoles]


class BatchResult(TypedDict):
    """One analysis a prompt, in the order of the prompts."""

    api_version: str
    model: str
    analyses: list[AnalysisResult]


class ModelResult(TypedDict):
    """A model that can be analysed, why one would, and how many tokens a prompt may have."""

    name: str
    description: str
    architecture: str
    num_layers: int
    num_heads: int
    parameters: int
    license: str
    gated: bool
    prepend_bos: bool
    max_tokens: int


class LimitsResult(TypedDict):
    """What this server takes; 0 for any number."""

    prompt_characters: int
    batch_prompts: int
    waiting_requests: int
    prompts_a_minute: int


class ModelsResult(TypedDict):
    """Every model that can be picked by name."""

    api_version: str
    limits: LimitsResult
    models: list[ModelResult]


class TopHeadResult(TypedDict):
    """A head that stands for a role; `score` within the range of the role's measure.

    `interval` is between what the score lies with 95 % confidence over texts such as the probes; null where no texts tell.
    `second_score` and its interval are of another number, from other evidence; null of a role that has none.
    """

    layer: int
    head: int
    score: float
    interval: list[float] | None
    second_score: float | None
    second_interval: list[float] | None


class CategoryResult(TypedDict):
    """One role in one model; `top_heads` best first; `scores` [layer][head], empty where it or the layer is not scored.

    `second_scores` likewise, of another number for the role, which `second_definition` says in words; empty where it has none.
    """

    key: str
    display_name: str
    description: str
    threshold: float
    top_heads: list[TopHeadResult]
    scores: list[list[float]]
    second_definition: str
    second_scores: list[list[float]]


class CategoriesResult(TypedDict):
    """Which head plays which role in a model, measured offline; `primary_roles` [layer][head] are role keys."""

    api_version: str
    model: str
    revision: str
    analysis_date: str
    num_layers: int
    num_heads: int
    recipe: dict[str, str | int | bool | None]
    roles: list[CategoryResult]
    primary_roles: list[list[str]]


class RoleChangeResult(TypedDict):
    """One role on two texts; `change` is "turns on", "turns off", "stays on" or "stays off"."""

    key: str
    display_name: str
    applicable_a: bool
    applicable_b: bool
    change: str


class HeadChangeResult(TypedDict):
    """One head on two texts, in the role in which it changes most; `difference` is the activation on B minus that on A.

    `evidence` is what the verdicts go by, B minus A: the excess, or the activation of an always-on role where it is unusual.
    """

    layer: int
    head: int
    role: str
    activation_a: float | None
    activation_b: float | None
    difference: float
    evidence: float
    is_active_a: bool
    is_active_b: bool


class RoleCensusResult(TypedDict):
    """The heads of two models whose primary role this is: counts in slices of relative depth, and shares of all heads."""

    key: str
    display_name: str
    counts_a: list[int]
    counts_b: list[int]
    share_a: float
    share_b: float
    active_a: bool
    active_b: bool


class ComparisonResult(TypedDict):
    """Two texts on one model (`kind` "prompts": `changes` and `heads`), or two models on one text ("models": `census`)."""

    api_version: str
    kind: str
    a: AnalysisResult
    b: AnalysisResult
    changes: list[RoleChangeResult]
    heads: list[HeadChangeResult]
    census: list[RoleCensusResult]


class HeatmapResult(TypedDict):
    """A picture of one head's pattern; `data` is text for "utf-8", else the bytes in base64."""

    api_version: str
    media_type: str
    encoding: str
    data: str
    description: str


class FigureResult(TypedDict):
    """A sheet for print; `data` is text for "utf-8", else the bytes in base64."""

    api_version: str
    media_type: str
    encoding: str
    data: str


class ExplainResult(TypedDict):
    """What goes on in a text, in lines of words: the answer, then a line a role, then what belongs below."""

    api_version: str
    model: str
    prompt: str
    words: str


class SinkResult(TypedDict, total=False):
    """What the learned sink of a head takes, where it has one: `[query]`."""

    sink: list[float]


class PatternResult(SinkResult):
    """One head's attention; `pattern` [query][key]; `roles` by role key."""

    api_version: str
    model: str
    tokens: list[str]
    layer: int
    head: int
    pattern: list[list[float]]
    primary_role: str
    description: str
    roles: dict[str, HeadResult]
