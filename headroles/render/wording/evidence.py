"""What a head does at a token that calls for a role, in words."""

from collections.abc import Sequence

from headroles.core.readings.head_readings import HeadReading, TokenEvidence
from headroles.core.text.tokens import inline_text
from headroles.render.wording.catalog import message
from headroles.render.wording.phrases import percent


def describe_evidence(evidence: TokenEvidence, tokens: Sequence[str]) -> str:
    """`·that → ·inflation, 30% (2% otherwise)`: query and key, the attention, and the control beside it.

    Args:
        evidence: what the head does at one token.
        tokens: the texts of the tokens; a token without one is named by its position.
    """
    return message(
        "{query} → {key}, {share} ({control} otherwise)",
        query=_token_name(evidence.query, tokens),
        key=_token_name(evidence.key, tokens),
        share=percent(evidence.attention),
        control=percent(evidence.control),
    )


def describe_most_attended(evidence: TokenEvidence, tokens: Sequence[str]) -> str:
    """`at ·that it looks most at ·She, the first token, 91%`; empty where that is the expected key.

    Args:
        evidence: what the head does at one token.
        tokens: the texts of the tokens; a token without one is named by its position.
    """
    most = evidence.most_key
    if most == evidence.key:
        return ""
    if most is None:
        key = message("the learned sink")
    elif most == evidence.query:
        key = message("that token itself")
    elif most == 0:
        key = message("{token}, the first token", token=_token_name(most, tokens))
    else:
        key = _token_name(most, tokens)
    share = percent(evidence.most_attention)
    return message("at {query} it looks most at {key}, {share}", query=_token_name(evidence.query, tokens), key=key, share=share)


def describe_detection(reading: HeadReading, called: int, tokens: Sequence[str]) -> str:
    """`at 1 of 3 tokens that call for it, first ...`, for a head that is seen in a role.

    Args:
        reading: the head in the role.
        called: how many tokens of the text call for the role.
        tokens: the texts of the tokens; a token without one is named by its position.
    """
    first = describe_evidence(reading.evidence[0], tokens)
    if called == 1:
        return message("at the only token that calls for it, which is little to go by: {evidence}", evidence=first)
    return message(
        "at {seen} of {called} tokens that call for it, first {evidence}", seen=reading.detections, called=called, evidence=first
    )


def describe_miss(evidence: TokenEvidence, tokens: Sequence[str]) -> str:
    """The evidence of a head that is not seen in a role, and where it looks instead.

    Args:
        evidence: the head at the token where it does most of the role.
        tokens: the texts of the tokens; a token without one is named by its position.
    """
    instead = describe_most_attended(evidence, tokens)
    return f"{describe_evidence(evidence, tokens)}{instead and f'; {instead}'}"


def _token_name(position: int, tokens: Sequence[str]) -> str:
    return inline_text(tokens[position]) if position < len(tokens) else message("token {position}", position=position)
