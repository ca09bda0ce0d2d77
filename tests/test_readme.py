"""What the documents say is so: links lead somewhere, the front matter is a Space's, facts are the code's."""

import ast
import html
import json
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from gradio_client import Client

from analysis.publish.model_docs import PAGES as WITH_MODELS
from analysis.publish.model_docs import architectures, fill_in_models
from headroles.core.limits import MAX_BATCH_PROMPTS, MAX_PROMPT_CHARACTERS, MAX_PROMPT_TOKENS
from headroles.core.records.head_categories import MAX_TOP_HEADS, HeadCategories
from headroles.core.records.record_files import MAX_RECORD_BYTES
from headroles.core.registry import ARCHITECTURES, EMBEDDED_MODEL, MODELS
from headroles.core.roles.roles import ROLES, get_measured_role
from headroles.core.surveys.atlas_entries import MAX_ATLAS_BYTES, MAX_ENTRIES
from headroles.core.surveys.training_run import MAX_POINTS, MAX_TRAINING_BYTES
from headroles.explorer import Explorer
from headroles.hub import gguf_reader, http, weights
from headroles.hub.download import DISK_RESERVE
from headroles.hub.repository import MEGABYTE, UNTRUSTED_FILES
from headroles.models import model_pool
from headroles.models.loading import aging_cache
from headroles.models.loading.model_builder import MOST_BUFFER_BYTES
from headroles.models.probes.probe_texts import ProbeSizes
from headroles.models.untrusted import config_validation, sandbox, subprocess_worker, tokenizer_loader, tokenizer_schema
from headroles.models.untrusted.tokenizer_components import MAX_PARTS
from headroles.server.api.endpoints import Endpoints
from headroles.server.gate import middleware, sessions
from headroles.server.gate.rate_limit import MAX_VISITORS
from headroles.server.gate.request_queue import LARGE_PROMPTS, RequestQueue
from headroles.server.page.page_state import TABS, PageState
from headroles.settings import GIGABYTE, Settings
from tests.fixtures.api_server import serve_api
from tests.fixtures.documents import BLOCKS, EXTRAS, LINKS, PAGES, PYPROJECT, ROOT

README = PAGES["README.md"]


@pytest.fixture(scope="module")
def url(explorer: Explorer) -> Iterator[str]:
    with serve_api(explorer) as address:
        yield address


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_links_lead_somewhere(page, target):
    if target.startswith("https://"):
        return
    path, _, anchor = target.partition("#")
    found = (ROOT / page).parent / path if path else ROOT / page
    assert found.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_readme_and_every_picture_is_shown():
    read_on = {page for page in PAGES if page.startswith("docs/")} - {"docs/README.md", "docs/package.md"}
    assert read_on < {target for page, target in LINKS if page == "README.md"}
    listed = {f"docs/{target}" for page, target in LINKS if page == "docs/README.md"} | {"docs/README.md"}
    assert listed == {page for page in PAGES if page.startswith("docs/")}
    shown = {Path(target).name for _, target in LINKS if target.endswith(".png")}
    assert shown == {path.name for path in (ROOT / "docs").glob("*.png")}


def test_the_front_matter_is_what_a_space_needs():
    matter = yaml.safe_load(README.split("---")[1])
    assert matter["sdk"] == "gradio"
    assert (ROOT / matter["app_file"]).is_file()
    assert matter["license"] == "apache-2.0"
    assert len(matter["short_description"]) <= 60
    assert str(matter["python_version"]) in ("3.10", "3.11", "3.12")
    assert re.fullmatch(r"\d+\.\d+\.\d+", str(matter["sdk_version"]))
    assert matter["models"] == [info.source for info in MODELS.values() if isinstance(info.source, str)]
    assert all(entry.split()[0] in matter["models"] for entry in matter["preload_from_hub"])


def test_the_readme_is_for_whoever_arrives():
    assert len(README.splitlines()) <= 120
    order = ("![", "\nmake demo", "\nmake test", "\npip install", "```python", "## Where to read on")
    assert sorted(map(README.index, order)) == list(map(README.index, order))


