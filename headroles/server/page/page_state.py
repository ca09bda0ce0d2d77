"""Place: what a visitor looks at, and the query of the page's address that says it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from urllib.parse import urlencode

from headroles.core.heads import Head
from headroles.core.outputs.ablation import ABLATION_METHODS, AblationMethod
from headroles.core.registry import EMBEDDED_MODEL
from headroles.core.roles.roles import ROLES, MeasuredRole, Role, get_measured_role, get_role
from headroles.errors import InvalidInputError

# what an address calls each tab, and what the page does
TABS: Mapping[str, str] = MappingProxyType(
    {
        "explore": "Explore",
        "prompts": "Two texts",
        "models": "Two models",
        "training": "Training",
        "atlas": "Atlas",
        "learn": "Lessons",
        "api": "API",
    }
)
MAX_HEADS = 512  # that a link may take out
STEP = re.compile(r"\d{1,12}", re.ASCII)  # of a training run
FIRST_PROMPT = ROLES["induction"].suggested_prompt


@dataclass(frozen=True)
class AblationTarget:
    """Heads that are asked about: those of a role, or these, looked at for a role or for none."""

    role: MeasuredRole | None = None
    heads: tuple[Head, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "AblationTarget":
        """`induction`, `L2H2,L3H1` or `induction:L2H2`. Raises InvalidInputError for anything else."""
        role, _, labels = text.rpartition(":") if ":" in text or text[:1].upper() == "L" else (text, "", "")
        heads = tuple(dict.fromkeys(_parse_head(label) for label in labels.split(",") if label))
        if len(heads) > MAX_HEADS or not (role or heads):
            raise InvalidInputError(f"The link takes out {len(heads):,} heads; it may be 1 to {MAX_HEADS:,}.")
        return cls(get_measured_role(role[:50]) if role else None, heads)

    @property
    def text(self) -> str:
        labels = ",".join(head.label for head in self.heads)
        return ":".join(part for part in (self.role.name if self.role else "", labels) if part)


@dataclass(frozen=True)
class PageState:
    """One state of the page. Theme and layout are the browser's own: the page's script carries them along.

    Attributes:
        model, prompt: what is analysed.
        head, role: the head that is open, and the role it is looked at for; None for the most telling one.
        other_prompt, other_model: what the prompt, or the model, is compared with; empty for no comparison.
        out: the heads that are asked about beyond where they look; None for none.
        method: what stands in their place when they are taken out.
        tab: one of TABS.
        step: at which the training run is shown, or the nearest recorded one; None for the last.
    """

    model: str = EMBEDDED_MODEL
    prompt: str = FIRST_PROMPT
    head: Head | None = None
    role: Role | None = None
    other_prompt: str = ""
    other_model: str = ""
    out: AblationTarget | None = None
    method: AblationMethod = "zero"
    tab: str = "explore"
    step: int | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "PageState":
        """The place that an address names; what it leaves out is as on a first visit, what it does not know is ignored.

        Raises:
            InvalidInputError: when its head, role, tab, step, or what it takes out, is none.
        """
        head, role, tab = query.get("head", ""), query.get("role", ""), query.get("tab", cls.tab)
        if tab not in TABS:
            raise InvalidInputError(f"The link names a tab {tab[:50]!r}; there are {', '.join(TABS)}.")
        return cls(
            model=query.get("model") or cls.model,
            prompt=query.get("prompt") or cls.prompt,
            head=_parse_head(head) if head else None,
            role=get_role(role[:50]) if role else None,
            other_prompt=query.get("other_prompt", ""),
            other_model=query.get("other_model", ""),
            out=AblationTarget.parse(query["out"]) if query.get("out") else None,
            method=_parse_method(query.get("method") or cls.method),
            tab=tab,
            step=_parse_step(query["step"]) if query.get("step") else None,
        )

    def query(self) -> str:
        """`model=...&prompt=...&head=L2H2&role=induction`, as `from_query` reads it back."""
        parts = {
            "model": self.model,
            "prompt": self.prompt,
            "head": self.head.label if self.head else "",
            "role": self.role.name if self.role else "",
            "other_prompt": self.other_prompt,
            "other_model": self.other_model,
            "out": self.out.text if self.out else "",
            "method": "" if self.method == PageState.method else self.method,
            "tab": "" if self.tab == PageState.tab else self.tab,
            "step": "" if self.step is None else str(self.step),
        }
        # a lone surrogate has no UTF-8 form
        return urlencode({name: text for name, text in parts.items() if text}, errors="replace")

    @property
    def contents(self) -> str:
        """The query without the tab and the step, which the visitor turns without asking the server."""
        return replace(self, tab=PageState.tab, step=None).query()

    @property
    def models(self) -> tuple[str, ...]:
        """The models that have to be in memory to show it."""
        return (self.model, self.other_model) if self.other_model else (self.model,)


def _parse_head(label: str) -> Head:
    try:
        return Head.parse(label)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"The link names a head {label[:50]!r}; a head is written L2H3, layer and head from 0."
        ) from error


def _parse_step(text: str) -> int:
    if not STEP.fullmatch(text):
        raise InvalidInputError(f"The link names a step {text[:50]!r}; a step of a training is a whole number.")
    return int(text)


def _parse_method(name: str) -> AblationMethod:
    for method in ABLATION_METHODS:
        if name == method:
            return method
    raise InvalidInputError(f"The link names a method {name[:50]!r}; there are {', '.join(ABLATION_METHODS)}.")
