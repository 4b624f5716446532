"""Tuned static weights: the share of the primary that does best on its held-out rows, fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from auxlearn.methods.base import Cell, Context, Options, Search, Selection, SizedContext, WeightPolicy
from auxlearn.methods.registry import register
from auxlearn.training.phases import Plan

Share = Annotated[float, Field(gt=0, lt=1)]


class TunedOptions(Options):
    """Options of tuned_share."""

    shares: list[Share] = Field([0.1, 0.25, 0.5, 0.75, 0.9], min_length=1)
    """shares of the primary in all weight that are tried, a training each"""


@register
class TunedShare(WeightPolicy):
    """Fixed weights, of which one number is tuned: how much of all weight the primary's rows have together.

    The sources share the rest by their rows, as unweighted. Each share of a small grid is trained as the arm will be;
    the one with the highest score on held-out rows is taken, of equal ones the first. All trainings are charged.

    What differs from the studies named: they tune a weight for each task on a grid or at random, and learning rates
    with it; here there is one number, so that the trials stay few, and the arms' own learning rate.
    """

    name, title, family = "tuned_share", "a fixed share for the primary, tuned on held-out rows", "balancing"
    reference = "Kurin et al., 2022; Xin et al., 2022 (tuned scalarisation)"
    formula = "w of the primary's rows together is the share of `shares` with the highest held-out score; the rest even"
    cost = "a training of the arm's length per share that is tried, one of which is the arm's own"
    use = "beside all weights that move: what they gain has to be more than what a tuned constant gains"
    contrasts = ("share_50", "normalised", "")
    Options = TunedOptions

    def searches(self, options: TunedOptions) -> bool:
        """Say whether there is more than one share to try."""
        return len(options.shares) > 1

    def settle(self, context: Context, cell: Cell, selection: Selection, options: TunedOptions) -> TunedOptions:
        """Train with every share, and keep the best."""
        scores: dict[float, float] = {}
        for share in dict.fromkeys(options.shares):
            looks = context.train(self._trial(context, cell, selection, options, share), "trial").looks
            scores[share] = float(looks["score"].max())
        best = max(scores, key=lambda share: scores[share])
        selection.visited += [((share,), score) for share, score in scores.items()]
        selection.why["share"] = {cell.primary: best}
        return options.model_copy(update={"shares": [best]})

    def forecast_search(
        self, context: SizedContext, cell: Cell, selection: Selection, options: TunedOptions
    ) -> list[Search]:
        """Count the trainings, of which all cost about the same."""
        count = len(set(options.shares))
        trial = self._trial(context, cell, selection, options, options.shares[0])
        return [Search("trial", trial, count, count, options.shares)]

    def _trial(self, context: Context, cell: Cell, selection: Selection, options: TunedOptions, share: float) -> Plan:
        held = Cell(cell.params.model_copy(update={"choose": "holdout"}), cell.seed)
        return self.plan(context, held, selection, options.model_copy(update={"shares": [share]}))

    def prior(
        self, context: Context, cell: Cell, sizes: Mapping[str, int], options: TunedOptions
    ) -> Mapping[str, float]:  # fmt: skip
        """Give the primary's rows the share, the first where none is settled yet, and the sources' rows the rest."""
        share, sources = options.shares[0], sum(sizes.values()) - sizes[cell.primary]
        return {name: share / rows if name == cell.primary else (1 - share) / sources for name, rows in sizes.items()}
