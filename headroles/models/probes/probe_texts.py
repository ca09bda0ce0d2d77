"""The seeded inputs that every model is scored on, offline and here: random sequences that repeat once, and varied sentences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from headroles.core.roles.measures import Probes
from headroles.core.roles.roles import MeasuredRole, measured_roles
from headroles.core.text.tokens import is_delimiter
from headroles.errors import InvalidInputError
from headroles.models.loading.loader import LoadedModel
from headroles.models.probes.sentences import SENTENCES

MIN_REPEAT_LENGTH = 8  # below it, chance is a large part of every score


@dataclass(frozen=True)
class ProbeSizes:
    """How many probes of each kind, and the seed that they are drawn with.

    Attributes:
        repeat_length: of the string that repeats once.
        calibration: texts of each length and kind that verdicts are calibrated on; 0 for no calibration.
        effects: texts on which the heads of each role are taken out; 0 for none.
        outputs: texts of each role that is scored by what heads write; 0 for none.
    """

    repeated_sequences: int = 50
    repeat_length: int = 50
    sentences: int = len(SENTENCES)
    seed: int = 0
    calibration: int = 20
    effects: int = 0
    outputs: int = 0


@dataclass(frozen=True)
class Probe:
    """A batch of texts and the roles that are scored on them; rows are padded on the right, `lengths` says from where on.

    Attributes:
        delimiters: which tokens are; None of texts whose roles do not go by them.
    """

    token_ids: Int[Tensor, "batch token"]
    lengths: Int[Tensor, " batch"]
    roles: tuple[MeasuredRole, ...]
    delimiters: Bool[Tensor, "batch token"] | None = None


def make_probes(loaded: LoadedModel, sizes: ProbeSizes, batch: int = 10) -> Iterator[Probe]:
    """All probes for a model, at most `batch` texts at a time.

    Roles that need repetition are scored on the repeated random sequences, where only the content can tell a head what to look
    at; the others on the sentences, where heads rest as they do in natural text.

    Raises:
        InvalidInputError: when the sizes ask for what there is not, or the model's context is too short.
    """
    repeated = repeated_sequences(loaded, sizes)
    for rows in repeated.split(batch):
        lengths = torch.full((len(rows),), rows.shape[1])
        yield Probe(rows, lengths, roles_scored_on("repeats"))
    encoded = encoded_sentences(loaded, sizes)
    for first in range(0, len(encoded), batch):
        rows = encoded[first : first + batch]
        lengths = torch.tensor([len(row) for row in rows])
        marks = [[is_delimiter(text) for text in loaded.token_texts(row)] for row in rows]
        yield Probe(_padded(rows), lengths, roles_scored_on("sentences"), _padded(marks))


def _padded(rows: Sequence[Sequence[int] | Sequence[bool]]) -> Tensor:
    """[batch, token], with 0 or False after the end of each."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def roles_scored_on(probes: Probes) -> tuple[MeasuredRole, ...]:
    """The roles whose patterns are measured on one kind of probe."""
    return tuple(role for role in measured_roles() if role.measure.needs == "patterns" and role.measure.probes == probes)


def fitting_repeat_length(loaded: LoadedModel, wanted: int) -> int:
    """`wanted`, or as much of it as fits twice, a BOS before it, strictly below the model's context and its vocabulary.

    Raises:
        InvalidInputError: when less than MIN_REPEAT_LENGTH fits.
    """
    room = (loaded.context_length - 1 - len(loaded.bos)) // 2
    fitting = min(wanted, room, len(ordinary_ids(loaded)))
    if fitting < min(wanted, MIN_REPEAT_LENGTH):
        raise InvalidInputError(
            f"{loaded.name} reads {loaded.context_length} tokens with {len(ordinary_ids(loaded))} ordinary ones "
            f"in its vocabulary; too little for a random string of {MIN_REPEAT_LENGTH} tokens twice."
        )
    return fitting


def repeated_sequences(loaded: LoadedModel, sizes: ProbeSizes) -> Int[Tensor, "sequence token"]:
    """Rows `[BOS?] + r + r`, each r drawn without replacement from the tokens that are not special."""
    length = fitting_repeat_length(loaded, sizes.repeat_length)
    ordinary = ordinary_ids(loaded)
    generator = torch.Generator().manual_seed(sizes.seed)
    rows = []
    for _ in range(sizes.repeated_sequences):
        string = ordinary[torch.randperm(len(ordinary), generator=generator)[:length]]
        rows.append(torch.cat([torch.tensor(loaded.bos, dtype=torch.long), string, string]))
    return torch.stack(rows)


def encoded_sentences(loaded: LoadedModel, sizes: ProbeSizes) -> list[tuple[int, ...]]:
    """The first sentences of the list as the model reads them, cut strictly below the end of its context."""
    if not 1 <= sizes.sentences <= len(SENTENCES):
        raise InvalidInputError(f"There are {len(SENTENCES)} sentences, so {sizes.sentences} of them cannot be used.")
    # not `loaded.encode`: it refuses what is too long
    return [tuple(loaded.tokenizer.encode(sentence)[: loaded.context_length - 1]) for sentence in SENTENCES[: sizes.sentences]]


def ordinary_ids(loaded: LoadedModel) -> Int[Tensor, " id"]:
    """The tokens of a model's vocabulary that are not special."""
    special = set(loaded.tokenizer.all_special_ids)
    size = min(len(loaded.tokenizer), loaded.model.config.get_text_config().vocab_size)
    return torch.tensor([token_id for token_id in range(size) if token_id not in special])
