"""Core returns states and numbers: no sentence or phrase that a user reads is written there, but in `headroles.render`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parent.parent / "headroles" / "core"
# A role is one value, with what people read of it; so are a measure, a second score and a model of the registry.
DEFINITIONS = {"registry.py", *(f"roles/{name}.py" for name in ("role", "roles", "measures", "output_measures", "second_scores"))}
# What makes the text of an error, which a core-only install must be able to read, and what holds words as data
EXEMPT = {
    "readings/comparison.py": {"_model_words"},
    "records/head_categories.py": {"_belongs_together", "_check_top_head"},
    "records/record_files.py": {"parse_record", "read_record"},
    "surveys/atlas_entries.py": {"parse_entries"},
    "surveys/training_run.py": {"parse_points", "read_run_file", "find_mismatch"},
    "text/edits.py": {"LITTLE", "MADE_UP"},  # English words, and words that no model has read
    "text/tokens.py": {"_is_selector"},  # a name of Unicode's
    "surveys/atlas.py": {"SIZES"},  # the names of the size classes
}
WORD = re.compile(r"(?<![\w.])[A-Za-z][a-z'’]+(?![\w.])")


def is_phrase(text: str, has_values: bool) -> bool:
    """Whether a text reads as words for people: two words side by side, or one beside a value."""
    return " " in text.strip() + " " * has_values and len(WORD.findall(text)) >= (1 if has_values else 2)


def states(trees: dict[str, ast.Module]) -> set[str]:
    """The states that core names: the members of its `Literal` types."""
    return {
        constant.value
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal"
        for constant in ast.walk(node.slice)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    }


def is_exempt(node: ast.AST, allowed: set[str]) -> bool:
    """Whether users do not read what stands in a node, or read it as an error or a repr."""
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.FunctionDef):
        return node.name in {"__repr__", "__str__", *allowed}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(isinstance(target, ast.Name) and target.id in allowed for target in targets)
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "").endswith("Error")
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)  # a docstring
    return isinstance(node, ast.Subscript)  # a shape of jaxtyping, or a key


def phrases(node: ast.AST, allowed: set[str]) -> Iterator[tuple[int, str]]:
    """The lines and texts under a node that read as words for people."""
    if is_exempt(node, allowed):
        return
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        text = "".join(str(part) for part in parts)
        if is_phrase(text.replace("{}", ""), "{}" in text):
            yield node.lineno, text
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from phrases(part.value, allowed)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str) and is_phrase(node.value, has_values=False):
            yield node.lineno, node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from phrases(child, allowed)


TREES = {path.relative_to(CORE).as_posix(): ast.parse(path.read_text("utf-8")) for path in CORE.rglob("*.py")}
STATES = states(TREES)


def found(name: str, tree: ast.AST) -> list[str]:
    return [text for _, text in phrases(tree, EXEMPT.get(name, set())) if text not in STATES]


@pytest.mark.parametrize("name", sorted(TREES.keys() - DEFINITIONS))
def test_core_words_nothing_that_users_read(name):
    assert found(name, TREES[name]) == []


@pytest.mark.parametrize(
    "planted",
    [
        'def why(heads):\n    return f"{len(heads)} heads are seen"',
        'def why(head):\n    return f"{head} rests"',
        'NAMES = {"seen": "seen on this text"}',
        'class A:\n    def describe(self):\n        return "No head reaches it."',
    ],
)
def test_a_planted_sentence_is_found(planted):
    name = "readings/head_readings.py"
    assert len(found(name, ast.parse(planted))) == 1


@pytest.mark.parametrize(
    "harmless",
    [
        '"""A docstring of a module."""',
        'def f(x):\n    raise ValueError(f"{x} is no head")',
        'class A:\n    def __repr__(self):\n        return f"A of {self.b} heads"',
        'def f(x: Float[Tensor, "layer head"]) -> str:\n    return "not seen"',
        'LABEL = f"L{1}H{2}"',
    ],
)
def test_errors_reprs_shapes_and_states_are_not_taken_for_sentences(harmless):
    assert found("readings/head_readings.py", ast.parse(harmless)) == []


def test_every_exemption_names_something_that_is_there():
    for name, allowed in EXEMPT.items():
        names = {getattr(node, "name", getattr(node, "id", "")) for node in ast.walk(TREES[name])}
        assert allowed <= names, name
