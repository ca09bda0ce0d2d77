"""A catalogue translates messages, with the plural rule of its language; without one they stay English."""

import io
import struct
from collections.abc import Mapping
from gettext import GNUTranslations, NullTranslations

import pytest

from headroles import describe_role
from headroles.core.registry import EMBEDDED_MODEL
from headroles.render.page.cards import render_panel
from headroles.render.wording.catalog import deferred, install_catalog, message, plural
from tests.conftest import PLAIN, REPEATING

MISSING = "Not visible here: {why}"
SEEN = (
    "{count} of {total} {role} heads is seen doing it, most clearly {head} {where}.",
    "{count} of {total} {role} heads are seen doing it, most clearly {head} {where}.",
)
POLISH = "nplurals=3; plural=n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2;"


def catalog(messages: Mapping[str, str], rule: str = POLISH) -> GNUTranslations:
    """A compiled catalogue, as gettext's own tools write it: a message with plurals has its forms apart by a zero byte."""
    header = f"Content-Type: text/plain; charset=UTF-8\nPlural-Forms: {rule}\n"
    pairs = sorted((key.encode(), value.encode()) for key, value in {"": header, **messages}.items())
    tables, texts, at = [], b"", 28 + 16 * len(pairs)
    for column in (0, 1):
        for pair in pairs:
            tables += [len(pair[column]), at + len(texts)]
            texts += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return GNUTranslations(io.BytesIO(head + struct.pack(f"<{len(tables)}I", *tables) + texts))


@pytest.fixture
def polish():
    """Two messages of the cards in another language."""
    seen = "\0".join(f"{form} {{count}} z {{total}}: {{head}}" for form in ("głowica", "głowice", "głowic"))
    install_catalog(catalog({MISSING: "Tu nie widać: {why}", "\0".join(SEEN): seen}))
    yield
    install_catalog(NullTranslations())


@pytest.mark.parametrize(("count", "form"), [(1, "głowica"), (2, "głowice"), (5, "głowic"), (22, "głowice"), (12, "głowic")])
def test_a_number_takes_the_form_of_the_catalogue(polish, count, form):
    said = plural(*SEEN, count, total=30, role="induction", head="L2H2", where="there")
    assert said == f"{form} {count} z 30: L2H2"


def test_a_translated_message_and_plural_come_out_on_a_card(explorer, polish):
    plain, repeating = (explorer.analyze(EMBEDDED_MODEL, text) for text in (PLAIN, REPEATING))
    assert plain.role("induction").state == "not applicable"
    assert "Tu nie widać: no token of your text comes back" in render_panel(plain)
    reading = repeating.role("induction")
    assert reading.state == "seen"
    count = sum(head.is_active for head in reading.heads)
    said = describe_role(reading, repeating)
    assert said.startswith("głowic")
    assert f" {count} z {len(reading.heads)}: L" in said
    assert said in render_panel(repeating)


def test_what_a_catalogue_lacks_stays_english(polish):
    assert message("the learned sink") == "the learned sink"
    assert plural("{count} head", "{count} heads", 2) == "2 heads"


def test_values_are_filled_in_as_they_are():
    assert message("“{word}” comes again", word="{count} %s {0}") == "“{count} %s {0}” comes again"
    assert plural("{count} of {total}", "{count} of {total}", 1, total="{x}") == "1 of {x}"
    assert message("") == ""
    assert message(deferred("the same on every text")) == "the same on every text"


def test_no_message_is_the_header_of_a_catalogue(polish):
    assert message("") == ""
