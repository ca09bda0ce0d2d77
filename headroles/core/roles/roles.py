"""The one place where a role is defined: what it is called, how it is measured, when it counts, what people read about it."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from headroles.core.patterns.expected_keys import (
    current_keys,
    duplicate_keys,
    earlier_keys,
    first_keys,
    induction_keys,
    previous_keys,
)
from headroles.core.roles.measures import EntropyOfRows, MassOnDelimiters, MassOnExpectedKeys
from headroles.core.roles.output_measures import DirectEffect
from headroles.core.roles.role import Example, MeasuredRole, Role, Shape
from headroles.core.roles.second_scores import BY_WEIGHTS, ON_REPEATS
from headroles.errors import InvalidInputError

RESTING = 0.5  # half of the attention on the first token is a rest state


def _circle(radius: float) -> Shape:
    angles = [math.tau * corner / 24 for corner in range(24)]
    return tuple((round(0.5 + radius * math.cos(angle), 3), round(0.5 + radius * math.sin(angle), 3)) for angle in angles)


_MEASURED = (
    MeasuredRole(
        name="previous_token",
        display_name="Previous Token",
        icon="arrow-left",
        color="#0072b2",
        shape=((0, 0.5), (1, 0), (1, 1)),
        description="Looks at the token right before.",
        explanation=(
            "From every token, this head looks one step back. That tells each position what came just before it, "
            "which other heads, induction heads above all, build upon. In the picture it is a line just below "
            "the diagonal."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar. Then put its words in any order you like, or type "
            "nonsense: the circle stays filled, because the head goes by position and not by meaning."
        ),
        look_for="An unbroken line just below the diagonal: each row's strong cell is one step left of its own token.",
        why_inactive="your text is too short; it takes three tokens or more.",
        suggested_prompt="Once upon a time there was a little girl who lived near a great forest.",
        measure=MassOnExpectedKeys(previous_keys, "the token right before"),
        is_content=True,
        source="Elhage et al. 2021, A Mathematical Framework for Transformer Circuits",
        example=Example(
            "Once upon a time there was a king",
            "From the third word on, each looks at the word before it: a line below the diagonal.",
        ),
    ),
    MeasuredRole(
        name="induction",
        display_name="Induction",
        icon="repeat",
        color="#d55e00",
        shape=_circle(0.5),
        description="Finds an earlier copy of the current token and looks at what came next.",
        explanation=(
            "When a token has occurred before, this head looks at the token that followed it then. So the model can "
            "guess that the text goes on as it did the last time, also where its meaning gives nothing away: nobody could know "
            "that the thing in the sentence below is a window, but whoever has read it once can."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar: in the last row, “green” looks most at “window”. Change "
            "“window” to “horse”, and it looks at “horse”. Then delete the second “My uncle hid a small green”: nothing repeats "
            "any more, and the circle empties."
        ),
        look_for=(
            "When a passage comes twice, a line of strong cells parallel to the diagonal, from where the text begins to repeat. "
            "Rows of tokens that are new often show only a strong first cell: the head found nothing and rests."
        ),
        why_inactive="no token of your text comes back after others, so there is no earlier continuation to look up.",
        suggested_prompt="My uncle hid a small green window. My uncle hid a small green",
        other_prompts=(
            "Zorbat melkin frayd ustole. Zorbat melkin frayd",
            "The king and the queen lived in a castle. The king and the queen lived in a",
            "red lamp seven cold river blue horse, and red lamp seven cold river blue",
        ),
        measure=MassOnExpectedKeys(
            induction_keys, "what followed an earlier copy of the token", probes="repeats", predicts_token=True
        ),
        is_content=True,
        source="Olsson et al. 2022, In-context Learning and Induction Heads",
        example=Example(
            "one two three four one two three four",
            "In the second half every word looks at what followed it the first time: “one” at “two”, “two” at “three”.",
        ),
    ),
    MeasuredRole(
        name="duplicate_token",
        display_name="Duplicate Token",
        icon="copy",
        color="#009e73",
        shape=((0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)),
        description="Looks back at earlier copies of the current token.",
        explanation=(
            "When a token has occurred before, this head looks straight at the earlier copy. It notices that something "
            "comes again, where an induction head asks what came after it."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar: the row of the second “boy” has its strong cell in the "
            "column of the first “boy”. Change the second “boy” to “cat”, and that cell goes out. Then delete everything after "
            "“a story”: no word comes twice any more, and the circle empties."
        ),
        look_for=(
            "Strong cells left of the diagonal, wherever the token of the row is also the token of the column. When a whole "
            "passage comes twice they form a line, one step left of the line of an induction head."
        ),
        why_inactive="no token of your text comes twice.",
        suggested_prompt="The old man told the boy a story, and the boy told the old man another story.",
        other_prompts=(
            "Zorbat melkin frayd ustole. Zorbat melkin frayd ustole.",
            "The king saw the queen in the garden, and the queen saw the king in the garden.",
            "red lamp seven cold river blue horse, and blue river cold seven lamp red horse",
        ),
        measure=MassOnExpectedKeys(duplicate_keys, "earlier copies of the token", probes="repeats"),
        threshold=0.3,
        diversity_threshold=0.2,
        is_content=True,
        source="Wang et al. 2022, Interpretability in the Wild (IOI)",
        example=Example(
            "the boy saw the dog and the dog ran",
            "A word that has been there before looks at its earlier copies: “dog” at “dog”, the last “the” at both others.",
        ),
    ),
    MeasuredRole(
        name="current_token",
        display_name="Current Token",
        icon="circle-dot",
        color="#882255",
        shape=((0.5, 0.08), (1, 0.92), (0, 0.92)),
        description="Looks at the token itself.",
        explanation=(
            "From every token, this head looks at that very token and at little else. It moves nothing from one place to "
            "another: what it passes on is worked out of the token's own content. In the picture it is the diagonal."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar: most rows have their strong cell on the diagonal. Then put "
            "its words in any order you like: the diagonal stays."
        ),
        look_for="Strong cells on the diagonal: each row's own token. The first two rows have too little choice to count.",
        why_inactive="your text is too short; it takes three tokens or more.",
        suggested_prompt="She opened the door and saw a small garden behind the house.",
        measure=MassOnExpectedKeys(current_keys, "the token itself"),
        rests_on="the token itself",
        source="Clark et al. 2019, What Does BERT Look At?",
        example=Example(
            "The rain came down upon the quiet town",
            "From the third word on, each looks at itself: the diagonal.",
        ),
    ),
    MeasuredRole(
        name="name_mover",
        display_name="Name Mover",
        icon="arrow-right",
        color="#56b4e9",
        shape=((0, 0), (1, 0.5), (0, 1)),
        description="Reads a name that stands in the text and raises it as the next word.",
        explanation=(
            "“When Mary and John went to the store, John gave a drink to” goes on with “Mary”. A name mover looks back at that "
            "name and writes it out: it makes the model say it. Where it looks does not tell this head from one that does the "
            "contrary; only what it writes does."
        ),
        try_this=(
            "Run the prompt and press “What do they write, and do they matter here?” on this card: what these heads read is "
            "mostly “Mary”, and they raise it. Then exchange “Mary” and “Anna”, and it is “Anna”."
        ),
        look_for="In the last row, a strong cell in the column of the name that is to come.",
        why_inactive="it is scored on probe texts alone.",
        suggested_prompt="When Mary and John went to the store, John gave a drink to",
        measure=DirectEffect("the name that is to come, through the attention to it", "names", second_score=ON_REPEATS),
        threshold=0.3,
        diversity_threshold=0.2,
        is_content=True,
        source="Wang et al. 2022, Interpretability in the Wild (IOI)",
    ),
    MeasuredRole(
        name="copy_suppression",
        display_name="Copy Suppression",
        icon="minus",
        color="#332288",
        shape=((0, 0.08), (1, 0.08), (0.5, 0.92)),
        description="Reads a word that the model is about to say again and lowers it.",
        explanation=(
            "When a word of the text is likely to come next, this head looks at it, as a name mover does, and writes the "
            "contrary: it lowers that word, and keeps the model from being too sure. A role that only what is written can tell."
        ),
        try_this=(
            "Run the prompt and press “What do they write, and do they matter here?” on this card: what these heads read lowers "
            "the name that is to come. Without them the model is surer of it."
        ),
        look_for="In the last row, a strong cell in the column of a word that is likely to come again, as for a name mover.",
        why_inactive="it is scored on probe texts alone.",
        suggested_prompt="When Mary and John went to the store, John gave a drink to",
        measure=DirectEffect(
            "the name that is to come, through the attention to it", "names", lowers=True, second_score=ON_REPEATS
        ),
        threshold=0.3,
        diversity_threshold=0.2,
        is_content=True,
        source="McDougall et al. 2023, Copy Suppression",
    ),
    MeasuredRole(
        name="successor",
        display_name="Successor",
        icon="plus",
        color="#117733",
        shape=(
            (0.36, 0),
            (0.64, 0),
            (0.64, 0.36),
            (1, 0.36),
            (1, 0.64),
            (0.64, 0.64),
            (0.64, 1),
            (0.36, 1),
            (0.36, 0.64),
            (0, 0.64),
            (0, 0.36),
            (0.36, 0.36),
        ),
        description="Reads a word of a series and raises the one that comes after it.",
        explanation=(
            "Monday, Tuesday, Wednesday: after a word of a series, this head raises the next one. It is scored by how much more "
            "it raises it than after the same words in an order that leads nowhere, since many heads raise any day after days."
        ),
        try_this=(
            "Run the prompt and press “What do they write, and do they matter here?” on this card: the head raises “Thursday”. "
            "Then write “The days are Wednesday, Monday, Tuesday,” and it raises “Wednesday”, which comes after the last day."
        ),
        look_for="In the last row, strong cells in the columns of the series' last words.",
        why_inactive="it is scored on probe texts alone.",
        suggested_prompt="The days are Monday, Tuesday, Wednesday,",
        measure=DirectEffect(
            "the next word of a series, beyond that after the same words mixed", "series", second_score=BY_WEIGHTS
        ),
        threshold=0.2,
        diversity_threshold=0.15,
        is_content=True,
        source="Gould et al. 2023, Successor Heads",
    ),
    MeasuredRole(
        name="positional",
        display_name="First Token",
        icon="anchor",
        color="#cc79a7",
        shape=((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)),
        description="Keeps its attention on the first token of the text.",
        explanation=(
            "Attention must always add up to 1, so a head with nothing to do has to put it somewhere. Many heads rest it on the "
            "first token. So a strong first-token score is often a rest state and not a job."
        ),
        try_this=(
            "Run the prompt and open the best head under Induction. Then write the sentence twice in a row: in the second half "
            "the first column fades, because now the head has something to do."
        ),
        look_for=(
            "A strong first column, from top to bottom. The first row is always 1, since the first token can see only itself, "
            "and the second row has only two tokens to choose from, so neither of them counts."
        ),
        why_inactive="your text is too short; it takes three tokens or more.",
        suggested_prompt="She opened the door and saw a small garden behind the house.",
        measure=MassOnExpectedKeys(first_keys, "the first token", expects_sink=True),
        rests_on="the first token",
        threshold=0.5,
        source="Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks",
        example=Example(
            "She opened the door and saw a garden",
            "From the third word on, each looks at the first; the two before hardly have a choice.",
        ),
    ),
    MeasuredRole(
        name="delimiter",
        display_name="Delimiter",
        icon="pause",
        color="#999933",
        shape=((0.28, 0), (0.72, 0), (0.72, 1), (0.28, 1)),
        description="Looks at earlier punctuation and line breaks.",
        explanation=(
            "From what follows, this head looks back at full stops, commas and new lines. They say little themselves: such a "
            "head may read there what the model has summed up of the sentence so far, or only rest. Its attention alone does "
            "not tell which."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar: the columns of the comma and the full stop are strong. Then "
            "delete all punctuation, and the columns are gone: there is nothing for it to look at."
        ),
        look_for="Strong columns below commas, full stops and line breaks. One as the first token of the text does not count.",
        why_inactive="no punctuation mark or line break comes before other tokens of your text.",
        suggested_prompt="The rain had stopped, and the street was empty. A cat crossed it slowly, looked around, and went home",
        measure=MassOnDelimiters(earlier_keys, "earlier punctuation and line breaks"),
        rests_on="punctuation and line breaks",
        source="Clark et al. 2019, What Does BERT Look At?",
        example=Example(
            "The rain stopped , and then the sun came",
            "Every word after the comma looks at the comma.",
        ),
    ),
    MeasuredRole(
        name="diffuse",
        display_name="Diffuse",
        icon="grid",
        color="#e69f00",
        shape=((0, 0.28), (1, 0.28), (1, 0.72), (0, 0.72)),
        description="Spreads its attention evenly over many tokens.",
        explanation=(
            "This head looks at everything a little and at nothing in particular, like taking the average of the whole "
            "text so far. In the picture its rows fade evenly."
        ),
        try_this=(
            "Run the prompt and open the head with the longest bar. Change “village” to “castle”: the picture hardly changes, "
            "because the head does not pick out words. With “The sun” alone there is too little to spread over, and the circle "
            "empties."
        ),
        look_for=(
            "Rows without a really strong cell, except for the first few, and on the whole fainter the further down they are: "
            "the same attention is shared by more and more tokens."
        ),
        why_inactive="your text is too short; it takes four tokens or more.",
        suggested_prompt="The sun rose over the hills, and the village was still asleep when the first boats came home.",
        measure=EntropyOfRows(first_query=3),
        threshold=0.8,
        diversity_threshold=0.7,
        source="Clark et al. 2019, What Does BERT Look At?",
        example=Example(
            "The sun rose over the quiet hills today",
            "Every word looks at all words up to itself alike, so the rows fade downwards.",
        ),
    ),
)

# what is left over: heads that reach the threshold of no role
OTHER = Role(
    name="other",
    display_name="Other",
    icon="circle-question",
    color="#777777",
    shape=_circle(0.2),
    description="Reaches the threshold of none of the other roles.",
    explanation=(
        "Many heads have no simple name. They may follow grammar, join the pieces of a word, or do several small things "
        "at once. That is no fault of theirs: these roles are only the best understood ones."
    ),
    try_this=(
        "Open a small grey mark in the map of all heads and look at it on three different sentences. Say in one sentence what "
        "that head does, then test your sentence on a fourth text."
    ),
    look_for=(
        "Whatever comes back on every text: lines at other distances, blocks, single strong columns. A head that no role names "
        "can still do one thing, on texts that you have not tried yet."
    ),
)

_roles: dict[str, Role] = {role.name: role for role in (*_MEASURED, OTHER)}
ROLES: Mapping[str, Role] = MappingProxyType(_roles)  # the measured ones, then OTHER
RESTING_ROLE = ROLES["positional"]  # where most heads with nothing to do put their attention
RESTING_PLACE = RESTING_ROLE.rests_on


def measured_roles() -> tuple[MeasuredRole, ...]:
    """The roles that are measured, in the order of ROLES."""
    return tuple(role for role in ROLES.values() if isinstance(role, MeasuredRole))


def get_role(role: Role | str) -> Role:
    """The role of that name or display name, in any case. Raises InvalidInputError that lists the names there are."""
    if isinstance(role, Role):
        return role
    if isinstance(role, str):
        wanted = role.strip().lower()
        for known in ROLES.values():
            if wanted in (known.name, known.display_name.lower()):
                return known
    raise InvalidInputError(f"There is no role {str(role)[:100]!r}; the roles are {', '.join(ROLES)}.")


def get_measured_role(role: Role | str) -> MeasuredRole:
    """As `get_role`. Raises InvalidInputError also for what is left over, which has no measure."""
    found = get_role(role)
    if not isinstance(found, MeasuredRole):
        names = ", ".join(role.name for role in measured_roles())
        raise InvalidInputError(f"{found.display_name} is what is left over and not measured; measured are {names}.")
    return found
