"""GGUF files that are broken, or hostile: each is refused by name, soon, in little memory, and tells nothing of the server."""

import logging
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headroles.errors import HeadRolesError, MissingPackageError, ModelTooLargeError
from headroles.explorer import Explorer
from headroles.hub import gguf as gguf_module
from headroles.hub.repository import inspect
from headroles.models.loading.loader import load_model
from headroles.models.model_pool import ModelPool
from headroles.settings import Settings
from tests.fixtures.gguf_faults import FAULTS, Fault, header_bytes, honest, honest_bytes
from tests.fixtures.gguf_files import write
from tests.fixtures.refusals import (
    MEMORY_BYTES,
    REFUSED_SECONDS,
    check_sentence,
    check_silence,
    most_resident,
    never_stuck,
    read,
    resident,
)

__all__ = ["never_stuck"]  # a fixture that holds for every test of this file
pytestmark = pytest.mark.usefixtures("one_thread")
NAME = "org/stranger"
BY_NAME = {fault.name: fault for fault in FAULTS}


@pytest.fixture(scope="module")
def usual_bytes(tmp_path_factory) -> int:
    """What reading the honest file adds to this process at most, once everything that it needs is imported."""
    path = write(tmp_path_factory.mktemp("honest") / "x.gguf", honest())
    read(NAME, path, "The king")
    before = resident()
    read(NAME, path, "The king")
    return most_resident() - before


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_broken_file_is_refused_by_name_soon_and_in_little_memory(fault: Fault, tmp_path, caplog, capfd, usual_bytes):
    path = tmp_path / fault.file
    fault.build(path)
    caplog.set_level(logging.DEBUG)
    before, began = resident(), time.process_time()
    with pytest.raises(HeadRolesError) as caught:
        read(NAME, path, "The king and the queen")
    seconds, most = time.process_time() - began, most_resident()
    check_sentence(caught.value, fault.refusal, tmp_path)
    assert NAME in str(caught.value) or path.name in str(caught.value)
    assert seconds < REFUSED_SECONDS
    assert most - before < usual_bytes + MEMORY_BYTES
    check_silence(caplog, capfd, tmp_path)


def test_faults_are_many_and_each_has_a_name_of_its_own():
    assert len(BY_NAME) == len(FAULTS) >= 80


@pytest.mark.parametrize(
    "name", ["another magic", "a billion bytes in a list", "one part of three", "a pipe", "a link to nothing"]
)
def test_what_is_looked_at_before_anything_is_read_says_the_same(name, tmp_path):
    fault = BY_NAME[name]
    fault.build(tmp_path / fault.file)
    with pytest.raises(HeadRolesError, match=fault.refusal):
        inspect(tmp_path / fault.file)


@pytest.mark.processes
def test_the_page_says_what_is_wrong_with_a_file_and_goes_on(tmp_path):
    """A fault of each kind that is seen at another time: in the header, in the tokenizer's process, in that of the weights."""
    explorer = Explorer(Settings(any_model=True, home=tmp_path / "home"))
    for name in ("2**60 tensors", "merges of no tokens", "nan among the weights"):
        fault = BY_NAME[name]
        path = tmp_path / f"{len(name)}.gguf"
        fault.build(path)
        with pytest.raises(HeadRolesError) as caught:
            explorer.analyze(str(path), "The king and the queen")
        # the visitor typed the path, so it may stand in the answer; nothing else of the server's does
        error = type(caught.value)(str(caught.value).replace(str(path), "the model"))
        check_sentence(error, fault.refusal, tmp_path)


def test_a_file_that_is_too_large_as_float32_is_refused_before_anything_of_it_is_read(tmp_path):
    path = write(tmp_path / "x.gguf", honest())
    read_files: list[str] = []
    numbers = inspect(path).parameters

    def never(*_: object) -> None:
        read_files.append("read")

    pool = ModelPool(4 * numbers - 1, fetch=never, load=never)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ModelTooLargeError, match="million parameters, which take .* of memory with 4 bytes each"):
        pool.use("x", path, lambda reader: reader)
    assert not read_files
    with pytest.raises(ModelTooLargeError):
        Explorer(Settings(any_model=True, memory_bytes=4 * numbers - 1, home=tmp_path)).analyze(str(path), "The king")


def test_without_the_package_that_reads_such_files_its_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "x.gguf", honest())
    gguf_module._read_once.cache_clear()
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "headroles.hub.gguf_reader", raising=False)
    sentence = r"^Reading GGUF files needs gguf, which is not installed: pip install 'headroles\[gguf\]'\.$"
    for open_ in (inspect, lambda path: load_model("m", path)):
        with pytest.raises(MissingPackageError, match=sentence):
            open_(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_bytes_of_the_header_are_others_it_opens_or_is_refused_soon(tmp_path, data):
    content = bytearray(honest_bytes())
    places = st.integers(0, header_bytes() - 1) | st.integers(0, 2000) | st.integers(header_bytes() - 1500, header_bytes() - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.gguf"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    began, refusal = time.process_time(), ""
    try:
        load_model(NAME, path)
    except HeadRolesError as error:
        refusal = str(error)
    assert refusal.isprintable()
    assert not refusal or time.process_time() - began < REFUSED_SECONDS