def test_the_page_of_the_package_index_stands_alone():
    assert re.search(r'^readme = "docs/package.md"$', PYPROJECT, re.M)
    page = PAGES["docs/package.md"]
    assert page.startswith("# headroles\n")
    assert not [target for where, target in LINKS if where == "docs/package.md"]
    assert set(re.findall(r"^\| `headroles\[(\w+)\]`", page, re.M)) == EXTRAS


@pytest.mark.parametrize("page", WITH_MODELS)
def test_what_a_page_says_of_models_is_the_registrys(page):
    assert fill_in_models(PAGES[page]) == PAGES[page], "run `python -m analysis docs`"


def test_the_page_of_models_names_every_model_and_architecture():
    assert all(f"| {name} |" in PAGES["docs/models.md"] for name in MODELS)
    named = {name for line in architectures().splitlines() for name in line.partition(": ")[2].rstrip(".").split(", ") if name}
    assert named == set(ARCHITECTURES)
    assert architectures() in PAGES["docs/models.md"]


def test_visitors_are_told_of_every_role():
    assert all(f"| {role.display_name} |" in PAGES["docs/visitors.md"] for role in ROLES.values())


def test_the_endpoints_take_and_give_what_programmers_are_told(url):
    page = PAGES["docs/programmers.md"]
    rows = re.findall(r"^\| `(/\w+)` \| ?(.*?) ?\| `\{(.*?)\}", page, re.M)
    client = Client(url, verbose=False)
    endpoints = cast(dict, client.view_api(print_info=False, return_format="dict"))["named_endpoints"]
    assert {name for name, _, _ in rows} == set(endpoints)
    text, head = "The cat sat on the mat. The cat sat on the", (EMBEDDED_MODEL, "one two one two", 2, 2)
    values = {
        "/models": (),
        "/categories": (EMBEDDED_MODEL,),
        "/analyze_batch": (EMBEDDED_MODEL, [text]),
        "/compare": (EMBEDDED_MODEL, text, "one two one two"),
        "/pattern": head,
        "/heatmap": head,
        "/effects": (EMBEDDED_MODEL, text, ["L2H2"]),
        "/ablate": (EMBEDDED_MODEL, text, ["L2H2"]),
        "/training": (EMBEDDED_MODEL,),
        "/atlas": (),
    }
    for name, arguments, gives in rows:
        taken = ", ".join(map(signature, endpoints[name]["parameters"]))
        assert arguments == (f"`{taken}`" if taken else "")
        result = client.predict(*values.get(name, (EMBEDDED_MODEL, text)), api_name=name)
        assert set(gives.split(", ")) == set(result) - {"api_version"}
        assert f'now "{result["api_version"]}"' in page


def signature(parameter: dict) -> str:
    """An argument of an endpoint as the table writes it."""
    name = parameter["parameter_name"]
    return f"{name} = {json.dumps(parameter['parameter_default'])}" if parameter["parameter_has_default"] else name


def test_programmers_are_told_the_limits_that_hold():
    told = " ".join(PAGES["docs/programmers.md"].split())
    settings = Settings()
    assert f"{settings.workers} requests work at once, {settings.max_waiting} more wait" in told
    assert f"may send {settings.prompts_a_minute} prompts a minute" in told
    assert f"up to {MAX_BATCH_PROMPTS} prompts in one forward" in told
    assert f"A prompt has at most {MAX_PROMPT_TOKENS} tokens." in told


