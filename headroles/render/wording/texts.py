"""What is special about the words of a visitor's text, and which change of it was tried."""

from collections.abc import Sequence

from headroles.core.text.edits import Edit
from headroles.core.text.repeats import find_respelled_repeat
from headroles.render.wording.catalog import message


def describe_respelled_repeat(tokens: Sequence[str]) -> str:
    """Says which word comes twice in a text but as other tokens each time; empty where none does."""
    found = find_respelled_repeat(tokens)
    if found is None:
        return ""
    if found.word == found.again:
        return message(
            "“{word}” comes again, but as other tokens ({first}, then {then}), so to the model that is no repeat.",
            word=found.word,
            first=found.tokens,
            then=found.tokens_again,
        )
    return message(
        "“{word}” comes again as “{again}”, but as other tokens ({first}, then {then}), so to the model that is no repeat.",
        word=found.word,
        again=found.again,
        first=found.tokens,
        then=found.tokens_again,
    )


def describe_edit(edit: Edit) -> str:
    """`say “market” again at the end`."""
    if edit.kind == "repeat all":
        return message("say all of it again")
    if edit.kind == "repeat":
        return message("say “{words}” again at the end", words=edit.added)
    if edit.kind == "made up":
        return message("add the made-up words “{words}”, twice", words=edit.added)
    return message("write “{word}” instead of “{old}” after “{before}”", word=edit.added, old=edit.replaced, before=edit.after)
