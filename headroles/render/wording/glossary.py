"""What the page's few technical words mean, for who points at one, tabs to it or taps it."""

from collections.abc import Mapping
from types import MappingProxyType

from markupsafe import Markup, escape

GLOSSARY: Mapping[str, str] = MappingProxyType(
    {
        "attention": "How much of what a head passes on at a token comes from each token up to it; all of it adds up to 100%.",
        "logit": "The number that the model gives each possible next token before numbers become probabilities; one more is 2.7 "
        "times as likely, beside the others.",
        "nat": "How surprised the model is, as a logarithm: a token that was foreseen with probability p costs -ln(p) nats.",
        "direct effect": "What a head's own output adds to a next token's logit, without what later layers make of it.",
        "control": "The same number where nothing calls for the role, or for other heads, so that one sees what it is worth.",
        "score": "How strongly the head plays the role on texts made for it; measured once for the model, not on your text.",
        "interval": "Of 100 such sets of texts, about 95 would give a score in this range.",
        "chance": "What a head would get that looks at every token alike.",
    }
)


def term(word: str, shown: str = "") -> Markup:
    """A word that says what it means where one points at it, tabs to it or taps it. Raises KeyError for one not in GLOSSARY.

    Args:
        word: one of GLOSSARY.
        shown: how it is written there, if it is another way.
    """
    return Markup('<dfn class="hr-term" tabindex="0" title="{}">{}</dfn>').format(GLOSSARY[word], escape(shown or word))