SECURITY = PAGES["docs/security.md"]
LIMITS = (
    f"{MAX_PROMPT_CHARACTERS:,} characters before a tokenizer sees it, {MAX_PROMPT_TOKENS} tokens",
    f"| {MAX_BATCH_PROMPTS} texts |",
    f"{DISK_RESERVE // GIGABYTE} GB of disk stays free",
    f"up to the last {DISK_RESERVE // GIGABYTE} GB",
    f"{weights.MAX_SHARDS} parts, {weights.MAX_TENSORS:,} tensors, headers of {weights.MAX_HEADER_BYTES // MEGABYTE} MB",
    f"{gguf_reader.MAX_KEYS:,} keys, {gguf_reader.MAX_TENSORS:,} tensors, lists of {gguf_reader.MAX_ITEMS:,} items, "
    f"texts of {gguf_reader.MAX_STRING // MEGABYTE} MB, {gguf_reader.MAX_HEADER // MEGABYTE} MB in all",
    f"plain values, {config_validation.MAX_HEADS:,} heads",
    f"{MOST_BUFFER_BYTES / GIGABYTE} GB of buffers",
    f"{tokenizer_schema.MAX_TOKENS:,} tokens, {MAX_PARTS} known parts, a text at most {tokenizer_schema.MAX_GROWTH} times longer",
    f"| {sandbox.TEXT_SECONDS} seconds of a processor |",
    f"| {MAX_RECORD_BYTES // MEGABYTE} MB; shape",
    f"| {MAX_TRAINING_BYTES // MEGABYTE} MB, {MAX_POINTS:,} points",
    f"| {MAX_ATLAS_BYTES // MEGABYTE} MB, {MAX_ENTRIES:,} models",
    f"{http.HUB_TIMEOUT_SECONDS} s for a question, {http.READ_TIMEOUT_SECONDS} s without a byte",
    f"`config.json` (at most {UNTRUSTED_FILES['config.json'] // MEGABYTE} MB)",
    *(f"`{name}` ({UNTRUSTED_FILES[name] // MEGABYTE} MB)" for name in ("tokenizer.json", "tokenizer_config.json")),
    f"| {sandbox.TOKENIZER_BYTES // GIGABYTE} GB | {sandbox.OPEN_SECONDS} s | {2 * sandbox.OPEN_SECONDS} s |",
    f"| {sandbox.TEXT_SECONDS} s | {sandbox.TEXT_WALL_SECONDS} s |",
    f"twice its weights and {sandbox.CHECK_EXTRA_BYTES // GIGABYTE} GB | {sandbox.CHECK_SECONDS} s, and 1 s for each "
    f"{sandbox.CHECK_BYTES_PER_SECOND // MEGABYTE} MB of weights | twice that |",
    f"up to {model_pool.MAX_LOADS} loads at once",
    f"{Settings().workers} requests work at once and {Settings().max_waiting} wait",
    f"one visitor may send {Settings().prompts_a_minute} prompts a minute",
    f"of {MAX_VISITORS:,} at most",
    f"for {Settings().seconds_a_minute // (os.cpu_count() or 1)} seconds a minute for each core",
    f"{middleware.MAX_BODY_BYTES:,} bytes, a session's name {middleware.MAX_NAME} characters",
    f"{middleware.STREAMS_A_VISITOR} streams open, all together {middleware.MAX_STREAMS:,}",
    f"Requests of {LARGE_PROMPTS} texts or more",
    f"collects go after {sessions.KEEP_SECONDS:.0f} seconds",
    f"asked for in {aging_cache.MAX_IDLE_SECONDS:.0f} seconds goes",
)


@pytest.mark.parametrize("limit", LIMITS)
def test_the_page_on_security_tells_the_limit_that_holds(limit):
    assert limit in " ".join(SECURITY.split())


def test_the_page_on_security_names_what_of_a_strangers_files_and_of_the_environment_counts():
    (keys,) = re.findall(r"six keys count: (.*?)\.\n", SECURITY, re.S)
    assert set(re.findall(r"`(\w+)`", keys)) == {*tokenizer_loader.NAMED_TOKENS, *tokenizer_loader.BOOLEAN_OPTIONS}
    (passed,) = re.findall(r"interpreters that get (.*?) of the server's", SECURITY, re.S)
    assert set(re.findall(r"`(\w+)`", passed)) == set(subprocess_worker.INHERITED_VARIABLES)
    (files,) = re.findall(r"\*\*Few files\.\*\* (.*?), and weights", SECURITY, re.S)
    assert set(re.findall(r"`([\w.]+)`", files)) == set(UNTRUSTED_FILES)


def test_the_page_on_security_tells_of_every_variable_and_every_endpoint(explorer):
    source = (ROOT / "headroles" / "settings.py").read_text("utf-8")
    opened = SECURITY.partition("| variable | what it opens |")[2]
    told = {name for cell in re.findall(r"^\| (`.*?`) \|", opened, re.M) for name in re.findall(r"`(\w+)`", cell)}
    assert set(re.findall(r"HEADROLES_[A-Z_]+", source)) < told
    assert len(Endpoints(explorer, RequestQueue()).all()) == 14
    assert "arguments of the fourteen endpoints" in SECURITY


