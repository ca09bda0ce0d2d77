"""Models that the Hub is asked for: what a query may say, what the Hub's double finds, and a Hub that is away."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.command_line import parse
from analysis.hub_query import HubQuery, read_query, search_hub
from headroles.errors import HubError, InvalidInputError
from tests.analysis.test_run_log import saved
from tests.fixtures.architectures import build
from tests.fixtures.jobs_hub import JobsHub

pytestmark = pytest.mark.processes


@pytest.fixture
def hub(use_hub, tmp_path) -> Iterator[JobsHub]:
    """Seven models: five that are GPT-2, of which one is gated and one has no weights that are read, and a Llama."""
    with JobsHub(tmp_path / "repositories") as double:
        use_hub(double)
        small, llama = saved(tmp_path / "small"), tmp_path / "llama"
        build("llama").save_pretrained(llama)
        for number in range(3):
            double.add(f"org/small-{number}", small)
        double.add("org/gated", small, gated=True)
        double.add("org/llama", llama)
        odd = Path(shutil.copytree(small, tmp_path / "odd"))
        (odd / "model.safetensors").rename(odd / "adapter.safetensors")
        double.add("org/odd", odd)
        double.downloads = {"org/small-1": 900, "org/small-0": 50, "org/gated": 5000, "org/llama": 70, "org/odd": 10_000}
        double.page_size = 2
        yield double


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("hub:", HubQuery()),
        ("hub:architecture=llama,max_size=500M", HubQuery(architecture="llama", max_size=500_000_000)),
        ("hub: min_size=1.5B, sort=likes ,limit=7", HubQuery(min_size=1_500_000_000, sort="likes", limit=7)),
        (
            "hub:author=EleutherAI,search=pythia,min_downloads=1k",
            HubQuery(author="EleutherAI", search="pythia", min_downloads=1000),
        ),
    ],
)
def test_a_query_says_its_keys_in_any_order(text, query):
    assert read_query(text) == query


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hub:architecture=nothing", "'nothing' is not an architecture that headroles reads; docs/models.md names them all"),
        ("hub:size=5M", "'size' is not a key of a query; the keys are architecture, author, search, min_size, max_size,"),
        ("hub:max_size=5 apples", "'5 apples' is not a value of max_size"),
        ("hub:sort=age", "'age' is not a value of sort: input should be 'downloads', 'likes'"),
        ("hub:limit=0", "'0' is not a value of limit: input should be greater than or equal to 1"),
        ("hub:limit=2,limit=3", "a query of the Hub names each key once"),
    ],
)
def test_a_wrong_query_is_a_wrong_command_line_and_asks_nobody(text, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(["--models", text, "--out", "somewhere"], search=lambda query: pytest.fail("asked"))
    assert message in capsys.readouterr().err


def test_the_hub_names_what_can_be_read_and_is_open_in_its_order(hub):
    assert search_hub(HubQuery()) == ["org/small-1", "org/llama", "org/small-0", "org/small-2"]
    assert search_hub(HubQuery(architecture="gpt2", limit=2)) == ["org/small-1", "org/small-0"]
    assert search_hub(HubQuery(search="small", min_downloads=51)) == ["org/small-1"]
    size = build("llama").num_parameters()
    assert search_hub(HubQuery(min_size=size, max_size=size)) == ["org/llama"]
    with pytest.raises(InvalidInputError, match="None of the first 5,000 models that the Hub lists matches"):
        search_hub(HubQuery(min_size=10**12))


def test_a_query_stands_beside_names_and_is_cut_into_shards(hub):
    models = ["--models", "hub:architecture=gpt2", "org/mine", "--out", "somewhere"]
    assert parse(models).models == ["org/mine", "org/small-1", "org/small-0", "org/small-2"]
    assert parse([*models, "--shard", "2/2"]).models == ["org/small-1", "org/small-2"]


def test_a_hub_that_is_away_is_told_once_and_nothing_is_made(hub, tmp_path, capsys):
    hub.fail("GET /api/models$", "nonsense")
    with pytest.raises(HubError, match="The Hub gives a broken answer, so it named no models"):
        search_hub(HubQuery())
    hub.stop()
    assert main(["--models", "hub:limit=3", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        "error: The Hub cannot be reached, so it was not asked for models; name them in a list instead.\n",
    )
    assert not (tmp_path / "out").exists()
