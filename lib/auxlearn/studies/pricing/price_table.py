"""What a study would cost, as a table and as text (`prices` computes it)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

SHARED = ("proxy", "scoring", "heads")  # made once for all primaries of a study
SEARCHED = ("bandit", "trial", "weighting")  # every primary's own
TRAINED = ("pretrain", "joint", "stage2", "tune")


@dataclass
class Price:
    """What a study would cost: projected from FLOPs (see `prices`); nothing was run and nothing is in seconds."""

    # One seed of one 06 cell a row, index (primary, arm, n); n is 0 where the arm has none. In FLOP: proxy, scoring,
    # heads (GradTS's tuning of each task and its importance), bandit (AUTOSEM's stage 1), trial (trainings by which
    # GradTS-trial or AUTOSEM's stage 2 decides: an upper bound), weighting (TAWT's probes, and the training that final
    # weights are from), pretrain, joint, stage2, tune; alone (their sum); amortised (proxy, scoring and heads shared by
    # the study's primaries); all_data (training with every row of every task, then tuning). As ratios of all_data to
    # each: speedup (alone), speedup_amortised, and ceiling (pretrain, joint, stage2 and tune only), which no cheaper
    # way of selecting as many rows, or of weighing them, can pass.
    table: pd.DataFrame
    # FLOP of the whole grid, all its seeds, what cells share counted once: proxy, scoring, map (02's second proxy and
    # pass, for its picture), heads (of every task of the suite), bandit, trial, weighting, compared (05's trainings
    # that compare ways to probe), pretrain, joint, stage2, tune.
    total: pd.Series
    separately: float  # FLOP if every seed of every 06 cell ran all of its stages for itself
    primaries: list[str]  # of the 06 cells
    source: str  # where rows and tokens are from

    def shown(self) -> str:
        """Return the price as text; arms that cost the same share a line."""
        whole = self.total.sum() if self.table.empty else self.table["alone"].max()
        unit, word = (1e15, "PFLOP") if whole >= 1e15 else (1e12, "TFLOP")
        used = self.table[[*SHARED, *SEARCHED, *TRAINED]].any()
        shared = [name for name in SHARED if used[name]] or list(SHARED[:2])
        lines = [
            f"PROJECTION in {word}, one seed a line; nothing was run. {self.source}.",
            "Left out: embeddings, pooler, task heads, optimiser, evaluation, padding within batches, removed leaks,",
            "the cheap scorers that 03 compares.",
        ]  # fmt: skip
        if self.primaries:
            lines += [
                f"alone: all that the arm needs; amortised: {_listed(shared)} shared by {len(self.primaries)} "
                "primaries; all_data: training",
                "with everything, which speedup (alone), speedup_amortised and ceiling (free selection) divide.",
            ]
        if used["heads"]:
            lines += ["heads: GradTS's tuning and importance pass of each task. Its arms may find fewer rows than n."]
        if used["bandit"]:
            lines += ["bandit: AUTOSEM's stage 1, tasks played alike, its scores on held-out rows counted."]
        if used["trial"]:
            lines += [
                "trial<=: UPPER BOUND, every training that the search may run, with n rows mixed as the pool is, and",
                "its scores on held-out rows. It may stop sooner: at that mix alone and amortised are at most, and",
                "speed-ups at least, what is shown.",
            ]
        if used["weighting"]:
            lines += ["weighting: TAWT's probes; for final_… arms, all of the training that ended with their weights."]
        if self.total["compared"]:
            lines += [
                "05's training is that of 06's arm tawt_… of the same parameters, and counts once in the grid. Its",
                "comparison of probes (compared) trains it anew for each way to probe; no arm is charged for that.",
            ]
        total = ", ".join(f"{name} {_digits(value / unit)}" for name, value in self.total.items() if value)
        lines += ["", *self._lines(unit, [name for name in used.index if name not in shared and not used[name]])]
        lines += [f"whole grid, all seeds, shared work once: {_digits(self.total.sum() / unit)} {word} ({total})"]
        if self.separately:
            lines += [f"every seed of every arm on its own: {_digits(self.separately / unit)} {word}"]
        return "\n".join(lines)

    def _lines(self, unit: float, unused: list[str]) -> list[str]:
        if self.table.empty:
            return []
        table = self.table.reset_index().drop(columns=unused)
        ratios = ["speedup", "speedup_amortised", "ceiling"]
        values = [c for c in table if c not in ("primary", "arm", "n", *ratios)]
        table[values] /= unit
        rest = [c for c in table if c != "arm"]
        table = table.groupby(rest, sort=False)["arm"].agg(", ".join).reset_index()[["primary", "arm", *rest[1:]]]
        table = table.rename(columns={"trial": "trial<="})
        return [table.to_string(index=False, float_format=_digits), ""]


def _listed(names: list[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
