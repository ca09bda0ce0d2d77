"""Whether an existing record equals what would be made now."""

from importlib.metadata import version
from pathlib import Path

import torch

from headroles.core.records.bootstrap import MIN_TEXTS
from headroles.core.records.head_categories import HeadCategories, Recipe
from headroles.core.records.record_files import read_record
from headroles.core.roles.roles import measured_roles
from headroles.core.roles.scoring import pattern_roles
from headroles.errors import InvalidRecordError
from headroles.hub.gguf import is_gguf
from headroles.hub.plain_files import is_snapshot
from headroles.hub.repository import RepositoryFacts
from headroles.models.loading.loader import adds_bos, read_tokenizer, revision_of, vocabulary_sha256
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.scoring.output_scores import output_roles


def read_existing(path: Path) -> HeadCategories | None:
    """The record in a file; None for one that is broken or cannot be read, since it is replaced or put aside."""
    try:
        return read_record(path)
    except (OSError, InvalidRecordError):
        return None


def is_up_to_date(
    record: HeadCategories, name: str, facts: RepositoryFacts, sizes: ProbeSizes, dtype: torch.dtype
) -> bool | None:
    """Whether a record scores every role of this very model by this very recipe, except those of weights if PyVene read it.

    No weights are read, except to hash the files of a folder. A commit on the Hub never changes, so two records of one commit
    agree in everything that the model says in a recipe; of a folder only the weights are known to be the same.

    Args:
        record: that exists.
        name: of the model in its record.
        facts: of the model.
        sizes: how many texts.
        dtype: of the weights.

    Returns:
        None where only the model can tell: the record's random strings are shorter than asked for now, as they are where a model
        has a short context.

    Raises:
        HeadRolesError: where a folder's files are broken.
    """
    path = facts.path
    revision = facts.commit if path is None else revision_of(path)
    if (record.model_name, record.revision) != (name, revision) or not _scores_all(record):
        return False
    length = record.recipe.repeat_length
    if record.recipe != _wanted(record.recipe, sizes, dtype) or length > sizes.repeat_length:
        return False
    if path is not None and not _is_of(record.recipe, name, facts, path):
        return False
    return True if length == sizes.repeat_length else None


def _wanted(made: Recipe, sizes: ProbeSizes, dtype: torch.dtype) -> Recipe:
    """The recipe that a record would have today, with the same model and length of strings. See `make_recipe`."""
    today = {
        "transformer_lens": made.transformer_lens and version("transformer-lens"),
        "transformers": version("transformers"),
        "torch": version("torch").split("+")[0],
        "dtype": str(dtype).removeprefix("torch."),
        "seed": sizes.seed,
        "repeated_sequences": sizes.repeated_sequences,
        "sentences": sizes.sentences,
        "calibration_texts": sizes.calibration or None,
        "effect_texts": sizes.effects or None,
        "output_texts": sizes.outputs or None,
    }
    return made.model_copy(update=today)


def _is_of(recipe: Recipe, name: str, facts: RepositoryFacts, path: Path) -> bool:
    """Whether what lies beside the weights is what the recipe says: the name of a GGUF file, the tokenizer of a folder."""
    if is_gguf(path):
        return recipe.weights is not None and recipe.weights.name == path.name
    if is_snapshot(path):
        return True
    tokenizer = read_tokenizer(name, facts, path)
    return (recipe.prepend_bos, recipe.tokenizer_sha256) == (adds_bos(tokenizer), vocabulary_sha256(tokenizer))


def _scores_all(record: HeadCategories) -> bool:
    """Whether it scores what is scored today; one from before scores had intervals does not."""
    # which of those that are scored by what heads write a model has words for, the recipe does not say
    left_open = output_roles()
    by_lens = record.recipe.transformer_lens is not None
    roles = tuple(role for role in measured_roles() if role not in left_open) if by_lens else pattern_roles()
    scored = tuple(role for role in record.scored_roles if role not in left_open)
    return scored == roles and not _lacks_intervals(record)


def _lacks_intervals(record: HeadCategories) -> bool:
    """Whether a score that texts could give an interval has none; scores of weights, or of a single text, never have one."""
    texts = {"repeats": record.recipe.repeated_sequences, "sentences": record.recipe.sentences}
    roles = [role for role in record.scored_roles if texts.get(role.measure.probes, 0) >= MIN_TEXTS]
    return any(record.interval(role, head) is None for role in roles for head in record.top_heads(role))
