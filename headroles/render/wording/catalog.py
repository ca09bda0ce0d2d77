"""Every sentence of the page and the API as a message that a catalogue can translate; English is what ships.

To translate, collect the messages with Babel (`pybabel extract -k message -k plural:1,2 -k deferred headroles`), translate the
catalogue, and install it when the process starts: `install_catalog(gettext.translation("headroles", folder, ["de"]))`.
"""

from gettext import NullTranslations

_catalog = NullTranslations()


def install_catalog(translations: NullTranslations) -> None:
    """Translates all messages of this process from now on; `NullTranslations()` brings English back."""
    global _catalog
    _catalog = translations


def message(template: str, /, **values: object) -> str:
    """Translates a message and fills in its values.

    Args:
        template: the English text, with a `{name}` for each value. It is what a catalogue looks up.
        **values: what stands at those names. They are not translated.
    """
    return _catalog.gettext(template).format(**values) if template else ""  # a catalogue's own header stands under ""


def plural(one: str, many: str, count: int, /, **values: object) -> str:
    """Translates a message whose words depend on a number, by the plural rule of the catalogue.

    Args:
        one: the English text for one thing. It is what a catalogue looks up.
        many: the English text for any other number of things.
        count: how many there are; the text may place it as `{count}`.
        **values: what stands at the other names. They are not translated.
    """
    return _catalog.ngettext(one, many, count).format(count=count, **values)


def deferred(template: str) -> str:
    """Marks a constant as a message, for Babel to find; `message` translates it where it is used."""
    return template
