"""How a stranger's tokenizer is opened."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from headroles.errors import keep_for_debugging, panics_as_errors
from headroles.hub.gguf import is_gguf
from headroles.hub.plain_files import UnfitError, read_plain
from headroles.hub.repository import UNTRUSTED_FILES
from headroles.models.untrusted.gguf_tokenizer import read_gguf_tokenizer
from headroles.models.untrusted.tokenizer_schema import parse_tokenizer

NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
BOOLEAN_OPTIONS = ("add_bos_token", "add_eos_token")
# in memory, for each token, with vocabularies of 50,000 to 256,000 (tests/models/loading/test_loader.py); Unigram keeps a tree
BYTES_PER_TOKEN, BYTES_PER_UNIGRAM_TOKEN = 350, 2000


def open_tokenizer(folder: Path, vocab_size: int) -> PreTrainedTokenizerFast:
    """A stranger's tokenizer, from a folder or a GGUF file.

    Of a folder its checked tokenizer.json, and the few plain values of tokenizer_config.json that concern a text.

    Args:
        folder: with a tokenizer.json, or the GGUF file.
        vocab_size: how many tokens the model has an embedding for.

    Raises:
        UnfitError: when the files are not there, are not what they should be, or give tokens that the model does not have.
    """
    content, config = read_gguf_tokenizer(folder) if is_gguf(folder) else _read_files(folder)
    try:
        return _open(content, config, vocab_size)
    except UnfitError as error:
        if is_gguf(folder):  # which has no file of that name
            raise UnfitError(str(error).replace("its tokenizer.json", "its tokenizer")) from None
        raise


def tokenizer_bytes(tokenizer: PreTrainedTokenizerFast) -> int:
    """About how many bytes a tokenizer takes in this process, by the kind of its model and the size of its vocabulary."""
    is_unigram = isinstance(tokenizer.backend_tokenizer.model, Unigram)
    return len(tokenizer) * (BYTES_PER_UNIGRAM_TOKEN if is_unigram else BYTES_PER_TOKEN)


def _open(content: bytes, config: Mapping[str, Any], vocabulary: int) -> PreTrainedTokenizerFast:
    file = parse_tokenizer(content)
    if file.largest_id() >= vocabulary:
        raise UnfitError(f"its tokenizer numbers tokens up to {file.largest_id():,}, but its weights know {vocabulary:,} from 0.")
    options = _options(config, file.tokens())
    try:
        with panics_as_errors():
            inner = RustTokenizer.from_str(file.to_json())
    except Exception as error:  # the library raises bare ones, whose texts repeat the file
        keep_for_debugging(error)
        raise UnfitError("its tokenizer.json does not fit together.") from None
    return PreTrainedTokenizerFast(tokenizer_object=inner, **options)


def _read_files(folder: Path) -> tuple[bytes, Mapping[str, Any]]:
    """tokenizer.json, and what tokenizer_config.json says."""
    content = read_plain(folder, "tokenizer.json", UNTRUSTED_FILES["tokenizer.json"])
    name = "tokenizer_config.json"
    if not (folder / name).exists():
        return content, {}
    try:
        config = json.loads(read_plain(folder, name, UNTRUSTED_FILES[name]))
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, UnfitError) else UnfitError(f"it has no readable {name}.") from None
    if not isinstance(config, dict):
        raise UnfitError(f"it has no readable {name}.")
    return content, config


def _options(config: Mapping[str, Any], tokens: Mapping[str, int]) -> dict[str, str | bool]:
    """The values of tokenizer_config.json that are passed on; a named token that is none of the tokens would become a new one."""
    options: dict[str, str | bool] = {key: config[key] for key in BOOLEAN_OPTIONS if isinstance(config.get(key), bool)}
    for key in NAMED_TOKENS:
        value = config.get(key)
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str) and content in tokens:
            options[key] = content
    return options
