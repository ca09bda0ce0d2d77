"""Behind a real proxy at a path of its own everything works; what a client says of hosts and schemes is believed of a proxy."""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urljoin

import pytest
from starlette.middleware import Middleware

from headroles.core.registry import EMBEDDED_MODEL
from headroles.explorer import Explorer
from headroles.server.gate.proxy_headers import ProxyHeaders
from headroles.server.gate.request_queue import events_at_once
from headroles.server.layout import build_app
from tests.conftest import REPEATING
from tests.fixtures.app_process import stop
from tests.fixtures.patience import wait_until
from tests.fixtures.web import call, read

FORGED = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Gradio-Server": "http://worse.example"}


@contextmanager
def serve_page(explorer: Explorer, trusted: bool, root_path: str = "") -> Iterator[str]:
    app = build_app(explorer)
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False, "max_threads": events_at_once(explorer.settings)}
    middleware = [Middleware(ProxyHeaders, trusted=trusted)]
    _, url, _ = app.launch(**options, root_path=root_path, app_kwargs={"middleware": middleware})
    try:
        yield url.rstrip("/")
    finally:
        app.close()


def root_of(page: str) -> str:
    """Where the page says that it is, which its scripts and links begin with."""
    found = re.search(r'"root":\s*"([^"]*)"', page)
    assert found
    return found[1]


def test_what_a_client_says_of_host_and_scheme_is_not_believed(explorer):
    with serve_page(explorer, trusted=False) as url:
        for path in ("/", "/config"):
            answer = read(url + path, headers=FORGED)
            assert root_of(answer) == url
            assert "evil.example" not in answer
            assert "worse.example" not in answer


def test_what_a_trusted_proxy_says_is_believed_and_nothing_else(explorer):
    with serve_page(explorer, trusted=True) as url:
        answer = read(url + "/config", headers=FORGED)
    assert root_of(answer) == "https://evil.example"
    assert "worse.example" not in answer


NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location /roles/ {{
      proxy_pass {url}/;
      proxy_buffering off;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""


@pytest.fixture
def nginx(tmp_path) -> Iterator[Callable[[str], str]]:
    """Puts a proxy in front of an address, at the path /roles; gives the proxy's own address."""
    started: list[subprocess.Popen] = []

    def start(url: str) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (tmp_path / "nginx.conf").write_text(NGINX.format(folder=tmp_path, port=port, url=url))
        started.append(subprocess.Popen(["nginx", "-p", str(tmp_path), "-e", f"{tmp_path}/error.log", "-c", "nginx.conf"]))
        wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), (tmp_path / "error.log").read_text)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        stop(process)


@pytest.mark.processes
@pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx here")
def test_behind_nginx_at_a_path_of_its_own_page_api_and_files_work(explorer, nginx):
    with serve_page(explorer, trusted=False, root_path="/roles") as url:
        proxy = nginx(url)
        page = read(f"{proxy}/roles/", headers={"X-Forwarded-Host": "evil.example"})
        assert root_of(page) == f"{proxy}/roles"
        assert "evil.example" not in page
        # the page's own scripts and sheets
        files = set(re.findall(r'(?:src|href)="(\./assets/[^"]+|/roles/[^"]+|' + re.escape(proxy) + '/roles/[^"]+)"', page))
        assert files
        for file in files:
            assert read(urljoin(f"{proxy}/roles/", file) if not file.startswith("http") else file)
        event, answer = call(f"{proxy}/roles", "/analyze", [EMBEDDED_MODEL, REPEATING])
        assert event == "complete"
        assert "induction" in {role["key"] for role in answer["roles"]}
