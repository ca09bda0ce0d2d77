"""What endpoints there are and how to call one, for the page and the README."""

from headroles.core.limits import MAX_BATCH_PROMPTS
from headroles.render.html import ASSETS
from headroles.render.page.messages import render_api_help

EXAMPLES = {"Python": "python.py", "JavaScript": "javascript.js", "curl": "shell.sh"}  # in assets/examples
EXAMPLE_URL = "http://127.0.0.1:7860"
# name, arguments, what it gives; the tests hold it against the endpoints themselves
ENDPOINTS = (
    ("models", "", "every model, how many tokens it reads, and the limits of this server"),
    ("categories", "model", "which head plays which role, measured offline"),
    ("analyze", "model, prompt, all_heads = false", "every role with its top heads on this text"),
    ("analyze_batch", "model, prompts, all_heads = false", f"the same for up to {MAX_BATCH_PROMPTS} texts at once"),
    ("compare", 'model, prompt, other_prompt = "", other_model = ""', "what changes between two texts or two models"),
    ("pattern", "model, prompt, layer, head", "the attention of one head, and what it does"),
    ("heatmap", 'model, prompt, layer, head, role = "", format = "png"', "a picture of it, PNG, SVG or PDF"),
    ("figure", 'model, prompt = "", sheet = "text", format = "pdf"', "a sheet for print, of a text or of a model"),
    (
        "explain",
        "model, prompt",
        "what goes on in a text, in words: what is seen, where, why the rest is not, the next word",
    ),
    ("next_tokens", "model, prompt, count = 5", "what comes next after every token, and each token's loss"),
    ("effects", 'model, prompt, heads = null, role = "", query = -1', "what heads write to the next token's logits"),
    (
        "ablate",
        'model, prompt, heads = null, role = "", method = "zero", seed = 0, query = -1',
        "what is lost without heads, beside as many others",
    ),
    ("training", "model", "what every head did at each recorded step of a model's training, and the losses"),
    ("atlas", "", "which share of heads plays which role over all models: by depth, family and size"),
)


def example_text(file: str) -> str:
    """An example as the README has it, with EXAMPLE_URL as the address."""
    return (ASSETS / "examples" / file).read_text("utf-8")


def render_help() -> str:
    """The endpoints and an example in each language; `{url}` stands for the page's address."""
    return render_api_help(
        ENDPOINTS, {title: example_text(file).replace(EXAMPLE_URL, "{url}") for title, file in EXAMPLES.items()}
    )
