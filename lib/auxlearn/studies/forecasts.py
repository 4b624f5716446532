"""What a study would cost, in FLOPs, before anything is run: its cells' charges over sizes (`methods.forecasting`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.cost import SHARED, TRAINING
from auxlearn.errors import InputError
from auxlearn.methods import forecasting, registry
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.methods.forecasting import Charge, SizedContext
from auxlearn.methods.gradts import importance_maker
from auxlearn.methods.tawt import weight_tables
from auxlearn.studies import graph, study_file, unread_expansion
from auxlearn.studies.expansion import Cell
from auxlearn.studies.sizing import Sizer

TABLED = ("proxy", "scoring", "task_tuning", "importance")  # of what all primaries share, in every table
SEARCHED = ("bandit", "trial", "weighting")  # every primary's own
SHOWN = ("map", "compared")  # what only informs the reader: 02's picture, 05's comparison of probes
COUNTED = ("02_td_proxy", "04_gradts_correlation", "05_tawt_weighting", "06_mtl", "08_validity")
DERIVED = ("alone", "at_most", "amortised", "all_data", "speedup", "speedup_amortised", "ceiling")


@dataclass
class Price:
    """What a study would cost: a forecast in FLOP; nothing was run and nothing is in seconds.

    Attributes:
        table: One seed of one 06 cell per row, index (primary, arm, n); n is 0 where the arm has none. By stage what is
            expected: proxy, scoring, task_tuning, importance, bandit, trial, weighting (probes, and the training that
            final weights are from), pretrain, joint, stage2, tune, and stages of other methods; alone (their sum),
            at_most (what alone cannot exceed), amortised (shared stages divided among the study's primaries), all_data
            (training with every row of every task, then tuning); and as ratios of all_data to each speedup,
            speedup_amortised and ceiling (training alone: the most that a free selection of as many rows could give).
        total: By stage what the whole grid is expected to cost, all its seeds, what cells share counted once.
        most: What the whole grid cannot exceed.
        separately: If every seed of every 06 cell ran all of its stages for itself.
        primaries: Of the 06 cells.
        source: Where rows and tokens are from.
    """

    table: pd.DataFrame
    total: pd.Series
    most: float
    separately: float
    primaries: list[str]
    source: str

    def shown(self) -> str:
        """Return the price as text; arms that cost the same share a line."""
        whole = self.total.sum() if self.table.empty else self.table["alone"].max()
        unit, word = (1e15, "PFLOP") if whole >= 1e15 else (1e12, "TFLOP")
        lines = [
            f"FORECAST in {word}, one seed per line; nothing was run. {self.source}.",
            "Counted as ledgers count: matrix products of the encoder's layers, padding and the rows that judge epochs",
            "and trials included. Rows are taken to be chosen as the pool is mixed, and no row to leak.",
        ]  # fmt: skip
        if self.primaries:
            shared_too = [name for name in SHARED if name in self.table and name not in TABLED]
            lines += [
                "alone: all that the arm needs; at_most: what it cannot exceed; amortised: "
                f"{', '.join((*TABLED, *shared_too))} shared",
                f"by {len(self.primaries)} primaries; all_data: training with everything, which speedup (alone),",
                "speedup_amortised and ceiling (free selection) divide.",
            ]
        lines += ["", *self._lines(unit)]
        total = ", ".join(f"{name} {_digits(value / unit)}" for name, value in self.total.items() if value)
        lines += [f"whole grid, all seeds, shared work once: {_digits(self.total.sum() / unit)} {word} ({total});"]
        lines += [f"at most {_digits(self.most / unit)} {word}"]
        if self.separately:
            lines += [f"every seed of every arm on its own: {_digits(self.separately / unit)} {word}"]
        return "\n".join(lines)

    def _lines(self, unit: float) -> list[str]:
        if self.table.empty:
            return []
        ratios = ("speedup", "speedup_amortised", "ceiling")
        stages = [c for c in self.table if c not in DERIVED]
        table = self.table.drop(columns=[c for c in stages if not self.table[c].any()]).reset_index()
        values = [c for c in table if c not in ("primary", "arm", "n", *ratios)]
        table[values] /= unit
        rest = [c for c in table if c != "arm"]
        table = table.groupby(rest, sort=False)["arm"].agg(", ".join).reset_index()[["primary", "arm", *rest[1:]]]
        return [table.to_string(index=False, float_format=_digits), ""]


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def price(path: Path) -> Price:
    """Price a study, without running anything.

    Rows, tokens and encoder are those of the file's `expects`, else the suite's rows and the encoder's own tokens.

    Args:
        path: The study file.

    Returns:
        The price.

    Raises:
        InputError: If the file cannot be priced; the message names it.
    """
    file = study_file.read(path)
    cells = graph.expanded(path, unread_expansion.Unread(file))
    try:
        count = _Count(file, cells)
        for cell in cells:
            count.add(cell)
        if not count.units:
            raise InputError("stages: none among them trains anything, so there is nothing to price")
        return count.price()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def by_cell(path: Path, cells: list[Cell]) -> list[float]:
    """Forecast what each cell of a study adds to those before it: of cells that share a unit the first is charged.

    Args:
        path: The study file.
        cells: The study's cells, upstream first.

    Returns:
        FLOP per cell, in their order; the sum is that of `Price.total`.
    """
    count, added = _Count(study_file.read(path), cells), []
    for cell in cells:
        before = sum(charge.expected for charge in count.units.values())
        count.add(cell)
        added.append(sum(charge.expected for charge in count.units.values()) - before)
    return added


class _Count:
    """Charges of a study's cells, added one by one; what several of them make alike is counted once."""

    def __init__(self, file: study_file.StudyFile, cells: list[Cell]):
        self.sizes = Sizer(file)
        self.primaries = list(dict.fromkeys(cell.params.primary for cell in cells if cell.stage == "06_mtl"))
        self.units: dict[tuple[str, str, str], Charge] = {}  # by suite too: a training over one serves no other
        self.rows: list[dict[str, Any]] = []
        self.full: dict[str, float] = {}
        self.separately, self.source = 0.0, ""

    def add(self, cell: Cell) -> None:
        for seed, charges in self._charges(cell):
            for charge in charges:
                at = (cell.suite, seed, charge.unit)
                self.units[at] = self.units[at].shared_with(charge) if at in self.units else charge

    def _charges(self, cell: Cell) -> Iterator[tuple[str, list[Charge]]]:
        """Yield, for each seed that counts, what the cell runs."""
        p: Any = cell.params
        if cell.stage not in COUNTED:
            return
        charges, shown = self._one(cell, p.seeds[0])
        # The authors' fixed seeds leave nothing that differs where no row is drawn: one training serves all seeds.
        same = getattr(p, "seed_policy", "") == "fixed" and p.choose != "holdout" and not p.needs_pool and not p.policy
        for number, seed in enumerate(p.seeds[:1] if same else p.seeds):
            yield "" if same else str(seed), [*charges, *(shown if number == 0 else [])]

    def _one(self, cell: Cell, seed: int) -> tuple[list[Charge], list[Charge]]:
        """Return what one seed of a cell runs, and what it runs for its reader alone.

        All seeds are counted as seed 0: they cost the same but for their draws.
        """
        p = _decided(cell.params)
        sizes = self.sizes.of(p)
        self.source = self.source or sizes.source
        context = SizedContext(sizes, p, 0, _upstream(cell, 0))
        if cell.stage == "02_td_proxy":
            return registry.maker("proxy").forecast(context, p, 0), _map(context, p, seed)
        if cell.stage == "04_gradts_correlation":
            charges = importance_maker.forecast_tasks(context, p, 0, context.suite.names)
            for encoder in p.also:
                other = p.model_copy(update={"encoder": encoder})
                own = SizedContext(self.sizes.of(other), other, 0)
                charges += importance_maker.forecast_tasks(own, other, 0, own.suite.names)
            return charges, []
        if cell.stage == "05_tawt_weighting":
            plan = registry.maker("final_weights").plan(context, p, 0)  # type: ignore[attr-defined]
            compared = weight_tables.probe_plans(plan).values() if p.compare_probes else ()
            shown = [charge for other in compared for charge in context.trained(other, "compared")]
            return context.trained(plan), shown
        if cell.stage == "08_validity":  # whose methods choose, and train nothing with what they have chosen
            asked = [SizedContext(sizes, _decided(arm), 0, context.upstream) for arm in p.arms]
            return [charge for each in asked for charge in each.choosing(each.params.method)], []
        charges = forecasting.arm(context)
        self._row(context, charges)
        return charges, []

    def _row(self, context: SizedContext, charges: list[Charge]) -> None:
        p = context.params
        stages = dict.fromkeys((*TABLED, *SEARCHED, *TRAINING), 0.0)
        for charge in charges:
            stages[charge.stage] = stages.get(charge.stage, 0.0) + charge.expected
        alone, shared = sum(stages.values()), sum(stages.get(name, 0.0) for name in SHARED)
        own, amortised = sum(stages[name] for name in TRAINING), shared / len(self.primaries) + alone - shared
        full = self._all_data(context)
        n = p.n if p.method.uses_n else 0
        self.rows.append({
            "primary": p.primary, "arm": p.arm, "n": n, **stages, "alone": alone,
            "at_most": sum(charge.most for charge in charges), "amortised": amortised, "all_data": full,
            "speedup": full / alone, "speedup_amortised": full / amortised, "ceiling": full / own,
        })  # fmt: skip
        self.separately += alone * len(p.seeds)

    def _all_data(self, context: SizedContext) -> float:
        """Forecast training with all data in an arm's place."""
        everything = context.params.model_copy(update={"arm": registry.ALL_ROWS})
        key = forecasting.digest([everything.model_dump(exclude={"n", "seeds", "inputs"})])
        if key not in self.full:
            charges = forecasting.arm(SizedContext(context.sizes, everything, 0))
            self.full[key] = sum(charge.expected for charge in charges)
        return self.full[key]

    def price(self) -> Price:
        table = pd.DataFrame(self.rows).fillna(0.0) if self.rows else pd.DataFrame(columns=["primary", "arm", "n"])
        table = table[[*(c for c in table if c not in DERIVED), *(c for c in table if c in DERIVED)]]
        stages = dict.fromkeys((*TABLED, *SHOWN[:1], *SEARCHED, *SHOWN[1:], *TRAINING), 0.0)
        for charge in self.units.values():
            stages[charge.stage] = stages.get(charge.stage, 0.0) + charge.expected
        most = sum(charge.most for charge in self.units.values())
        table = table.set_index(["primary", "arm", "n"])
        return Price(table, pd.Series(stages), most, self.separately, self.primaries, self.source)


def _decided(p: Any) -> Any:
    """Return parameters with "auto" decided, as batches of a pass are larger on a GPU; "cuda" may be elsewhere."""
    return p.resolved() if p.device == "auto" else p


def _upstream(cell: Cell, seed: int) -> list[Any]:
    """List the parameters of all cells that a cell reads, as if each had this seed."""
    found: dict[str, Any] = {}
    queue = list(cell.reads)
    while queue:
        read = queue.pop(0)
        seeds = {"seeds": [seed]} if hasattr(read.params, "seeds") else {}
        found.setdefault(f"{read.stage}/{read.key}", _decided(read.params).model_copy(update=seeds))
        queue += read.reads
    return list(found.values())


def _map(context: SizedContext, p: Any, seed: int) -> list[Charge]:
    """Forecast 02's picture: a proxy without discriminator, and a pass over the rows that are drawn."""
    if seed not in p.map_seeds:
        return []
    bare = proxy_plans.without_discriminator(registry.maker("proxy").plans(context, p, 0)[0][0])  # type: ignore[attr-defined]
    rows = {name: np.arange(min(count, p.map_rows)) for name, count in context.sizes.rows.items()}
    return [*context.trained(bare, "map"), context.passed(bare, rows, "map")]
