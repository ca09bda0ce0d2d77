"""What is said above the result -> HTML: refusals, how far a job is, what kind of model is picked."""

from collections.abc import Iterable, Mapping

from headroles.core.registry import MODELS
from headroles.jobs import Progress
from headroles.render.html import render_template
from headroles.render.wording.sources import describe_model, describe_progress


def render_message(text: str = "") -> str:
    """A line for the visitor; empty when all is well."""
    return render_template("message", text=text) if text else ""


def render_progress(progress: Progress, seconds: float) -> str:
    """A bar with what is being done, how far it is after that many seconds, and how long it will take still."""
    words = describe_progress(progress, seconds)
    return render_template("progress", note=progress.note, percent_done=progress.fraction * 100, words=words)


def render_model(name: str, any_model: bool = False, is_loaded: bool = False) -> str:
    """Why one would pick a model, and its size and terms; with `any_model`, that others can be typed."""
    info = MODELS.get(name)
    unknown = f"{name} is none of the listed models." if is_loaded else f"Explore loads {name} and looks at it."
    about = f"{info.title} {describe_model(info)}" if info else unknown
    hint = " You can also type a model's name on the Hub, or a folder of this server." if any_model and info else ""
    return render_template("model", words=about + hint)


def render_api_help(endpoints: Iterable[tuple[str, str, str]], examples: Mapping[str, str]) -> str:
    """What endpoints there are and how to call one.

    Args:
        endpoints: the name, the arguments and what it gives, of each.
        examples: a program's text by its language; the script writes the page's address where it says `{url}`.
    """
    return render_template("api_help", endpoints=endpoints, examples=examples)
