"""From attention patterns and a model's record to what they say: the analysis of a text, and the view of one head on it."""

import torch

from headroles.core.heads import Attention, Head
from headroles.core.patterns.excess import control_cells
from headroles.core.readings.analysis import Analysis, HeadView, RecordSource
from headroles.core.readings.verdicts import read_head, read_heads, read_roles
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import Role
from headroles.core.text.tokens import clean_text


def analyze_attention(prompt: str, attention: Attention, record: HeadCategories, source: RecordSource) -> Analysis:
    """Reads every role of a record from the attention patterns of one prompt.

    Args:
        prompt: The text that the patterns belong to.
        attention: The patterns of all heads on the prompt.
        record: The offline scores of the same model.
        source: Where the record came from.

    Returns:
        The analysis of the prompt.

    Raises:
        InvalidRecordError: The record belongs to a model of another shape.
    """
    heads = read_heads(attention, record)
    return Analysis(
        model=attention.model,
        prompt=clean_text(prompt),
        tokens=attention.tokens,
        source=source,
        num_layers=attention.num_layers,
        num_heads=attention.num_heads,
        roles=read_roles(heads, record),
        heads=heads,
        other_layers=attention.other_layers,
        has_sink=attention.has_sink,
    )


def view_head(analysis: Analysis, attention: Attention, head: Head, role: Role | None = None) -> HeadView:
    """Looks at one head of an analysed prompt.

    Args:
        analysis: The analysis of the prompt.
        attention: The patterns that it was made from.
        head: A head of the model.
        role: The role whose expected keys are marked; by default the head's primary role.

    Returns:
        The head's pattern, the cells that the role expects to be strong, and its readings in every measured role.

    Raises:
        InvalidInputError: The head is outside the model, or its layer has no attention pattern.
    """
    primary = analysis.heads.primary_role(head)  # refuses a head outside the model
    role, window = role or primary, attention.window(head.layer)
    expected = role.expected_keys(torch.tensor(attention.token_ids), window, attention.delimiters)
    readings = read_head(analysis.heads, head)
    reading = readings.get(role.name)
    return HeadView(
        model=analysis.model,
        prompt=analysis.prompt,
        tokens=analysis.tokens,
        num_layers=analysis.num_layers,
        num_heads=analysis.num_heads,
        head=head,
        role=role,
        primary=primary,
        pattern=attention.pattern(head),
        expected=expected,
        readings=readings,
        eligible_counts=analysis.heads.tokens,
        other_layers=analysis.other_layers,
        has_sink=analysis.has_sink,
        suggested_prompt=analysis.role(role).suggested_prompt,
        controls=control_cells(expected, reading.evidence[0].query, window) if reading and reading.evidence else None,
        source=analysis.source,
    )
