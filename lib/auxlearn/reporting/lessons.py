"""What was learned: each notebook's closing sentences, from the numbers of its run.

A sentence says no more than the statistics allow: under `stats.UNDECIDED_BELOW` seeds it gives the range over seeds and
no verdict; from then on the t interval over seeds decides, and a comparison of arms goes by its corrected verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite
from auxlearn.evaluation import stats, verdicts
from auxlearn.reporting import summaries

CLOSE = 0.05  # of AUC: form that comes this near to a discriminator may be all that it has learnt
BLIND = 0.6  # an AUC under which the proxy hardly tells a task from the rest
MOST = 0.6  # share of a selection, above which it is mostly one task
EVEN = 0.03  # of weight: sources that end less far apart are not told from one another
HELPS = 1 / 3  # of a task's rows were made to help: from then on it counts as a task that was
LEAST = 0.005  # share of a selection that is worth a name
# What is said of shares beside the pool's: by an interval, and of few seeds by all of them.
TOLD = {"more": "More than that", "less": "Less than that", "": "Not told from the pool"}
SEEN = {
    "more": "More than that in every seed", "less": "Less than that in every seed",
    "": "Above it in some seeds, below it in others",
}  # fmt: skip


def data(sizes: pd.DataFrame, power: pd.DataFrame, floor: pd.DataFrame, leaking: int, primary: str) -> str:
    """Say what 01 learned: how unequal the tasks are, what stays out, the floor, and what this design could show.

    Args:
        sizes: As from `summaries.sizes`.
        power: As from `summaries.detectable`, with a column for each number of seeds.
        floor: As from `summaries.constant_scores`.
        leaking: Training rows that also stand in a dev or test split.
        primary: The primary.

    Returns:
        One sentence per line.
    """
    rows = sizes["train"]
    least, most = rows.min(), rows.max()
    if least == most:
        lines = [f"{_count(len(rows), 'task')}, each with {_count(most, 'training row')}."]
    else:
        lines = [
            f"{_count(len(rows), 'task')}: from {least:,} training rows ({_few(rows.index[rows == least])}) to "
            f"{most:,} ({_few(rows.index[rows == most])}); a random selection follows these sizes."
        ]
    out = "also stand in a dev or test split, and stay out of the pool" if leaking != 1 else (
        "also stands in a dev or test split, and stays out of the pool")  # fmt: skip
    lines.append(f"{_count(leaking, 'training row')} {out}." if leaking else "No training row also stands in a dev or "
                 "test split.")  # fmt: skip
    own = floor.loc[primary]
    lines.append(
        f"{primary}: always answering {own['constant answer']!r} scores {own['metric']} {own['scores']:.3f}; a model "
        "that scores no more has learnt nothing."
    )
    could = " and ".join(
        f"{value:.3f} with {name}" for name, value in power.loc[primary].items() if "seeds" in str(name)
    )
    lines.append(
        f"On its {sizes.loc[primary, 'dev']:,} dev rows a difference in accuracy of {could} is told from none four "
        f"times in five, if it varies by {summaries.SEED_SD} over seeds and two models differ on "
        f"{summaries.DISAGREEMENT:.0%} of the rows; there are no tests under {stats.TEST_FROM} seeds."
    )
    return "\n".join(lines)


def proxy(auc: pd.DataFrame, surface: pd.Series, primary: str) -> str:
    """Say what 02 learned: how well tasks are told apart, and where format alone does as well.

    Args:
        auc: The discriminator's AUC; index task, one column per seed.
        surface: AUC of surface cues alone, by task, for the first of the seeds.
        primary: The primary.

    Returns:
        One sentence per line.
    """
    mean = auc.mean(axis=1).dropna()
    if mean.empty:
        return "There is one task: nothing to tell apart."
    low, high = mean.idxmin(), mean.idxmax()
    lines = [
        f"The discriminator tells tasks apart with an AUC from {mean[low]:.2f} ({low}) to {mean[high]:.2f} ({high}), "
        f"{_mean_of(auc.shape[1])}."
    ]
    own = mean.get(primary, np.nan)
    if own < BLIND:
        lines.append(f"It hardly tells {primary} from the rest ({own:.2f}; 0.5 is chance): expect a ranking "
                     "that is little better than random.")  # fmt: skip
    elif own >= BLIND:
        first = f"; in the first seed {auc.iloc[:, 0][primary]:.0%}" if auc.shape[1] > 1 else ""
        beside = f"{first}{',' if first else ';'} by format alone {surface[primary]:.0%}" if primary in surface else ""
        lines.append(f"A row of {primary} is placed above a row of another task {own:.0%} of the time{beside}.")
    gap = auc.iloc[:, 0] - surface
    formal = list(gap.index[gap < CLOSE])
    if formal:
        seed = " in the first seed" * (auc.shape[1] > 1)
        lines.append(f"Format alone comes within {CLOSE} of it{seed}, or does better, for {_list(formal)}: there, "
                     "similar may mean no more than formatted alike.")  # fmt: skip
    else:
        lines.append(f"Format alone stays more than {CLOSE} below it for every task: it has learnt more than format.")
    return "\n".join([*lines, "Whether look-alikes help is another question: 06 answers it."])


def ranking(shares: pd.DataFrame, n: int, truth: Mapping[str, Mapping[str, float]], level: float = 0.95) -> str:
    """Say what 03 learned: where the chosen rows come from, and whether they are those that were made to help.

    Args:
        shares: As from `ranking.shares`, of the first seed.
        n: Rows chosen.
        truth: By seed truth_auc, helpful_chosen and helpful_pool; empty where no truth is known.
        level: Confidence level of the interval over seeds.

    Returns:
        One sentence per line.
    """
    order = shares[shares["chosen"] > 0].sort_values("share", ascending=False, kind="stable")
    top = [
        f"{row.share:.0%} are of {row.Index} ({row.lift:.1f} times its share of the pool)"
        for row in (order[order["share"] >= LEAST] if (order["share"] >= LEAST).any() else order)[:3].itertuples()
    ]
    lines = [f"Of the {n:,} rows chosen (first seed), {_list(top)}."]
    if none := list(shares.index[shares["chosen"] == 0]):
        lines.append(f"None is of {_list(none)}.")
    if order["share"].iloc[0] > MOST and len(shares) > 1:
        lines.append(f"Most are of one task: rows drawn at random from {order.index[0]} might do as well, which the "
                     "arm cie_… tells.")  # fmt: skip
    if not truth:
        return "\n".join(
            [*lines, "Which rows help is not known here: training (06) judges, and 08 on a suite with twins."]
        )
    auc = [seed["truth_auc"] for seed in truth.values()]
    chosen, pool = (float(np.mean([s[k] for s in truth.values()])) for k in ("helpful_chosen", "helpful_pool"))
    lines.append(f"{chosen:.0%} of the chosen rows were made to help, {pool:.0%} of the pool ({_mean_of(len(auc))}).")
    lines.append(f"AUC against this truth: {_over_seeds(auc, level)}. {_against(auc, 0.5, 'chance (0.5)', level)}")
    return "\n".join(lines)


def made_to_help(suite: Suite, primary: str) -> list[str]:
    """List the auxiliaries of the planted suite of whose rows a third or more was made to help; [] of any other."""
    names = [name for name in suite.names if name != primary and "helpful" in suite[name].train.column_names]
    return [name for name in names if np.mean(suite[name].train["helpful"][:]) >= HELPS]


def heads(
    null: pd.DataFrame, ceiling: pd.DataFrame, primary: str, seeds: int, level: float = 0.95,
    helpful: Sequence[str] = (),
) -> str:  # fmt: skip
    """Say what 04 learned: which tasks use the primary's heads, against chance and against the measure's own noise.

    Args:
        null: As from `head_tables.nulls`.
        ceiling: As from `head_tables.ceilings`.
        primary: The primary.
        seeds: How many seeds were measured.
        level: 1 minus the significance level of the permutation test, corrected (Holm) over the tasks.
        helpful: Tasks that were made to help (`made_to_help`).

    Returns:
        One sentence per line.
    """
    null = null.dropna()
    if null.empty:
        return f"There is no other task whose heads could be held against those of {primary}."
    order = null.sort_values("tau", ascending=False, kind="stable")
    first = order.iloc[0]
    lines = [
        f"The highest tau with {primary} is that of {order.index[0]}, {first['tau']:.2f}; 95 % of permutations of the "
        f"heads stay below {first['null_95']:.2f} ({_mean_of(seeds)})."
    ]
    adjusted = stats.holm(null["p"].to_numpy())
    above = list(null.index[(adjusted < 1 - level) & (null["tau"].to_numpy() > 0)])
    each = "each seed" if seeds > 1 else "the one seed"
    if above:
        lines.append(f"Above chance in {each}, corrected for {_count(len(null), 'task')}: {_list(above)}.")
    else:
        lines.append(f"No task is above chance in {each} once corrected for {_count(len(null), 'task')}.")
    own, itself = ceiling.loc[null.index, "seeds"], ceiling["seeds"].get(primary, np.nan)
    halves = ceiling["halves"].get(primary, np.nan)
    if seeds >= 2 and ceiling["seeds"].isna().all():
        lines.append(f"Every seed draws an encoder of its own, so that seeds share no heads to agree on; within a seed "
                     f"two halves of {primary}'s rows agree by {halves:.2f}.")  # fmt: skip
    elif seeds >= 2 and itself <= first["tau"]:
        lines.append(f"Two seeds of {primary} itself agree no better ({itself:.2f}) than it does with "
                     f"{order.index[0]}, so that no task can be ranked against it.")  # fmt: skip
    elif seeds < 2:
        lines.append(
            "With one seed it is not known how far a task agrees with itself, and so not which taus are noise."
        )
    elif noisy := list(null.index[own <= null["tau"]]):
        lines.append(f"{_list(noisy)}: two seeds of the task agree no better than the task with {primary}, so that "
                     "this measure cannot rank it.")  # fmt: skip
    else:
        lines.append(f"Every task agrees better with itself over two seeds than with {primary}.")
    if helpful:
        lines.append(_planted(helpful, order.index[0], f"tau puts {order.index[0]} first"))
    return "\n".join([*lines, "Whether tasks with like heads help is for 06 to say."])


def _planted(helpful: Sequence[str], best: str, said: str) -> str:
    """Say whether what comes first was made to help."""
    if best in helpful:
        return f"Made to help were {_list(list(helpful))}; {said}."
    return f"Made to help were {_list(list(helpful))}; {said}: this run does not find what was planted."


def weights(table: pd.DataFrame, null: pd.DataFrame, primary: str, helpful: Sequence[str] = ()) -> str:
    """Say what 05 learned: where the weights went, and how far from where no gradient would have taken them.

    Args:
        table: As from `weight_tables.followed`, of all seeds.
        null: As from `weight_tables.null`, for the same updates.
        primary: The primary; a plan that trains sources alone has no weight for it.
        helpful: Tasks that were made to help (`made_to_help`).

    Returns:
        One sentence per line.
    """
    by_seed = table.pivot(index=["seed", "update"], columns="task", values="weight")
    start, end = (by_seed.groupby("seed").agg(which) for which in ("first", "last"))
    still = null.pivot(index="update", columns="task", values="weight").iloc[-1]
    sources = end.drop(columns=primary, errors="ignore")
    lines = []
    if primary in end:
        lines.append(
            f"The weight of {primary} went from {start[primary].mean():.3f} to "
            f"{_over_seeds(end[primary].tolist(), form='.3f')}; "
            f"without any gradient it would have gone to {still[primary]:.3f}."
        )
    if sources.empty:
        return "\n".join([*lines, "There is no source beside it."])
    top = sources.idxmax(axis=1)
    best = top.mode().iloc[0]
    agreed = int((top == best).sum())
    spread = float((sources.max(axis=1) - sources.min(axis=1)).max())
    if sources.shape[1] > 1 and spread < EVEN:
        lines.append(f"No two sources ended more than {EVEN} apart: none of them is told from the others.")
    elif len(end) == 1:
        lines.append(f"Among the sources {best} ended highest ({sources[best].iloc[0]:.3f}); "
                     "one seed does not tell whether another would agree.")  # fmt: skip
    elif agreed == len(end):
        lines.append(f"Among the sources {best} ended highest in all {len(end)} seeds ({sources[best].mean():.3f}).")
    else:
        found = _list(list(dict.fromkeys(top)))
        lines.append(f"The seeds disagree on which source should weigh most: {found} ended highest.")
    if helpful:
        told = spread >= EVEN and agreed == len(end)
        found = f"the weights put {best} first" if told else "no source weighs most in every seed"
        lines.append(_planted(helpful, best if told else "", found))
    moved, apart = (float((end - other).abs().sum(axis=1).mean() / 2) for other in (start, still))
    lines.append(f"Of all weight {moved:.0%} ended elsewhere than it began, and {apart:.0%} elsewhere than the "
                 f"schedule alone, with no gradient, would have taken it ({_mean_of(len(end))}).")  # fmt: skip
    later = table[table["update"] > 0]
    if blind := int(later["cosine"].isna().sum()):
        lines.append(f"{blind} of {len(later)} cosines were not estimable, and moved nothing.")
    return "\n".join([*lines, "Whether weighted training scores better is for 06 and 07 to say."])


def training(scores: Sequence[float], metric: str, floor: float, arm: str, level: float = 0.95) -> str:
    """Say what 06 learned: what one arm scores, beside a constant answer.

    Args:
        scores: The primary's dev score, one per seed.
        metric: Its metric.
        floor: A constant answer's score.
        arm: The arm.
        level: Confidence level of the interval over seeds.

    Returns:
        One sentence per line.
    """
    lines = [f"{arm}: {metric} {_over_seeds(scores, level, '.3f')}; a constant answer scores {floor:.3f}."]
    below = sum(score <= floor for score in scores)
    if below:
        some = f"{below} of {len(scores)} seeds score" if len(scores) > 1 else "The one seed scores"
        lines.append(f"{some} no more than that answer: nothing was learnt there.")
    return "\n".join([*lines, "What the auxiliary rows changed is not in these numbers: 07 sets arms side by side."])


def comparison(
    compared: pd.DataFrame, costs: pd.Series, scores: pd.Series, floor: float, metric: str, baseline: str = "single"
) -> str:
    """Say what 07 learned: which arms a corrected test tells from the baseline, and what they cost.

    Args:
        compared: As from `comparison.comparisons`, of arms against the baseline.
        costs: Total cost by arm, the baseline's among them, in any unit.
        scores: Mean score by arm.
        floor: A constant answer's score.
        metric: The metric.
        baseline: The arm of no auxiliary rows.

    Returns:
        One sentence per line.
    """
    words = compared["verdict"].map(lambda verdict: verdicts.parse_verdict(verdict)[1] or verdict)
    lines = []
    for word in ("better", "worse"):
        if shown := list(compared.index[words == word]):
            each = [f"{arm} ({compared.loc[arm, 'difference']:+.3f})" for arm in shown]
            lines.append(f"Shown to be {word} than {baseline}, corrected for all tests: {_list(each)}.")
    if not lines and (words == "no difference shown").any():
        lines.append(f"No arm is shown to differ from {baseline} in {metric}.")
    for word in dict.fromkeys(word for word in words if word not in ("better", "worse")):
        lines.append(f"{word[0].upper()}{word[1:]}: {_list(list(compared.index[words == word]))}.")
    best = compared["difference"].idxmax()
    row = compared.loc[best]
    low, high = row["row_low"], row["row_high"]
    apart = "" if len(compared) == 1 else "; it was looked for among the arms, which flatters it"
    if not np.isnan(low):
        lines.append(f"The highest difference is {best}'s, {row['difference']:+.3f}; other seeds and dev rows may give "
                     f"{low:+.3f} to {high:+.3f}{apart}.")  # fmt: skip
    if scores[baseline] <= floor:
        lines.append(
            f"{baseline} scores no more than a constant answer ({floor:.3f}): help is easy to show against it."
        )
    if costs[baseline] > 0:
        dearer = [f"{arm} {costs[arm] / costs[baseline]:.1f}" for arm in compared.index]
        lines.append(f"Cost in FLOPs, in times that of {baseline}: {', '.join(dearer)}.")
    return "\n".join(lines)


def validity(
    rows: pd.DataFrame, best: str, pool: float, agreed: pd.DataFrame | None = None, level: float = 0.95
) -> str:  # fmt: skip
    """Say what 08 learned: which methods find rows that are known to help, and which see what each task is worth.

    Args:
        rows: As from `judged_choices.judge`: a row per method and seed, with the share of `best` of the chosen rows.
        best: The kind of rows that help.
        pool: Its share of the pool.
        agreed: As from `validity.agreements`; None or empty where it was not measured what each task is worth.
        level: Confidence level of the intervals over seeds.

    Returns:
        One sentence per line.
    """
    shares = {str(name): part[best].dropna().tolist() for name, part in rows.groupby("method", sort=False)}
    chosen = {name: values for name, values in shares.items() if values}
    lines = [f"Of the pool, {pool:.1%} is {best}."]
    if not chosen:
        return "\n".join([*lines, "No method chose a row."])
    for enough in (True, False):
        those = {name: v for name, v in chosen.items() if (len(v) >= stats.UNDECIDED_BELOW) == enough}
        sides: dict[str, list[str]] = {"more": [], "less": [], "": []}
        for name, values in those.items():
            sides[_side(values, pool, level)].append(f"{name} ({np.mean(values):.1%})")
        lines += [f"{(TOLD if enough else SEEN)[side]}: {_list(names)}." for side, names in sides.items() if names]
        if those:
            seeds = sorted({len(values) for values in those.values()}, reverse=True)
            fewer = [f"{name} over {len(v)}" for name, v in those.items() if len(v) < seeds[0]]
            over = f"{_count(seeds[0], 'seed')}{f' ({_list(fewer)})' if fewer else ''}"
            lines.append(
                f"By {level:.0%} t intervals over {over}, not corrected for {_count(len(those), 'method')}."
                if enough
                else f"With {over} that is no verdict."
            )
    of = rows.groupby("method", sort=False)[best].agg(lambda part: part.isna().sum())
    if idle := [f"{name} in {count} of {(rows['method'] == name).sum()} seeds" for name, count in of.items() if count]:
        lines.append(f"Chose no row: {_list(idle)}.")
    if agreed is None or agreed.empty:
        lines.append(
            "What each task is worth was not measured: `oracle` names the auxiliaries to train with, one by one."
        )
    else:
        taus = agreed.groupby("method", sort=False)["tau"].mean().sort_values(ascending=False, kind="stable").dropna()
        firsts = agreed.groupby("method", sort=False)["regret"].max()
        seeds = agreed["seed"].nunique()
        if len(taus):
            top, last = (f"{taus.index[i]} {how} ({taus.iloc[i]:.2f})" for i, how in ((0, "best"), (-1, "worst")))
            lines.append(f"Orders of the tasks by their worth, by Kendall's tau ({_mean_of(seeds)}): {top}, {last}.")
        right = [str(name) for name in firsts.index[firsts <= 0]]
        each = "in every seed" if seeds > 1 else "in the one seed"
        lines.append(f"The best task first {each}: {_list(right) or 'none'}.")
    return "\n".join(lines)


# --- words -------------------------------------------------------------------------------------------------------


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def _few(names: Sequence[str]) -> str:
    return str(names[0]) if len(names) == 1 else f"{len(names)} tasks"


def _mean_of(seeds: int) -> str:
    return f"mean of {seeds} seeds" if seeds > 1 else "one seed"


def _over_seeds(values: Sequence[float], level: float = 0.95, form: str = ".2f") -> str:
    """Give one value as it is, few as their mean and range, and from `UNDECIDED_BELOW` on the mean and its interval."""
    mean = f"{np.mean(values):{form}}"
    if len(values) == 1:
        return f"{mean} (one seed)"
    if len(values) < stats.UNDECIDED_BELOW:
        return f"{mean} (mean of {len(values)} seeds, {min(values):{form}} to {max(values):{form}})"
    low, high = stats.t_interval(values, level)
    return f"{mean} (mean of {len(values)} seeds, {level:.0%} interval {low:{form}} to {high:{form}})"


def _side(values: Sequence[float], level_of: float, level: float) -> str:
    """On which side of a level the values lie: all of few seeds, or the interval over enough: more, less or neither."""
    enough = len(values) >= stats.UNDECIDED_BELOW
    low, high = stats.t_interval(values, level) if enough else (min(values), max(values))
    return "more" if low > level_of else "less" if high < level_of else ""


def _against(values: Sequence[float], level_of: float, name: str, level: float) -> str:
    side = _side(values, level_of, level)
    if len(values) < stats.UNDECIDED_BELOW:
        where = {"more": f"above {name} in every seed", "less": f"below {name} in every seed"}.get(
            side, f"above and below {name} by seed")  # fmt: skip
        few = "1 seed is" if len(values) == 1 else f"{len(values)} seeds are"
        return f"That is {where}; {few} too few for a verdict."
    return {"more": f"Better than {name}.", "less": f"Worse than {name}."}.get(side, f"Not told from {name}.")
