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
from tests.fixtures.patience import PATIENCE
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


LIBRARY = f"""
for module in {MODULES}:
    importlib.import_module(module)
from headroles import Explorer
Explorer()
close_session()  # the next one shows what makes sessions
print(touched, dict(matplotlib.rcParams) == settings, get_session().timeout == session.timeout)
"""
# one process for both starts: between them it forgets the first
STARTS = """
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory
from headroles.hub.http import READ_TIMEOUT_SECONDS
def start_app():
    from headroles.server.launch import prepare_process
    prepare_process()
def start_analysis():
    import contextlib
    import analysis.__main__
    with contextlib.suppress(SystemExit):
        analysis.__main__.main(["--all"])
for start in (start_app, start_analysis):
    touched.clear()
    set_client_factory(default_client_factory)
    start()
    waits = []
    for _ in range(2):
        waits.append(set(get_session().timeout.as_dict().values()) == {READ_TIMEOUT_SECONDS})
        close_session()  # as the library does when a connection fails
    print(bool(touched), waits, get_session().event_hooks == session.event_hooks, get_session().follow_redirects)
"""


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What a process says of itself after the library was imported, after the app's start, and after that of the analysis."""
    command = [sys.executable, "-c", WATCHED + LIBRARY + STARTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_importing_every_module_and_building_an_explorer_changes_nothing_of_the_process(told):
    assert told[0] == "[] True True"


@pytest.mark.parametrize("line", [1, 2], ids=["the app", "the analysis"])
def test_a_start_tames_the_allocator_and_bounds_every_wait_for_the_hub(told, line):
    assert told[line] == f"{sys.platform == 'linux'} [True, True] True True"


def test_drawings_made_at_once_are_alike_and_leave_matplotlibs_settings_as_they_were(explorer):
    before = dict(matplotlib.rcParams)
    assert before["svg.fonttype"] != "none"
    view = explorer.view_head(EMBEDDED_MODEL, PLAIN, Head(1, 2))
    with ThreadPoolExecutor(4) as threads:
        drawn = set(threads.map(lambda _: to_svg(attention_figure(view)), range(8)))
    assert len(drawn) == 1
    assert "<text" in drawn.pop()
    assert dict(matplotlib.rcParams) == before
