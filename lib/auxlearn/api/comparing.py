"""Train arms and compare them in one call: `auxlearn.compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from auxlearn import progress_bar
from auxlearn.api import cells, trained_arms
from auxlearn.api.selecting import one_process
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.records.manifests import Manifest
from auxlearn.reporting import comparison, cost_tables, results, summaries
from auxlearn.studies.expansion import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "single"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Arms beside training on the primary alone, paired by seed.

    Attributes:
        task: The primary.
        table: One row per arm, the baseline first: arm, score (mean on dev over seeds), difference to the baseline,
            interval of the difference over seeds and row_interval over seeds and dev rows (each low, high; None where
            there is none), p (Holm-adjusted; NaN where nothing is tested), verdict, TFLOP per seed (all that the arm
            ran), rows added, seeds, and constant: what always giving one answer scores.
        pairs: What takes an arm's effect apart, one row per (arm, baseline), as from `reporting.comparison.paired`.
        scores: One row per arm and seed, as from `reporting.results.scores`.
        costs: One row per arm, seed and stage, as from `reporting.cost_tables.costs`.
        floor: The constant answer and its score.
    """

    task: Task
    table: pd.DataFrame
    pairs: pd.DataFrame
    scores: pd.DataFrame
    costs: pd.DataFrame
    floor: dict[str, Any]
    _compared: pd.DataFrame

    def plot(self) -> Figure:
        """Draw the differences to the baseline with their intervals."""
        from auxlearn.reporting.plots import difference_figures

        return difference_figures.differences(self._compared, self.task.metric, seeds=self.scores["seed"].nunique())

    def __repr__(self) -> str:
        shown = self.table.copy()
        for column in ("interval", "row_interval"):
            shown[column] = ["" if each is None else f"{each[0]:+.3f} to {each[1]:+.3f}" for each in shown[column]]
        head = f"{self.task.name}: {self.task.metric} on dev ({len(self.task.dev):,} rows); always "
        head += f"{self.floor['constant answer']!r}: {self.floor['scores']:.3f}"
        return f"{head}\n{shown.drop(columns='constant').round(3).to_string(index=False)}"


def compare(
    suite: Suite, primary: str, methods: Sequence[str], seeds: Sequence[int], *, n: int, encoder: str = "minilm",
    device: str = "auto", **options: Any,
) -> Comparison:  # fmt: skip
    """Train arms and compare each with training on the primary alone, paired by seed.

    Trainings are those of the notebooks, each made once and kept in the run folder: the same call goes on where it was
    interrupted, and one more arm costs that arm.

    Args:
        suite: The suite.
        primary: The task that is to be helped.
        methods: Arms: METHOD, METHOD+POLICY or POLICY (`auxlearn methods` lists them); single, the baseline, is added.
        seeds: Seeds, which pair the arms. Under 6 decide nothing.
        n: Auxiliary rows that an arm adds.
        encoder: "minilm", "tiny", a Hugging Face name or a folder.
        device: "auto", "cpu" or "cuda".
        **options: As of `select`; each applies to all arms named that have it, and to the baseline only where it is
            named too or by `method_options={"single": …}`. `level`, `tests` and `family` are those of notebook 07.

    Returns:
        The comparison.

    Raises:
        InputError: A name or value is wrong, or there are too few rows to choose from; before anything is trained.
    """
    for name, value, usual in (("methods", methods, "random"), ("seeds", seeds, 0)):
        if isinstance(value, (str, int, Mapping)) or not isinstance(value, Iterable):
            raise InputError(f"{name}: give a list, such as {[value if isinstance(value, (str, int)) else usual]!r}")
    methods = list(methods)
    if not set(methods) - {BASELINE}:
        raise InputError(f"methods: name an arm that {BASELINE} is to be compared with, such as 'random'")
    arms = [BASELINE, *(arm for arm in methods if arm != BASELINE)]
    added = [] if BASELINE in methods else [BASELINE]
    (*_, last) = cells.requested_cells(suite, primary, arms, n, list(seeds), encoder, device, options, True, added)
    _in_files(last.reads)
    p: Any = last.params
    suite = suite.capped(p.rows)
    total = len(p.arms) * len(p.seeds)
    manifests = list[Manifest]()
    with progress_bar.shown() as show, one_process(p.threads):
        for cell in last.reads:
            done = len(manifests) * len(p.seeds)
            manifests.append(trained_arms.trained(cell, suite, _counted(show, done, total, cell.params)))
    task = suite[primary]
    compared, pairs = comparison.comparisons(manifests, task, p.level, p.tests, p.family)
    scores, costs, floor = (
        results.scores(manifests, task.metric),
        cost_tables.costs(manifests),
        summaries.constant_score(task),
    )
    summary = results.summary(scores, cost_tables.by_stage(costs, "flops", 1e12), p.level)
    table = _table(summary, compared, scores).assign(constant=floor["scores"])
    return Comparison(task, table, pairs, scores, costs, floor, compared)


def _in_files(arms: Sequence[Cell]) -> None:
    """Refuse methods that were typed in, before anything is trained: whether their code has changed cannot be told."""
    for cell in arms:
        p: Any = cell.params
        try:
            p.code_roots()
        except ValueError as error:
            raise InputError(
                f"methods: {p.arm!r} is defined in no file ({error}); put it into a .py file and import that, or name "
                "it in `plugins`"
            ) from None


def _counted(
    show: Callable[[str], None] | None, done: int, total: int, p: Any
) -> Callable[[int], Callable[[str], None] | None]:
    """Say before each message which of all trainings of the call it is of."""

    def of(seed: int) -> Callable[[str], None] | None:
        at = f"{done + p.seeds.index(seed) + 1}/{total} {p.arm}, seed {seed}"
        return None if show is None else lambda message: show(f"{at}: {message}")

    return of


def _table(summary: pd.DataFrame, compared: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    table = summary[["score"]].join(compared)
    for name, low, high in (("interval", "low", "high"), ("row_interval", "row_low", "row_high")):
        pairs = zip(table[low], table[high], strict=True)
        table[name] = [None if pd.isna(a) or pd.isna(b) else (float(a), float(b)) for a, b in pairs]
    by_arm = scores.groupby("arm", sort=False)
    table = table.assign(
        verdict=table["verdict"].fillna("baseline"), TFLOP=summary["cost"], added=by_arm["added"].mean(),
        seeds=by_arm["seed"].nunique(),
    )  # fmt: skip
    order = ["score", "difference", "interval", "row_interval", "p", "verdict", "TFLOP", "added", "seeds"]
    return table[order].reset_index()
