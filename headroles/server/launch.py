"""Starts the app: what holds for its whole process, settings from the environment, build, launch."""

import sys
from typing import Any

import gradio as gr
from gradio import http_server
from starlette.middleware import Middleware

from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.hub.cache import delete_partial_files
from headroles.hub.http import set_timeouts
from headroles.models.model_pool import configure_malloc
from headroles.render.html import STYLES
from headroles.server.addresses import check_address, gradios_name
from headroles.server.gate.middleware import guard
from headroles.server.gate.proxy_headers import ProxyHeaders
from headroles.server.gate.request_queue import events_at_once
from headroles.server.layout import THEME, build_app
from headroles.settings import Settings


def prepare_process() -> None:
    """What holds for every thread and every library of the process: how long the Hub is waited for, and where tensors lie."""
    set_timeouts()
    configure_malloc()


def build(settings: Settings) -> gr.Blocks:
    """The app, in a process that is prepared for it."""
    prepare_process()
    delete_partial_files(settings.home)
    return build_app(Explorer(settings))


def serve(app: gr.Blocks, settings: Settings) -> None:
    """Serves until it is stopped; ends the process with one sentence when it cannot listen where it should."""
    # gradio tries whether a port is free at what the environment says, and only knows how to for IPv4
    http_server.LOCALHOST_NAME = "127.0.0.1"
    try:
        check_address(settings)
        app.launch(
            server_name=gradios_name(settings.host),
            server_port=settings.port,
            theme=THEME,
            css_paths=[*STYLES],
            footer_links=["api", "gradio", "settings"],
            run_history=False,
            show_error=False,
            ssr_mode=False,
            max_threads=events_at_once(settings),
            mcp_server=settings.mcp,
            app_kwargs=_app_kwargs(app, settings),
        )
    except InvalidInputError as error:
        sys.exit(str(error))
    except OSError:  # gradio's, when no port is left
        sys.exit(f"There is no free port at {settings.host}; set GRADIO_SERVER_PORT to one that is.")


def _app_kwargs(app: gr.Blocks, settings: Settings) -> dict[str, Any]:
    """What stands before gradio: first the headers that only a proxy may send, then the door."""
    kwargs = guard(app, settings)
    return {**kwargs, "middleware": [Middleware(ProxyHeaders, trusted=settings.trust_proxy), *kwargs["middleware"]]}
