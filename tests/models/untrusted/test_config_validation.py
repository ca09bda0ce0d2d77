"""What is checked of config.json, tokenizer.json and tokenizer_config.json: changed at random nothing of them does harm, and what
was saved by the library is read as the library reads it."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from headroles.core.registry import ALIKE, ARCHITECTURES, EMBEDDED_FOLDER, MIXED, MODELS, WITH_SINK, get_model_info
from headroles.hub.plain_files import UnfitError
from headroles.hub.repository import RepositoryFacts, read_config
from headroles.hub.weights import Shapes, tensor_shapes
from headroles.models.layer_kinds import other_layers
from headroles.models.loading.loader import attention_windows, context_length, read_model, registered_config
from headroles.models.untrusted import config_validation as config_check
from headroles.models.untrusted.config_validation import validate_config
from headroles.models.untrusted.tokenizer_loader import open_tokenizer
from headroles.models.untrusted.tokenizer_schema import parse_tokenizer
from tests.fixtures.architectures import SHAPES, VOCABULARY, build, mark_thorough
from tests.fixtures.strange_files import NAMES_A_FILE, SECRET, plant

EMBEDDED = EMBEDDED_FOLDER
READ = ("config.json", "tokenizer.json", "tokenizer_config.json")
PLACE = "{secret}"  # becomes the path of the planted secret
EXAMPLES = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def nested(depth: int, inner: object = 1) -> object:
    for number in range(depth):
        inner = [inner] if number % 2 else {"type": inner}
    return inner


EVIL = (
    f"{PLACE}.txt", f"{PLACE}.json", f"file://{PLACE}.txt", "/dev/ptmx", {"path": f"{PLACE}.txt"}, [f"{PLACE}.json"], SECRET,
    10**400, -(10**400), 2**63, 2**31, 10**7, 4097, -1, 0, 1, 1e308, float("inf"), float("nan"), 0.5,
    nested(300), nested(3, SECRET), [[]] * 2000, {f"k{number}": number for number in range(2000)},
    None, True, False, "", "gpt2", "x" * 10**5, "\ud800", "\x1b[2J\n", [], {}, [None], {"": None}, ["a", 1.5, {"b": []}],
)  # fmt: skip
NEW_KEYS = (
    *NAMES_A_FILE,
    "__class__",
    "from_pretrained",
    "quantization_config",
    "rope_scaling",
    "rope_parameters",
    "layer_types",
)


@st.composite
def changed(draw: st.DrawFn, honest: Path | str) -> Any:
    """What a JSON file or a registered model's config says, with up to three values replaced, taken away, or put beside them."""
    return draw(changed_document(json.loads(honest.read_text("utf-8") if isinstance(honest, Path) else text_of(honest))))


@st.composite
def changed_document(draw: st.DrawFn, document: Any) -> Any:
    """The same of what was read."""
    for _ in range(draw(st.integers(1, 3))):
        place = document
        while True:
            if isinstance(place, dict) and (not place or draw(st.integers(0, 4)) == 0):
                place[draw(st.sampled_from(NEW_KEYS))] = deepcopy(draw(st.sampled_from(EVIL)))
                break
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                del place[key]
            else:
                place[key] = deepcopy(draw(st.sampled_from(EVIL)))  # of one's own, since it may be changed next
            break
    return document


_watched: list[str] | None = None  # the names that are opened, while somebody looks


def _note(event: str, told: tuple) -> None:
    if event == "open" and _watched is not None and isinstance(told[0], str | bytes | Path):
        _watched.append(Path(os_text(told[0])).as_posix())


def os_text(path: str | bytes | Path) -> str:
    return path.decode() if isinstance(path, bytes) else str(path)


sys.addaudithook(_note)


@contextmanager
def opened_under(place: Path) -> Iterator[set[str]]:
    """The names of all files below a folder that Python code opens meanwhile."""
    global _watched
    _watched, found = [], set[str]()
    try:
        yield found
    finally:
        found.update(Path(name).relative_to(place).as_posix() for name in _watched if Path(name).is_relative_to(place))
        _watched = None


def told(work: Callable[[], object]) -> str:
    """What is said of files that are refused; nothing of others. Any other error is the test's."""
    said = ""
    try:
        work()
    except UnfitError as error:
        said = str(error)
    assert not said or said.startswith(("its ", "it has "))
    assert said.isprintable()
    assert len(said) < 400
    return said


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with secrets, and in it that of the embedded model, without its weights."""
    place = tmp_path_factory.mktemp(SECRET)  # so that a path shows as well
    (place / "model").mkdir()
    for name in READ:
        shutil.copy(EMBEDDED / name, place / "model" / name)
    plant(place / "model")
    return place


def write(place: Path, name: str, document: object) -> None:
    text = json.dumps(document).replace(PLACE, str(place / "secret"))
    (place / "model" / name).write_text(text, "utf-8")


@lru_cache
def shapes_of(name: str) -> Shapes:
    """Of a registered model's tensors, which nobody makes."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(registered_config(get_model_info(name)))
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def text_of(name: str) -> str:
    return json.dumps(json.loads(registered_config(get_model_info(name)).to_json_string(use_diff=False)))


@lru_cache
def small_of(architecture: str) -> tuple[str, Shapes]:
    """The config of the tests' small model of an architecture, and the shapes of its tensors."""
    config = AutoConfig.for_model(architecture, vocab_size=VOCABULARY, **SHAPES[architecture])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    return json.dumps(json.loads(config.to_json_string(use_diff=False))), shapes


