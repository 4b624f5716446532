"""What comparisons are said to show, in words: verdicts, whether an arm reaches all data, FastMTL's own rule."""

from __future__ import annotations

import re
from collections.abc import Sequence

from auxlearn.evaluation.stats import RESAMPLES, TEST_FROM, UNDECIDED_BELOW, Comparison, paired_values

_CHOSE_NOTHING = re.compile(r"((?:\S+ )?chose nothing \(\d+ of \d+ seeds?\))(?:; )?")


def verdict(comparison: Comparison, adjusted_p: float | None, level: float = 0.95, comparisons: int = 1) -> str:
    """Put a comparison into words.

    Args:
        comparison: The comparison.
        adjusted_p: Its p after Holm's correction; None where no test was made.
        level: 1 minus the significance level.
        comparisons: How many tests Holm's correction was over.

    Returns:
        "better", "worse", "no difference shown", or with the reason in brackets "undecided" or "no test".
    """
    if comparison.seeds < UNDECIDED_BELOW:
        return f"undecided ({comparison.seeds} seed{'s' if comparison.seeds != 1 else ''})"
    if adjusted_p is None:
        return f"no test ({comparison.seeds} seeds; needs {TEST_FROM})"
    if adjusted_p >= 1 - level:
        least = comparisons * max(2.0 ** (1 - comparison.seeds), 1 / (RESAMPLES + 1))  # Holm's for the smallest p
        if least >= 1 - level:
            return f"undecided ({comparison.seeds} seeds for {comparisons} tests)"
        return "no difference shown"
    return "better" if comparison.difference > 0 else "worse"


def parse_verdict(verdict: str) -> tuple[list[str], str]:
    """Take a verdict as tables have it apart into what it says of seeds without rows, and of the difference.

    Args:
        verdict: As from `verdict`, after "chose nothing (2 of 10 seeds); " where a method chose no row in some, and
            after "NAME chose nothing (1 of 10 seeds); " where the baseline did.

    Returns:
        The notes, and the verdict alone; "" where the arm chose nothing at all, so that nothing was compared.
    """
    notes = []
    while note := _CHOSE_NOTHING.match(verdict):
        notes.append(note[1])
        verdict = verdict[note.end() :]
    return notes, verdict


def reaches(against_all: Comparison, all_against_alone: Comparison, margin: float) -> str:
    """Say whether an arm does as well as training on all data, by a margin that was declared beforehand.

    It is asked only where there is something to reach: where all data beats single-task training by more than the
    margin. An arm that is no worse than useless data would else "reach" it.

    Args:
        against_all: The arm against all data.
        all_against_alone: All data against single-task training, over the same seeds.
        margin: What an arm may lack; above 0.

    Returns:
        "not asked" where the lower bound of all data's gain is not above the margin; "reaches" where the lower bound of
        the arm's difference to all data is above minus the margin, "falls short" where the upper bound is not, else
        "not shown". "undecided" with the reason in brackets under `UNDECIDED_BELOW` seeds.

    Raises:
        ValueError: The margin is not above 0.

    Reference:
        A comparison of non-inferiority by its confidence interval, as Piaggio et al., 2012 (CONSORT) describe it.
    """
    if not margin > 0:
        raise ValueError(f"margin: {margin} is not above 0; no interval lies above a difference of nothing lacked")
    seeds = min(against_all.seeds, all_against_alone.seeds)
    if seeds < UNDECIDED_BELOW:
        return f"undecided ({seeds} seed{'s' if seeds != 1 else ''})"
    if not all_against_alone.low > margin:
        return "not asked"
    if against_all.low > -margin:
        return "reaches"
    return "falls short" if against_all.high <= -margin else "not shown"


def by_one_deviation(arm: Sequence[float], baseline: Sequence[float]) -> str:
    """Say whether the mean moves by more than one standard deviation of the baseline over seeds: FastMTL's rule.

    It is no test: with ten seeds a mean difference of one standard deviation is three standard errors of a mean, but an
    arm whose own seeds differ more passes it by luck.

    Args:
        arm: Score per seed.
        baseline: Score per seed.

    Returns:
        "improved", "dropped" or "neutral".

    Raises:
        ValueError: As for `t_interval`, or a value is not finite.

    Reference:
        Kung et al., 2021 (FastMTL), the slides. Whose deviation it is they do not say.
    """
    x, y = paired_values(arm, baseline)
    moved, spread = x.mean() - y.mean(), y.std(ddof=1)
    return "neutral" if abs(moved) <= spread else "improved" if moved > 0 else "dropped"
