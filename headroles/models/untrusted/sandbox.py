"""How a model that the registry does not name is opened.

Its tokenizer stays in a process of its own; its weights come to this one only after they were tried in another.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from headroles.errors import ModelLoadError, PromptError
from headroles.hub.plain_files import UnfitError
from headroles.hub.repository import RepositoryFacts, read_config
from headroles.hub.weights import tensor_shapes
from headroles.models.untrusted.config_validation import validate_config
from headroles.models.untrusted.subprocess_worker import SubprocessWorker, WorkerDiedError
from headroles.settings import GIGABYTE

TOKENIZER_BYTES = GIGABYTE  # beyond the libraries'; a vocabulary of 262,144 tokens takes a third of it while it is opened
OPEN_SECONDS = 30  # of a processor, to open a tokenizer; twice that by the clock
TEXT_SECONDS = 2  # of a processor, for one text; ten by the clock, since the machine may be busy
TEXT_WALL_SECONDS = 10
CHECK_SECONDS = 60  # of a processor, for a trial, and a second more for each of so many bytes:
CHECK_BYTES_PER_SECOND = 50 * 1024**2
CHECK_EXTRA_BYTES = 2 * GIGABYTE  # beyond twice the weights: buffers, and the patterns of 4,096 heads on the longest text


class RemoteTokenizer:
    """A tokenizer in a process of its own, for any number of threads; answers what a model asks of a PreTrainedTokenizerFast.

    A text that takes it longer than TEXT_SECONDS costs the process, and the next one starts it again.

    Raises ModelLoadError when it cannot be opened, and PromptError when it fails at a text.
    """

    def __init__(self, name: str, folder: Path, vocab_size: int, while_waiting: Callable[[], object] = lambda: None) -> None:
        self._name = name
        self._open_arguments: dict[str, object] = {"name": name, "folder": str(folder), "vocab_size": vocab_size}
        self._worker = SubprocessWorker(TOKENIZER_BYTES)
        self._lock = threading.Lock()
        self._facts = self._open(while_waiting)

    @property
    def bos_token_id(self) -> int | None:
        """The token that begins a text; None without one."""
        return self._facts["bos_token_id"]

    @property
    def all_special_ids(self) -> list[int]:
        """The tokens that stand for no text."""
        return self._facts["special"]

    @property
    def memory_bytes(self) -> int:
        """What its process takes, libraries included."""
        return self._facts["memory_bytes"]

    def __len__(self) -> int:
        return self._facts["size"]

    def get_vocab(self) -> Mapping[str, int]:
        """The number of each token."""
        return cast(Mapping[str, int], self._call("vocabulary", {}))

    def encode(self, text: str, *, split_special_tokens: bool = False) -> list[int]:
        """The tokens of a text."""
        return cast(list[int], self._call("encode", {"text": text, "split_special_tokens": split_special_tokens}))

    def decode(self, token_ids: list[int], *, clean_up_tokenization_spaces: bool = False) -> str:
        """The text of tokens."""
        return str(self._call("decode", {"token_ids": token_ids}))

    def convert_ids_to_tokens(self, ids: int) -> str:
        """The token of a number."""
        return str(self._call("convert_id_to_token", {"token_id": ids}))

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()

    def _open(self, while_waiting: Callable[[], object] = lambda: None) -> dict[str, Any]:
        try:
            facts = self._worker.call(
                "open_and_test_tokenizer", self._open_arguments, OPEN_SECONDS, 2 * OPEN_SECONDS, while_waiting
            )
        except WorkerDiedError as error:
            raise ModelLoadError(
                f"{self._name} could not be loaded: the process that tried out its tokenizer {error}; a tokenizer may take "
                f"{OPEN_SECONDS} seconds and {TOKENIZER_BYTES / GIGABYTE:.0f} GB of memory."
            ) from None
        return cast(dict[str, Any], facts)

    def _call(self, task: str, arguments: dict[str, object]) -> object:
        with self._lock:
            if not self._worker.is_running:
                self._open()
            try:
                return self._worker.call(task, arguments, TEXT_SECONDS, TEXT_WALL_SECONDS)
            except WorkerDiedError as error:
                raise PromptError(
                    f"The tokenizer of {self._name} {error} with this text; take another, {TEXT_SECONDS} seconds are the limit."
                ) from None


def check_in_sandbox(name: str, facts: RepositoryFacts, while_waiting: Callable[[], object] = lambda: None) -> RemoteTokenizer:
    """Checks a stranger's files, and has them tried in processes of their own. What `while_waiting` raises ends the trial.

    Args:
        name: of the model, as the visitor wrote it.
        facts: of a model whose files are on this machine.
        while_waiting: called again and again during the trial; what it raises ends the trial.

    Raises:
        ModelLoadError, UnsupportedModelError: when a file is not what it should be, or the trial fails or takes too much.
    """
    folder = cast(Path, facts.path)
    try:  # first what takes milliseconds
        vocabulary = validate_config(read_config(folder), tensor_shapes(folder)).vocab_size
    except UnfitError as error:
        raise ModelLoadError(f"{name} could not be loaded: {error}") from None
    tokenizer = RemoteTokenizer(name, folder, vocabulary, while_waiting)
    try:
        _check_weights(name, folder, facts.memory_bytes, while_waiting)
    except BaseException:
        tokenizer.close()
        raise
    return tokenizer


def _check_weights(name: str, folder: Path, weight_bytes: int, while_waiting: Callable[[], object]) -> None:
    seconds = CHECK_SECONDS + weight_bytes // CHECK_BYTES_PER_SECOND
    allowed = 2 * weight_bytes + CHECK_EXTRA_BYTES
    child = SubprocessWorker(TOKENIZER_BYTES)
    try:
        child.call(
            "check_model", {"name": name, "folder": str(folder), "memory_bytes": allowed}, seconds, 2 * seconds, while_waiting
        )
    except WorkerDiedError as error:
        raise ModelLoadError(
            f"{name} could not be loaded: the process that tried it out {error}; a model of its size may take {seconds} seconds "
            f"and {allowed / GIGABYTE:.1f} GB of memory."
        ) from None
    finally:
        child.close()
