"""Files that are whole or not there, whatever happens to the process that writes them and whatever else lies in the folder."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headroles.core.records.atomic_files import PARTIAL, clear_halves, make_folder, read_ordinary, write_whole

ROOT = Path(__file__).parents[3]
OLD, NEW = b"old" * 1000, b"new" * 2000
# a program that writes for ever, each time another content, and says how often it has
WRITER = """
import itertools, sys
from pathlib import Path
from headroles.core.records.atomic_files import write_whole
for number in itertools.count(1):
    write_whole(Path(sys.argv[1]), bytes([48 + number % 10]) * 400_000)
    print(number, flush=True)
"""
# one that has begun to write and sleeps
HALF = """
import sys, time
from pathlib import Path
from headroles.core.records.atomic_files import _open_partial
partial, file = _open_partial(Path(sys.argv[1]))
file.write(b"half"); file.flush()
print(partial.name, flush=True)
time.sleep(600)
"""


def start(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.processes
def test_after_sixteen_kills_during_writes_the_file_is_always_a_whole_one_and_halves_go(tmp_path):
    path = tmp_path / "file"
    write_whole(path, OLD)
    for number in range(16):
        process = start(WRITER, path)
        assert process.stdout is not None
        process.stdout.readline()  # it is writing
        time.sleep(number * 0.0007)  # another moment of a write each time
        kill(process)
        content = path.read_bytes()
        assert len(content) == 400_000
        assert len(set(content)) == 1
    clear_halves(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.processes
def test_what_a_dead_process_left_is_deleted_and_what_a_living_one_writes_is_not(tmp_path):
    dead, living = start(HALF, tmp_path), start(HALF, tmp_path)
    try:
        assert dead.stdout is not None
        assert living.stdout is not None
        names = dead.stdout.readline().strip(), living.stdout.readline().strip()
        kill(dead)
        clear_halves(tmp_path)
        assert not (tmp_path / names[0]).exists()
        assert (tmp_path / names[1]).exists()
    finally:
        kill(living)
    clear_halves(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_only_has_the_name_of_a_half_stays_and_holds_nobody_up(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    folder = tmp_path / "folder"
    (folder / f"a{PARTIAL}").mkdir(parents=True)
    os.mkfifo(folder / f"b{PARTIAL}")
    (folder / f"c{PARTIAL}").symlink_to(elsewhere)
    clear_halves(folder)
    assert len(list(folder.iterdir())) == 3
    assert elsewhere.read_text() == "mine"
    clear_halves(tmp_path / "nowhere")
    clear_halves(elsewhere)


CALLS = ["os.fsync", "os.replace", "pathlib.Path.mkdir", "pathlib.Path.open", "os.fstat"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("call", CALLS)
def test_whichever_call_fails_the_old_file_is_whole_and_no_half_stays(tmp_path, monkeypatch, call, code):
    path = tmp_path / "file"
    write_whole(path, OLD)

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        with pytest.raises(OSError, match=os.strerror(code)):
            write_whole(path, NEW)
    assert path.read_bytes() == OLD
    clear_halves(tmp_path)  # where the call failed between the half and its lock
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


# a limit of the system on the size of files stands in for a full disk: the write itself fails, in its middle
FULL = """
import resource, signal, sys
from pathlib import Path
from headroles.core.records.atomic_files import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    write_whole(Path(sys.argv[1]), b"new" * 2000)
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.processes
def test_a_write_that_fails_in_its_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_whole(path, OLD)
    process = start(FULL, path)
    assert process.communicate()[0] == "File too large\n"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == OLD


def test_file_and_folder_are_synced_in_this_order(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(os.readlink(f"/proc/self/fd/{number}")), fsync(number))[1])
    monkeypatch.setattr(os, "replace", lambda one, other: (done.append("replaced"), replace(one, other))[1])
    write_whole(tmp_path / "file", NEW)
    assert [Path(done[0]).suffix, done[1], done[2]] == [PARTIAL, "replaced", str(tmp_path)]


@pytest.mark.parametrize("what", ["folder", "pipe", "link to nowhere", "link to itself", "link to a folder"])
def test_what_stands_in_the_way_is_replaced_or_put_aside_and_nothing_behind_it_changes(tmp_path, what):
    path, behind = tmp_path / "file", tmp_path / "behind"
    behind.mkdir()
    (behind / "mine").write_text("mine")
    if what == "folder":
        path.mkdir()
        (path / "inside").write_text("inside")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"link to nowhere": tmp_path / "nowhere", "link to itself": path, "link to a folder": behind}[what])
    write_whole(path, NEW)
    assert path.read_bytes() == NEW
    assert path.is_file()
    assert not path.is_symlink()
    assert (behind / "mine").read_text() == "mine"
    aside = list(tmp_path.glob("file.aside-*"))
    assert [(file / "inside").read_text() for file in aside] == ["inside"] * (what == "folder")


def test_a_folder_is_made_where_a_file_stands(tmp_path):
    home = tmp_path / "home"
    make_folder(home / "records" / "of" / "one", home)
    make_folder(home / "records" / "of" / "one", home)
    (home / "others").write_text("a note")
    make_folder(home / "others" / "of" / "one", home)
    assert (home / "others" / "of" / "one").is_dir()
    assert [file.read_text() for file in home.glob("others.aside-*")] == ["a note"]
    with pytest.raises(OSError, match="exists"):  # outside its home it moves nothing
        make_folder(home / next(home.glob("others.aside-*")) / "records", home / next(home.glob("others.aside-*")))


@pytest.mark.parametrize("path", ["pipe", "folder", "/dev/zero", "/dev/null", "link to a pipe"])
def test_what_is_no_ordinary_file_is_never_read(tmp_path, path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link to a pipe").symlink_to(tmp_path / "pipe")
    with pytest.raises(OSError, match="no ordinary file") as caught:
        read_ordinary(tmp_path / path, 10)
    assert caught.value.errno == errno.EINVAL
    # nor where it became one just after it was looked at
    (tmp_path / "ordinary").write_text("x")
    ordinary, looked_at = os.stat(tmp_path / "ordinary"), os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: ordinary if isinstance(path, Path) else looked_at(path, **how))
    with pytest.raises(OSError, match="no ordinary file|Is a directory"):
        read_ordinary(tmp_path / path, 10)


def test_a_link_to_a_file_is_read_up_to_the_limit(tmp_path):
    (tmp_path / "file").write_bytes(NEW)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_ordinary(tmp_path / "link", 10) == NEW[:10]
