"""What holds for a whole process is set when the app or the analysis starts, never by who only uses the library."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import pytest

from headroles.core.heads import Head
from headroles.core.registry import EMBEDDED_MODEL
from headroles.render.figures.heatmaps import attention_figure, to_svg
from tests.conftest import PLAIN
from tests.test_architecture import MODULES, ROOT

pytestmark = pytest.mark.processes

WATCHED = """
import ctypes, importlib

class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "mallopt":
            touched.append(name)
        return super().__getattr__(name)

touched, ctypes.CDLL = [], Watched
import matplotlib
from huggingface_hub import close_session, get_session
session, settings = get_session(), dict(matplotlib.rcParams)
"""


def told(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", WATCHED + code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_importing_every_module_and_building_an_explorer_changes_nothing_of_the_process():
    code = f"""
for module in {MODULES}:
    importlib.import_module(module)
from headroles import Explorer
Explorer()
close_session()  # the next one shows what makes sessions
print(touched, dict(matplotlib.rcParams) == settings, get_session().timeout == session.timeout)
"""
    assert told(code) == ["[] True True"]


@pytest.mark.parametrize(
    "start",
    [
        "from headroles.server.launch import prepare_process; prepare_process()",
        "import analysis.__main__ as a, contextlib; exec('with contextlib.suppress(SystemExit): a.main([\"--all\"])')",
    ],
    ids=["the app", "the analysis"],
)
def test_a_start_tames_the_allocator_and_bounds_every_wait_for_the_hub(start):
    code = f"""
{start}
from headroles.hub.http import READ_TIMEOUT_SECONDS
waits = []
for _ in range(2):
    waits.append(set(get_session().timeout.as_dict().values()) == {{READ_TIMEOUT_SECONDS}})
    close_session()  # as the library does when a connection fails
print(bool(touched), waits, get_session().event_hooks == session.event_hooks, get_session().follow_redirects)
"""
    assert told(code) == [f"{sys.platform == 'linux'} [True, True] True True"]


def test_drawings_made_at_once_are_alike_and_leave_matplotlibs_settings_as_they_were(explorer):
    before = dict(matplotlib.rcParams)
    assert before["svg.fonttype"] != "none"
    view = explorer.view_head(EMBEDDED_MODEL, PLAIN, Head(1, 2))
    with ThreadPoolExecutor(4) as threads:
        drawn = set(threads.map(lambda _: to_svg(attention_figure(view)), range(8)))
    assert len(drawn) == 1
    assert "<text" in drawn.pop()
    assert dict(matplotlib.rcParams) == before
