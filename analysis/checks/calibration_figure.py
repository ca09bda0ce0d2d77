"""Draws how well the strongest excess tells texts that repeat a passage from their null twins."""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headroles.core.readings.detection import known_heads
from headroles.core.records.calibration import Triggered
from headroles.core.records.head_categories import HeadCategories
from headroles.core.roles.roles import MeasuredRole
from headroles.hub.record_store import load_head_categories
from headroles.models.loading.loader import load_model
from headroles.models.probes.calibration_texts import make_pairs
from headroles.models.probes.sentences import FOR_TRIALS
from headroles.models.reading.pattern_reader import PatternReader
from headroles.models.scoring.calibration import PairExcess, read_pairs

from ..pipeline.sources import locate_model
from .calibrate import SEED

TEXTS = 8  # of each length and kind
BINS = torch.linspace(-0.1, 1, 45).tolist()


def draw(models: Sequence[str], texts: int) -> Figure:
    """One panel for each model and triggered role; the line is the excess that a text of one eligible token must exceed.

    Args:
        models: that have a record here.
        texts: pairs of each length and kind.
    """
    found = {model: _shown(model, texts) for model in models}
    roles = max((list(shown) for _, shown in found.values()), key=len)
    figure = Figure(figsize=(4.2 * len(roles), 2.6 * len(models)), layout="constrained")
    panels = figure.subplots(len(models), len(roles), squeeze=False)
    for row, (model, (record, shown)) in zip(panels, found.items()):
        for panel, (role, of_role) in zip(row, shown.items()):
            _panel(panel, f"{model}: {role.display_name}", record, role, of_role)
    panels[0][0].legend(frameon=False)
    return figure


def _shown(model: str, texts: int) -> tuple[HeadCategories, dict[MeasuredRole, list[PairExcess]]]:
    record, reader = load_head_categories(model), PatternReader(load_model(model, locate_model(model)))
    roles = [role for role in record.scored_roles if isinstance(record.calibrations.get(role.name), Triggered)]
    pairs = list(make_pairs(reader.loaded, texts, FOR_TRIALS, SEED))
    found: dict[MeasuredRole, list[PairExcess]] = {role: [] for role in roles}
    for _, by_role in read_pairs(reader, pairs, roles):
        for role in roles:
            found[role].append(by_role[role.name])
    return record, found


def _panel(panel: Axes, title: str, record: HeadCategories, role: MeasuredRole, shown: Sequence[PairExcess]) -> None:
    known = known_heads(record, role)
    for side, color, label in (("null", "#777777", "null twin"), ("positive", role.color, "passage said twice")):
        best = [float(getattr(one, side)[known].amax()) for one in shown if one.tokens and known.any()]
        panel.hist(best, BINS, color=color, alpha=0.7, label=label)
    calibration = record.calibrations[role.name]
    if isinstance(calibration, Triggered) and calibration.role_tail:
        panel.axvline(calibration.threshold(), color="black", linewidth=1)
    panel.set_title(title, fontsize=9)
    panel.set_xlabel("largest excess of the role's own heads", fontsize=8)
    panel.set_ylabel("texts", fontsize=8)
