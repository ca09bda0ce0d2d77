"""How the app starts: a wrong setting ends it in one sentence, and what is served is the page with the limits of its settings."""

import gradio as gr
import pytest

from headroles.__main__ import main
from headroles.server import launch
from headroles.server.gate.request_queue import events_at_once
from headroles.settings import read_settings
from tests.fixtures.web import read


def test_a_wrong_setting_ends_the_start_in_one_sentence(monkeypatch):
    monkeypatch.setenv("HEADROLES_QUEUE", "many")
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == "HEADROLES_QUEUE must be a whole number from 0 to 99999, but is 'many'."


def test_main_prepares_the_process_and_serves_the_page_as_its_settings_say(monkeypatch):
    monkeypatch.setenv("HEADROLES_QUEUE", "3000")
    steps: list[object] = []
    monkeypatch.setattr(launch, "prepare_process", lambda: steps.append("prepared"))
    real = gr.Blocks.launch

    def serve_and_look(app: gr.Blocks, **options: object) -> None:
        steps.append(options["max_threads"])
        _, url, _ = real(app, **{**options, "prevent_thread_lock": True, "quiet": True})  # type: ignore[arg-type]
        steps.append("headroles" in read(url))
        app.close()

    monkeypatch.setattr(gr.Blocks, "launch", serve_and_look)
    main([])
    assert steps == ["prepared", events_at_once(read_settings()), True]
