"""What the process does that opens strangers' models: `python -m headroles.models.worker_main BYTES`.

It answers each line that comes with one line, until its input ends; that is also when the server that started it is gone.
"""

import contextlib
import json
import math
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
from transformers import PreTrainedTokenizerFast

from headroles.errors import HeadRolesError, ModelLoadError
from headroles.hub.plain_files import UnfitError
from headroles.models.untrusted.subprocess_worker import error_response
from headroles.models.untrusted.tokenizer_loader import open_tokenizer

TEST_TEXTS = (
    "The king and the queen lived in a castle. The king and the",
    "  def f(x):\n\treturn x ** 2  # 1,234.5\n",
    "Ünïcödé \u4f60\u597d \u0645\u0631\u062d\u0628\u0627 \U0001f600 \ufdfa \u0000",
    "a" * 300,
    " " * 300,
)
_tokenizers: dict[str, PreTrainedTokenizerFast] = {}  # the one tokenizer that this process has


def main() -> None:
    """Reads questions and writes answers. Nothing else can write among them: the libraries' own lines go to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(5)  # visitors of other models come first
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tempfile.tempdir = "/tmp"  # libraries ask where they could write; by itself it is looked for with a byte
    limit_memory_and_files(int(sys.argv[1]))
    for line in sys.stdin.buffer:
        question = json.loads(line.decode("utf-8", "surrogatepass"))
        limit_cpu_time(question["cpu_seconds"])
        answers.write(json.dumps(run_task(question["work"], question["arguments"])).encode() + b"\n")
        answers.flush()


def run_task(task: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """What one of TASKS gives, or which error it raised; a panic ends the process, whose end says so."""
    name = str(arguments.get("name", "The model"))
    try:
        return {"value": TASKS[task](**arguments)}
    except HeadRolesError as error:
        return error_response(error)
    except UnfitError as unfit:
        return error_response(ModelLoadError(f"{name} could not be loaded: {unfit}"))
    except MemoryError:
        return error_response(ModelLoadError(f"{name} could not be loaded: it takes more memory than its files say."))
    except Exception:  # what stands in a file can break the libraries in any way, and their texts repeat it
        return error_response(
            ModelLoadError(f"{name} could not be loaded: its config, tokenizer and weights do not fit together.")
        )


def open_and_test_tokenizer(name: str, folder: str, vocab_size: int) -> dict[str, object]:
    """Opens a folder's tokenizer and cuts texts of many kinds with it; gives what is asked of it once."""
    tokenizer = _tokenizers["tokenizer"] = open_tokenizer(Path(folder), vocab_size)
    for text in TEST_TEXTS:
        for token_id in encode(text, True):
            if not 0 <= token_id < vocab_size:
                raise UnfitError("its tokenizer gives tokens that its weights do not know.")
            decode([token_id])
            convert_id_to_token(token_id)
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "special": tokenizer.all_special_ids,
        "size": len(tokenizer),
        "memory_bytes": psutil.Process().memory_info().rss,
    }


def encode(text: str, split_special_tokens: bool) -> list[int]:
    """The tokens of a text."""
    return _tokenizers["tokenizer"].encode(text, split_special_tokens=split_special_tokens)


def decode(token_ids: list[int]) -> str:
    """The text of tokens."""
    return str(_tokenizers["tokenizer"].decode(token_ids, clean_up_tokenization_spaces=False))


def convert_id_to_token(token_id: int) -> str:
    """The token of a number."""
    return str(_tokenizers["tokenizer"].convert_ids_to_tokens(token_id))


def vocabulary() -> Mapping[str, int]:
    """The number of each token."""
    return _tokenizers["tokenizer"].get_vocab()


def check_model(name: str, folder: str, memory_bytes: int) -> dict[str, object]:
    """Builds a folder's model, tests its attention, and reads a text of the greatest length; gives what it takes in memory."""
    lift_memory_limit()
    from headroles.models.model_check import check_model_folder  # with torch, which takes more room than a tokenizer

    limit_memory_and_files(memory_bytes)
    return {"memory_bytes": check_model_folder(name, Path(folder))}


TASKS: Mapping[str, Callable[..., object]] = {
    work.__name__: work for work in (open_and_test_tokenizer, encode, decode, convert_id_to_token, vocabulary, check_model)
}


def limit_memory_and_files(more_bytes: int) -> None:
    """From now on the process may take that much more memory, and write no file."""
    _set_limit(resource.RLIMIT_AS, psutil.Process().memory_info().vms + more_bytes)
    _set_limit(resource.RLIMIT_FSIZE, 0)


def lift_memory_limit() -> None:
    """Takes the limit of memory back, for our own imports."""
    _set_limit(resource.RLIMIT_AS, resource.getrlimit(resource.RLIMIT_AS)[1])


def limit_cpu_time(seconds: int) -> None:
    """From now on it may keep a processor busy for that long; then it is ended."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + seconds)


def _set_limit(limit: int, amount: int) -> None:
    """Sets what the process may lift again; a system without such a limit (macOS has none for memory) goes without."""
    most = resource.getrlimit(limit)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(limit, (amount if most == resource.RLIM_INFINITY else min(amount, most), most))


if __name__ == "__main__":
    main()