def test_every_check_that_the_page_on_security_names_is_there_and_refuses_in_those_words():
    table = SECURITY.partition("## What is checked where")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| [^|]+ \| ([^|]+) \|$", table, re.M)
    assert len(rows) == len(table.strip().rpartition("|---|\n")[2].splitlines()) > 15
    for modules, sentences in rows:
        files = [ROOT / "headroles" / module for module in re.findall(r"`([\w/.]+)`", modules)]
        quoted = {text for file in files for text in sentences_in(file)}
        assert '"' in sentences
        for sentence in re.findall(r'"(.*?)"', sentences):
            assert any(sentence in text for text in quoted), f"{modules}: {sentence}"


def sentences_in(file: Path) -> Iterator[str]:
    """Yields every text in a module's code, with `…` for what is filled in."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield re.sub("…+", "…", "".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_maintainers_are_told_every_setting_and_what_it_is_unless_set():
    page = PAGES["docs/maintainers.md"]
    source = (ROOT / "headroles" / "settings.py").read_text("utf-8")
    assert set(re.findall(r"HEADROLES_[A-Z_]+", source)) == set(re.findall(r"^\| `(HEADROLES_[A-Z_]+)`", page, re.M))
    told = dict(re.findall(r"^\| `HEADROLES_(\w+)` \|.*\| `([^`]*)` \|$", page, re.M))
    settings = Settings()
    assert told == {
        "ANY_MODEL": str(int(settings.any_model)),
        "REVISION": settings.revision,
        "HOME": str(settings.home).replace(os.path.expanduser("~"), "~"),
        "WORKERS": str(settings.workers),
        "QUEUE": str(settings.max_waiting),
        "RATE": str(settings.prompts_a_minute),
        "MCP": str(int(settings.mcp)),
    }


def test_figures_name_the_command_and_the_commit():
    costs = PAGES["docs/maintainers.md"].partition("## What it costs")[2]
    figures = [text for text in costs.split("\n\n") if re.search(r"\d (ms|MB|kB|times)\b", text)]
    assert figures
    assert all(re.match(r"\*\*`(make|python) .*`\*\*, commit [0-9a-f]{7}: ", text) for text in figures)


def test_the_method_is_the_codes():
    page = PAGES["docs/method.md"]
    rows = re.findall(r"^\| ([\w ]+) \| `(\w+)` \| ([\d.]+) \| ([\d.]+) \| (.*) \|$", page, re.M)
    for display_name, name, threshold, second, source in rows:
        role = get_measured_role(name)
        assert (role.display_name, role.source) == (display_name, source)
        assert (role.threshold, role.diversity_threshold) == (float(threshold), float(second))
    assert {name for _, name, *_ in rows} == set(ROLES) - {"other"}
    assert f"the best {MAX_TOP_HEADS} are kept" in page
    sizes, told = ProbeSizes(), " ".join(page.split())
    assert f"{sizes.repeated_sequences} random strings of {sizes.repeat_length} tokens" in told
    assert f"{sizes.sentences} varied sentences" in told


def test_the_method_names_every_field_of_a_record():
    table = PAGES["docs/method.md"].partition("| field | what it holds |")[2]
    named = {name for cell in re.findall(r"^\| (`.*?`) \|", table, re.M) for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(HeadCategories.model_fields)


def test_the_frame_for_teachers_is_what_the_page_gives_out():
    (frame,) = (block.code for block in BLOCKS if block.language == "html")
    source, attributes = frame.removeprefix('<iframe src="').removesuffix("></iframe>\n").split('" ', 1)
    assert f'" {attributes}></iframe>' in (ROOT / "headroles" / "assets" / "page.js").read_text("utf-8")
    query = dict(parse_qsl(urlsplit(html.unescape(source)).query))
    assert query.pop("embed") == "1"
    assert dict(parse_qsl(PageState.from_query(query).query())) == query


def test_teachers_are_told_all_that_an_address_may_name():
    (told,) = re.findall(r"An address may name (.*?);", PAGES["docs/teachers.md"], re.S)
    for name in (*(field.name for field in fields(PageState)), *TABS):
        assert f"`{name}`" in told


def test_the_changelog_begins_with_what_is_to_come():
    headings = re.findall(r"^## (.*)$", PAGES["CHANGELOG.md"], re.M)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\](?: - \d{4}-\d{2}-\d{2})?", heading) for heading in headings[1:])