OF_EACH_KIND = tuple({info.model_type: name for name, info in reversed(list(MODELS.items()))}.values())


@EXAMPLES
@given(data=st.data())
def test_a_config_of_random_changes_is_a_config_or_refused(place, data):
    name = data.draw(st.sampled_from(OF_EACH_KIND))
    write(place, "config.json", data.draw(changed(name)))

    def check() -> None:
        config = validate_config(read_config(place / "model"), shapes_of(name))
        assert len(attention_windows(config)) == config.num_hidden_layers
        assert context_length(config) > 0

    with opened_under(place) as opened:
        assert SECRET not in told(check)
    assert opened == {"model/config.json"}


NEWER = (*ALIKE[ALIKE.index("gemma4_text") :], *MIXED, *WITH_SINK)


@EXAMPLES
@given(data=st.data())
def test_a_config_of_a_newer_architecture_of_random_changes_is_a_config_or_refused(place, data):
    text, shapes = small_of(data.draw(st.sampled_from(NEWER)))
    write(place, "config.json", data.draw(changed_document(json.loads(text))))

    def check() -> None:
        config = validate_config(read_config(place / "model"), shapes)
        others = other_layers(config)
        assert len(attention_windows(config)) == config.num_hidden_layers > len(others)
        assert set(others) < set(range(config.num_hidden_layers))

    with opened_under(place) as opened:
        assert SECRET not in told(check)
    assert opened == {"model/config.json"}


@pytest.mark.parametrize("architecture", mark_thorough(NEWER))
def test_a_size_of_a_million_is_refused_wherever_it_stands(architecture):
    """As a number of layers, chunks, states, experts or heads it would take all the memory."""
    text, shapes = small_of(architecture)
    sizes = {key for key, value in json.loads(text).items() if key in config_check.MAX_SIZES and isinstance(value, int) and value}
    allowed = {key for key in sizes if config_check.MAX_SIZES[key] >= 10**6}
    for key in sorted(sizes - allowed):
        with pytest.raises(UnfitError, match=f"must have a whole number from [01] to [0-9,]+ as {key}|cannot be at"):
            validate_config({**json.loads(text), key: 10**6}, shapes)


@EXAMPLES
@given(data=st.data())
def test_a_tokenizer_of_random_changes_is_a_tokenizer_or_refused(place, data):
    shutil.copy(EMBEDDED / "tokenizer_config.json", place / "model")
    write(place, "tokenizer.json", data.draw(changed(EMBEDDED / "tokenizer.json")))
    content = (place / "model" / "tokenizer.json").read_bytes()

    def check() -> None:
        assert open_tokenizer(place / "model", 3072).vocab_size <= 3072

    with opened_under(place) as opened:
        refused = told(lambda: parse_tokenizer(content))
        assert SECRET not in refused + told(check)
    assert opened <= {"model/tokenizer.json", "model/tokenizer_config.json"}
    assert "model/tokenizer.json" in opened


@EXAMPLES
@given(data=st.data())
def test_tokenizer_settings_of_random_changes_are_read_or_refused(place, data):
    shutil.copy(EMBEDDED / "tokenizer.json", place / "model")
    write(place, "tokenizer_config.json", data.draw(changed(EMBEDDED / "tokenizer_config.json")))

    def check() -> None:
        tokenizer = open_tokenizer(place / "model", 3072)
        assert len(tokenizer) == 3072  # no token is new
        assert SECRET not in json.dumps([tokenizer.get_vocab(), tokenizer.special_tokens_map])

    with opened_under(place) as opened:
        assert SECRET not in told(check)
    assert opened == {"model/tokenizer.json", "model/tokenizer_config.json"}


# what is honest stays as it is


@pytest.mark.parametrize("name", MODELS)
def test_the_config_of_every_registered_model_would_pass(name):
    config = validate_config(json.loads(text_of(name)), shapes_of(name))
    assert differences(config.to_dict(), registered_config(get_model_info(name)).to_dict()) == set()


NO_FORWARD = {"architectures", "transformers_version", "_name_or_path", "dtype", "bos_token_id", "eos_token_id", "pad_token_id"}


def differences(some: Mapping[str, object], others: Mapping[str, object]) -> set[str]:
    """The keys at which two configs differ, but for those that a forward does not look at."""
    return {key for key in {*some, *others} - NO_FORWARD if some.get(key) != others.get(key)}


@pytest.mark.parametrize("architecture", mark_thorough(ARCHITECTURES))
def test_what_was_saved_is_read_as_the_library_reads_it(architecture, tmp_path, one_thread):
    build(architecture).save_pretrained(tmp_path)
    config = validate_config(read_config(tmp_path), tensor_shapes(tmp_path))
    theirs = AutoConfig.from_pretrained(tmp_path)
    assert differences(config.to_dict(), theirs.to_dict()) == set()
    dtype = (
        torch.float32 if "expert" in json.dumps(SHAPES[architecture]) else torch.float64
    )  # torch's products of grouped matrices have no doubles
    ours = read_model("m", RepositoryFacts(str(tmp_path), architecture, 0, 0, path=tmp_path), tmp_path, dtype)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype, attn_implementation="eager").eval()
    token_ids = torch.arange(1, 41)[None]
    with torch.no_grad():
        assert torch.equal(ours(token_ids).logits, model(token_ids).logits)
