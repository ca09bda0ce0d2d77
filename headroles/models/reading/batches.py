"""Several texts at once: which of them go through a model in one forward."""

from collections.abc import Sequence

from headroles.core.limits import MAX_BATCH_PROMPTS
from headroles.errors import InvalidInputError, PromptError
from headroles.models.loading.loader import LoadedModel

# of the patterns that one forward over several prompts gives, padding included; who asks for one text waits for one such forward
MAX_BATCH_BYTES = 128 * 1024 * 1024
TokenIds = tuple[int, ...]


def check_batch(prompts: Sequence[str]) -> None:
    """Raises InvalidInputError unless these are 1 to MAX_BATCH_PROMPTS prompts; each of them is looked at later."""
    if not isinstance(prompts, list | tuple) or not 1 <= len(prompts) <= MAX_BATCH_PROMPTS:
        count = f"; these are {len(prompts):,}" if isinstance(prompts, list | tuple) else ""
        raise InvalidInputError(f"prompts must be a list of 1 to {MAX_BATCH_PROMPTS} texts{count}.")


def encode_all(loaded: LoadedModel, prompts: Sequence[str]) -> list[TokenIds]:
    """The token ids of each prompt. Raises PromptError that names the number of the first one that cannot be read."""
    encoded = []
    for number, prompt in enumerate(prompts, start=1):
        try:
            encoded.append(loaded.encode(prompt))
        except PromptError as error:
            reason = str(error)
            raise PromptError(f"Prompt {number} of {len(prompts)}: {reason[:1].lower()}{reason[1:]}") from error
    return encoded


def split_into_forwards(texts: set[TokenIds], bytes_per_cell: int) -> list[list[TokenIds]]:
    """The texts in as few groups as MAX_BATCH_BYTES allows, those of like length together, so that little is padding.

    `bytes_a_cell` is what one query-key pair takes over all heads.
    """
    groups: list[list[TokenIds]] = []
    for text in sorted(texts, key=lambda text: (len(text), text)):  # the last one of a group is its longest
        if groups and (len(groups[-1]) + 1) * len(text) ** 2 * bytes_per_cell <= MAX_BATCH_BYTES:
            groups[-1].append(text)
        else:
            groups.append([text])
    return groups
