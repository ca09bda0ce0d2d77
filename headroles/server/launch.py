"""Starts the app: what holds for its whole process, settings from the environment, build, launch."""

import os
import sys

import gradio as gr

from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.hub.copies import clear_up
from headroles.hub.talk import bound_waits
from headroles.models.pool import map_large_tensors
from headroles.render.html import STYLES
from headroles.server.limits import events_at_once
from headroles.server.page import THEME, build_app
from headroles.settings import Settings


def main() -> None:
    """Serves the page until it is stopped; ends the process with one sentence when a setting is wrong."""
    settings = read_settings()
    serve(build(settings), settings)


def read_settings() -> Settings:
    """What the environment says; ends the process with one sentence when that is wrong."""
    try:
        return Settings.from_environment()
    except InvalidInputError as error:
        sys.exit(str(error))


def prepare_process() -> None:
    """What holds for every thread and every library of the process: how long the Hub is waited for, and where tensors lie."""
    bound_waits()
    map_large_tensors()


def build(settings: Settings) -> gr.Blocks:
    """The app, in a process that is prepared for it."""
    prepare_process()
    clear_up(settings.home)
    return build_app(Explorer(settings))


def serve(app: gr.Blocks, settings: Settings) -> None:
    app.launch(
        server_name=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        theme=THEME,
        css_paths=[*STYLES],
        footer_links=["api", "gradio", "settings"],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        max_threads=events_at_once(settings),
        mcp_server=settings.mcp,
    )
