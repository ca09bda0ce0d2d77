"""What is said above the result: how far a job is, and what kind of model is picked."""

from headroles.jobs import Progress
from headroles.render.page.messages import render_model, render_progress
from tests.fixtures.outline import Outline


def test_a_progress_bar_says_what_is_done_how_far_it_is_and_how_long_it_takes_still():
    bar = render_progress(Progress(0.25, "scoring all heads of <b>x</b>"), 30.0)
    assert 'role="progressbar"' in bar
    assert 'aria-valuenow="25"' in bar
    assert "Scoring all heads of &lt;b&gt;x&lt;/b&gt;: 25%, about 2 minutes left." in bar
    Outline(bar)


def test_what_is_said_of_a_model_is_why_how_large_and_under_which_terms():
    assert "12 layers of 12 heads, 124 million parameters, licence mit." in render_model("gpt2")
    assert "gated, it needs an account on the Hub" in render_model("google/gemma-3-270m")
    assert "You can also type" in render_model("gpt2", any_model=True)
    assert "You can also type" not in render_model("gpt2")
    assert "<img" not in render_model("<img src=x>", any_model=True)
