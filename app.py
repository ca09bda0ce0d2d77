"""The Space's entry: settings from the environment, build, launch."""

import os
import sys

from headroles.errors import InvalidInputError
from headroles.explorer import Explorer
from headroles.render.html import STYLES
from headroles.server.limits import events_at_once
from headroles.server.page import THEME, build_app
from headroles.settings import Settings

try:
    settings = Settings.from_environment()
except InvalidInputError as error:
    sys.exit(str(error))
app = build_app(Explorer(settings))

if __name__ == "__main__":
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
