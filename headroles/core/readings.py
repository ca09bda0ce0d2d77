"""What one prompt says of a model's heads: small frozen values that panel, page and API draw from and never compute."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from headroles.core.heads import Head
from headroles.core.roles import Role


@dataclass(frozen=True)
class HeadReading:
    """One head in one role: `score` offline, `activation` on the prompt, both 0 to 1; `chance` is a uniform head's activation."""

    head: Head
    score: float
    activation: float
    chance: float
    is_active: bool


@dataclass(frozen=True)
class RoleReading:
    """One role on one prompt.

    Attributes:
        role: the role.
        applicable: whether the prompt has a query at which the role can show.
        reason: one sentence that says why the role is not active, or how many of its heads are.
        heads: the model's top heads of this role, best first; empty when the model has none.
    """

    role: Role
    applicable: bool
    reason: str
    heads: tuple[HeadReading, ...]

    @property
    def is_active(self) -> bool:
        return any(head.is_active for head in self.heads)

    @property
    def strongest(self) -> HeadReading | None:
        """The head that plays the role most clearly here; None when the model has none."""
        return max(self.heads, key=lambda head: (head.is_active, head.activation), default=None)


Cells = tuple[tuple[float, ...], ...]  # [layer][head]


@dataclass(frozen=True)
class HeadTable:
    """Every head of a model on one prompt, each table by role name, for the measured roles.

    Attributes:
        scores, activations: 0 to 1.
        chances: of each layer, since a sliding window changes what a uniform head would get.
        active: whether the head plays the role here.
        applicable: whether the prompt has a query at which the role can show.
        primary: what each head mainly does in this model, [layer][head].
    """

    scores: Mapping[str, Cells]
    activations: Mapping[str, Cells]
    chances: Mapping[str, tuple[float, ...]]
    active: Mapping[str, tuple[tuple[bool, ...], ...]]
    applicable: Mapping[str, bool]
    primary: tuple[tuple[Role, ...], ...]

    def heads(self) -> tuple[Head, ...]:
        """All heads of the model, layer by layer."""
        return tuple(Head(layer, index) for layer, row in enumerate(self.primary) for index in range(len(row)))

    def primary_role(self, head: Head) -> Role:
        """What a head mainly does in this model."""
        return self.primary[head.layer][head.index]

    def reading(self, role: Role, head: Head) -> HeadReading:
        """One head in one measured role."""
        return HeadReading(
            head=head,
            score=self.scores[role.name][head.layer][head.index],
            activation=self.activations[role.name][head.layer][head.index],
            chance=self.chances[role.name][head.layer],
            is_active=self.active[role.name][head.layer][head.index],
        )


@dataclass(frozen=True)
class Source:
    """Where the offline scores came from, when they were measured, and on which revision of the model.

    Attributes:
        kind: `published` when the Hub confirmed them to this process, `cached` when it did to an earlier one.
        analysis_date, revision: of the record.
        dataset, commit: of the dataset repo; empty for records that come from none.
        confirmed: when the Hub last confirmed them, in seconds since 1970; 0 for records that come from no dataset.
        note: what went wrong on the way to newer ones; empty when nothing did.
    """

    kind: Literal["embedded", "cached", "published", "analysed here"]
    analysis_date: str
    revision: str
    dataset: str = ""
    commit: str = ""
    confirmed: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Analysis:
    """Everything that panel, map, API and exports need of one prompt on one model; `roles` in the order of ROLES."""

    model: str
    prompt: str
    tokens: tuple[str, ...]
    source: Source
    num_layers: int
    num_heads: int
    roles: tuple[RoleReading, ...]
    heads: HeadTable

    def role(self, name: str) -> RoleReading:
        """The reading of the role of that name."""
        return next(reading for reading in self.roles if reading.role.name == name)


@dataclass(frozen=True)
class HeadView:
    """One head on one prompt: its pattern, the cells that `role` expects to be strong, and its readings in every measured role.

    `primary` is what the head mainly does in this model, `role` the one it is looked at for.
    """

    model: str
    prompt: str
    tokens: tuple[str, ...]
    num_layers: int
    num_heads: int
    head: Head
    role: Role
    primary: Role
    pattern: Float[Tensor, "query key"]
    expected: Bool[Tensor, "query key"]
    readings: Mapping[str, HeadReading]

    @property
    def previous(self) -> Head | None:
        """The head before this one, layer by layer."""
        return self._at(-1)

    @property
    def next(self) -> Head | None:
        """The head after this one, layer by layer."""
        return self._at(1)

    def _at(self, step: int) -> Head | None:
        place = self.head.layer * self.num_heads + self.head.index + step
        return Head(*divmod(place, self.num_heads)) if 0 <= place < self.num_layers * self.num_heads else None


def visible(token: str) -> str:
    """A token's text with everything that would not be seen made visible, and never empty: `·king`, `↵`, `<U+200B>`, `◌́`.

    Letters of any script and emoji stay; so do the joiners and variation selectors inside an emoji.
    """
    shown, before = [], ""  # `before`: the last character that stayed as it is, when nothing came between
    for character, after in zip(token, [*token[1:], ""]):
        if character in _SIGNS:
            shown.append(_SIGNS[character])
            before = ""
        elif before and _belongs(character, before, after, shown[-1]):
            shown.append(character)
        elif not character.isprintable() or character in _BLANK or _is_selector(character):
            shown.append(code_point(character))
            before = ""
        else:
            is_lone_mark = unicodedata.category(character).startswith("M") and not before
            shown.append("◌" + character if is_lone_mark else character)
            before = character
    return "".join(shown) or "∅"


def code_point(character: str) -> str:
    """How a character is written that cannot be shown itself: `<U+200B>`."""
    return f"<U+{ord(character):04X}>"


_SIGNS = {" ": "·", "\n": "↵", "\t": "⇥", "\u00a0": "⍽"}
_JOINER = "\u200d"
# letters, marks and a symbol by their category, yet without ink: grapheme joiner, Hangul and Khmer fillers, empty Braille
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def _belongs(character: str, before: str, after: str, last: str) -> bool:
    """Whether it is a joiner between two emoji, or the one selector of the visible character before it."""
    if character == _JOINER:
        return _is_pictograph(before) and _is_pictograph(after)
    return _is_selector(character) and not _is_selector(last)


def _is_selector(text: str) -> bool:
    """Whether a character only picks a form of the one before it."""
    return len(text) == 1 and "VARIATION SELECTOR" in unicodedata.name(text, "")


def _is_pictograph(character: str) -> bool:
    """Whether it can be a part of an emoji: symbols, arrows and skin tones."""
    return unicodedata.category(character or " ") in ("So", "Sm") or "\U0001f3fb" <= character <= "\U0001f3ff"
