"""What programs may ask, and how what they send is checked. Knows nothing of gradio."""

from collections.abc import Iterable, Sequence
from functools import cache
from reprlib import repr as shortened
from typing import TypeVar, cast

from headroles.core.heads import Head
from headroles.core.limits import MAX_BATCH_PROMPTS, MAX_PROMPT_CHARACTERS
from headroles.core.registry import ModelInfo
from headroles.core.roles.roles import ROLES, Role, get_role
from headroles.errors import InvalidInputError
from headroles.models.loading.loader import max_prompt_tokens, registered_config
from headroles.render.api.schema import LimitsResult, ModelResult, ModelsResult
from headroles.settings import Settings

MAX_HEAD_NUMBER = 9_999  # far above any model's layers and heads
MAX_HEADS = 4_096  # of one question; as many as the largest models have

T = TypeVar("T", bound=str)


def models_result(models: Iterable[ModelInfo], settings: Settings) -> ModelsResult:
    """Builds the answer to which models there are.

    Args:
        models: Those that can be picked by name.
        settings: What the server takes.
    """
    limits = LimitsResult(
        prompt_characters=MAX_PROMPT_CHARACTERS,
        batch_prompts=MAX_BATCH_PROMPTS,
        waiting_requests=settings.max_waiting,
        prompts_a_minute=settings.prompts_a_minute,
    )
    return ModelsResult(limits=limits, models=[ModelResult.of(info, max_tokens=max_tokens(info)) for info in models])


@cache
def max_tokens(info: ModelInfo) -> int:
    """How many tokens a prompt may have on a registered model, without loading it."""
    return max_prompt_tokens(registered_config(info))


def checked_head(layer: object, head: object) -> Head:
    """A head as a program names it. Raises InvalidInputError, in one short sentence whatever the values are."""
    for name, value in (("layer", layer), ("head", head)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InvalidInputError(f"{name} must be a whole number from 0 on, but is {_short(value)}.")
        if value > MAX_HEAD_NUMBER:
            raise InvalidInputError(f"{name} is outside any model; it must be at most {MAX_HEAD_NUMBER:,}.")
    return Head(layer, head)  # pyright: ignore[reportArgumentType]


def checked_heads(labels: object) -> list[Head]:
    """The heads of such labels, none for nothing. Raises InvalidInputError unless it is a list of at most MAX_HEADS labels."""
    if labels is None or labels == "":
        return []
    if not isinstance(labels, list) or len(labels) > MAX_HEADS or not all(isinstance(label, str) for label in labels):
        raise InvalidInputError(f"heads must be a list of at most {MAX_HEADS} heads, such as L2H2, but is {_short(labels)}.")
    return [Head.parse(label) for label in labels]


def checked_role(name: object) -> Role | None:
    """The role of that name, None for an empty one. Raises InvalidInputError that lists the names there are."""
    if name is None or name == "":
        return None
    if not isinstance(name, str) or name not in ROLES:
        raise InvalidInputError(f"There is no role {_short(name)}; the roles are {', '.join(ROLES)}.")
    return get_role(name)


def checked_choice(name: str, value: object, choices: Sequence[T]) -> T:
    """The value itself. Raises InvalidInputError unless it is one of the choices."""
    if value not in choices:
        raise InvalidInputError(f"{name} must be {' or '.join(choices)}, but is {_short(value)}.")
    return choices[choices.index(cast(T, value))]


def checked_switch(name: str, value: object) -> bool:
    """The value itself. Raises InvalidInputError unless it is true or false."""
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be true or false, but is {_short(value)}.")
    return value


def _short(value: object) -> str:
    """A value that anyone may have sent, in a few characters on one line; huge ones are not written out first."""
    return "a very large number" if isinstance(value, int) and abs(value) > 10**40 else shortened(value)
