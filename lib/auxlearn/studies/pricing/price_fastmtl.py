"""What a FastMTL study costs, projected from FLOPs alone: nothing is run, and no second here was measured by us.

The unit is `cost.encoder_flops`, the one that the ledgers of finished runs count in. A stage is priced as rows x epochs
x FLOPs of one sequence. The projection leaves out what the ledgers leave out (embeddings, pooler, heads, optimiser),
and evaluation too: the authors' pass of the proxy over the eight dev sets, and the choice of an epoch. FLOPs are not
seconds: a pass without gradients runs closer to a device's peak than training in small batches does (`against_slides`).

Sources: the authors' code and slides of "Efficient Multi-Task Auxiliary Learning: Selecting Auxiliary Data by Feature
Similarity" (Kung et al., EMNLP 2021; github.com/MiuLab/FastMTL).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from auxlearn import cost
from auxlearn.errors import InputError

Length = float | Mapping[str, float]  # tokens a sequence, as computed: of all rows alike, or the mean of each task


@dataclass(frozen=True)
class Encoder:
    """The three sizes that `cost.encoder_flops` reads, under their Hugging Face names."""

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int


BERT_BASE = Encoder(768, 12, 3072)
MINILM_L6 = Encoder(384, 6, 1536)

# Training rows of the eight GLUE tasks, in the order of the authors' discriminator columns: 949,101 in all.
GLUE_ROWS = {
    "mnli": 392_702, "rte": 2_490, "qqp": 363_849, "qnli": 104_743, "mrpc": 3_668, "sst2": 67_349, "cola": 8_551,
    "stsb": 5_749,
}  # fmt: skip
GLUE_LENGTH = 128  # tokens: the authors' code pads every row to it
PRIMARIES = ("rte", "mrpc", "stsb")  # the paper's targets, which share one proxy and one pass over the pool
# Auxiliary rows: the counts that occur in the authors' scripts, file names and slides.
GRID = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 100_000, 200_000, 500_000)

# Seconds on the authors' slides, STS-B as the primary: arm -> stage -> seconds. Fine-tuning is printed for `random`
# only: for `all_data` it is the total less the multi-task training, and for `fastmtl` it is taken to be the same 190.
SLIDES: dict[str, dict[str, float]] = {
    "all_data": {"stage2": 15_801, "tune": 190},
    "random": {"stage2": 260, "tune": 190},
    "fastmtl": {"proxy": 95, "scoring": 775, "stage2": 200, "tune": 190},
}
SLIDE_TOTALS = {"all_data": 15_991, "random": 450, "fastmtl": 670}  # seconds, as printed; see `slide_totals`


def fastmtl(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *,
    mix: Mapping[str, float] | None = None, proxy_rows: int = 500, proxy_epochs: int = 5, stage2_epochs: int = 3,
    tune_epochs: int = 5, batch_size: int = 32, watch: int = 0, crossfit: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Project the cost of selecting n auxiliary rows by the discriminator and training with them.

    Stages:
        proxy: Trained on up to `proxy_rows` rows of every task, the primary included; after every epoch a forward pass
            over up to `watch` more.
        scoring: One forward pass over all rows of all tasks but the proxy's own.
        stage2: All primary rows and the n.
        tune: The primary's rows.

    Defaults are the authors'.

    Args:
        rows: Training rows per task.
        primary: The target task.
        n: Auxiliary rows to select.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence. A task's mean length is enough, as attention's share that is not linear in it is
            small (length / 6 hidden_size for BERT's shape).
        mix: The tasks' shares of the n rows, summing to 1; by default proportional to the pool. Only real lengths make
            it matter.
        proxy_rows: Rows of each task that the proxy is trained on, at most.
        proxy_epochs: Epochs of the proxy.
        stage2_epochs: Epochs of stage 2.
        tune_epochs: Epochs of tuning.
        batch_size: Rows per batch.
        watch: Rows of each task that are watched, at most (0 in the authors' code).
        crossfit: Train two proxies, each on rows of its own half of every task and scoring the other half, so that
            every row is scored, and once.

    Returns:
        Index stage (proxy, scoring, stage2, tune). Columns sequences (rows passed through the encoder, each epoch
        anew), steps (of the optimiser, batches being of one task each; 0 for scoring) and flops.

    Raises:
        InputError: If counts are too small, or the pool holds fewer than n rows.

    Reference:
        Kung et al., EMNLP 2021, and the authors' code.
    """
    check(rows, primary, n, proxy_epochs, stage2_epochs, tune_epochs, batch_size)
    if proxy_rows < 1 or watch < 0:
        raise InputError(f"proxy_rows, watch: {proxy_rows} and {watch} must be at least 1 and 0")
    halves = [{t: (k + half) // 2 for t, k in rows.items()} for half in (0, 1)] if crossfit else [dict(rows)]
    proxy, drawn = _nothing(), dict.fromkeys(rows, 0)
    for part in halves:
        # As `proxy_plans.proxy_sample` draws them: a task too small for both gives a quarter to be watched.
        watched = {t: min(watch, max(1, k // 4), k) for t, k in part.items()}
        sampled = {t: min(proxy_rows, k - watched[t]) for t, k in part.items()}
        drawn = {t: drawn[t] + k for t, k in sampled.items()}
        proxy = _add(proxy, stage(sampled, proxy_epochs, config, length, batch_size))
        proxy = _add(proxy, stage(watched, proxy_epochs, config, length, None))
    scored = dict(rows) if crossfit else {t: k - drawn[t] for t, k in rows.items()}
    chosen = chosen_of({t: k for t, k in scored.items() if t != primary}, n, mix)
    return table({
        "proxy": proxy,
        "scoring": stage(scored, 1, config, length, None),
        "stage2": stage({primary: rows[primary]} | chosen, stage2_epochs, config, length, batch_size),
        "tune": stage({primary: rows[primary]}, tune_epochs, config, length, batch_size),
    })  # fmt: skip


def random(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, stage2_epochs: int = 3,
    tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Project the cost of the random baseline: stage2 with n auxiliary rows drawn uniformly, then tune.

    Arguments, columns and errors are those of `fastmtl`.
    """
    check(rows, primary, n, stage2_epochs, tune_epochs, batch_size)
    chosen = chosen_of({t: k for t, k in rows.items() if t != primary}, n, None)
    return table({
        "stage2": stage({primary: rows[primary]} | chosen, stage2_epochs, config, length, batch_size),
        "tune": stage({primary: rows[primary]}, tune_epochs, config, length, batch_size),
    })  # fmt: skip


def all_data(
    rows: Mapping[str, int], primary: str, config: Any, length: Length, *, stage2_epochs: int = 3, tune_epochs: int = 5,
    batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Project the cost of the fully trained MT-DNN: stage2 over every row of every task, then tune.

    Arguments, columns and errors are those of `fastmtl`.
    """
    check(rows, primary, 0, stage2_epochs, tune_epochs, batch_size)
    return table({
        "stage2": stage(rows, stage2_epochs, config, length, batch_size),
        "tune": stage({primary: rows[primary]}, tune_epochs, config, length, batch_size),
    })  # fmt: skip


def single(
    rows: Mapping[str, int], primary: str, config: Any, length: Length, *, epochs: int = 5, batch_size: int = 32
) -> pd.DataFrame:
    """Project the cost of fine-tuning on the primary alone: one stage, tune.

    Arguments, columns and errors are those of `fastmtl`; `epochs` are of that stage.
    """
    check(rows, primary, 0, epochs, batch_size)
    return table({"tune": stage({primary: rows[primary]}, epochs, config, length, batch_size)})


def published(n: Sequence[int] = GRID) -> pd.DataFrame:
    """Project the authors' setting: 8 GLUE tasks, BERT-base, padded to 128, a proxy of 500 rows x 5 epochs, then 3 + 5.

    Args:
        n: Auxiliary rows, one table row for each.

    Returns:
        Index (primary, n). In PFLOP: proxy, scoring, stage2, tune; alone (their sum); amortised (proxy and scoring
        shared by the three primaries); all_data (the fully trained MT-DNN and its tuning). As ratios of all_data to
        each: speedup (alone), speedup_amortised, and speedup_free, the ceiling that no cheaper way of selecting as many
        rows can pass (stage2 and tune only). For the random baseline, which spends nothing on selection, speedup_free
        is the speed-up.
    """
    out: dict[tuple[str, int], dict[str, float]] = {}
    for primary in PRIMARIES:
        full = all_data(GLUE_ROWS, primary, BERT_BASE, GLUE_LENGTH)["flops"].sum() / 1e15
        for count in n:
            stages = fastmtl(GLUE_ROWS, primary, count, BERT_BASE, GLUE_LENGTH)["flops"] / 1e15
            shared, own = stages[["proxy", "scoring"]].sum(), stages[["stage2", "tune"]].sum()
            amortised = shared / len(PRIMARIES) + own
            out[primary, count] = stages.to_dict() | {
                "alone": shared + own, "amortised": amortised, "all_data": full,
                "speedup": full / (shared + own), "speedup_amortised": full / amortised, "speedup_free": full / own,
            }  # fmt: skip
    return pd.DataFrame.from_dict(out, orient="index").rename_axis(["primary", "n"])


def against_slides(random_n: int = 10_000, fastmtl_n: int = 5_000) -> pd.DataFrame:
    """Compare our projection with the seconds of the authors' slides, for STS-B.

    The counts of rows are inferred. 10,000 is the slides' "1 %" for random, and trains at the rate of the full run. For
    FastMTL the slides say 0.05 % (about 500 rows), which does not fit 200 seconds; 0.5 % (about 5,000) nearly does.

    Args:
        random_n: Auxiliary rows of the random arm.
        fastmtl_n: Auxiliary rows of the FastMTL arm.

    Returns:
        Index (arm, stage). Columns pflop (projected), seconds (the authors', on their device), source (slide,
        difference of two numbers on it, or assumed equal to the other arms'), tflop_per_second (the rate that the two
        imply together, and so a projection as well).
    """
    projected = {
        "all_data": all_data(GLUE_ROWS, "stsb", BERT_BASE, GLUE_LENGTH),
        "random": random(GLUE_ROWS, "stsb", random_n, BERT_BASE, GLUE_LENGTH),
        "fastmtl": fastmtl(GLUE_ROWS, "stsb", fastmtl_n, BERT_BASE, GLUE_LENGTH),
    }
    source = {("all_data", "tune"): "difference", ("fastmtl", "tune"): "assumed"}
    out = {}
    for arm, stages in SLIDES.items():
        for stage, seconds in stages.items():
            flops = float(projected[arm].loc[stage, "flops"])
            out[arm, stage] = {
                "pflop": flops / 1e15, "seconds": float(seconds), "source": source.get((arm, stage), "slide"),
                "tflop_per_second": flops / seconds / 1e12,
            }  # fmt: skip
    return pd.DataFrame.from_dict(out, orient="index").rename_axis(["arm", "stage"])


def slide_totals() -> pd.DataFrame:
    """Add up the slides' own seconds, for STS-B: the authors' measurements, no projection.

    FastMTL's printed 670 is not the sum of its stages, 95 + 775 + 200 + 190 = 1,260; sharing the first two over three
    primaries gives 680.

    Returns:
        Index arm. Columns printed (the slide's total), summed (its stages), amortised (proxy and scoring shared by
        three primaries), and all_data's printed total over each of them.
    """
    out = {}
    for arm, stages in SLIDES.items():
        shared = stages.get("proxy", 0.0) + stages.get("scoring", 0.0)
        summed = sum(stages.values())
        out[arm] = {
            "printed": float(SLIDE_TOTALS[arm]), "summed": float(summed),
            "amortised": summed - shared + shared / len(PRIMARIES),
        }  # fmt: skip
    seconds = pd.DataFrame.from_dict(out, orient="index").rename_axis("arm")
    ratios = SLIDE_TOTALS["all_data"] / seconds
    return seconds.join(ratios.add_prefix("speedup_"))


# --- one stage -----------------------------------------------------------------------------------------------------


def check(rows: Mapping[str, int], primary: str, n: int, *counts: int) -> None:
    """Refuse counts that cannot be priced.

    Args:
        rows: Training rows per task.
        primary: The target task.
        n: Auxiliary rows to select.
        counts: Epochs and batch sizes.

    Raises:
        InputError: For a primary without rows, a task without any, a negative n, or a count below 1.
    """
    if primary not in rows:
        raise InputError(f"primary: task {primary!r} has no rows; there are {', '.join(rows)}")
    if bad := [t for t, k in rows.items() if k < 1]:
        raise InputError(f"rows: task {bad[0]!r} has {rows[bad[0]]}; every task needs one or more")
    if n < 0:
        raise InputError(f"n: {n} is negative")
    if min(counts) < 1:
        raise InputError(f"epochs and batch_size must be at least 1, not {min(counts)}")


def chosen_of(pool: Mapping[str, int], n: int, mix: Mapping[str, float] | None) -> dict[str, int]:
    """Split n whole rows over the pool's tasks, by `mix` or by size; fractions go to the largest remainders.

    Args:
        pool: Rows per auxiliary task.
        n: Rows to choose.
        mix: The tasks' shares, summing to 1; None for shares in proportion to the pool.

    Returns:
        Rows per task; tasks without any are left out.

    Raises:
        InputError: If the pool, or a task of it, holds too few rows, or `mix` is not a mix of its tasks.
    """
    if n > sum(pool.values()):
        raise InputError(f"n: {n} rows asked for, but the pool has {sum(pool.values())}")
    if n == 0:
        return {}
    if mix is None:
        total = sum(pool.values())
        mix = {t: k / total for t, k in pool.items()}
    if unknown := set(mix) - set(pool):
        raise InputError(f"mix: {', '.join(sorted(unknown))} is not an auxiliary task; there are {', '.join(pool)}")
    if min(mix.values(), default=0.0) < 0 or not math.isclose(sum(mix.values()), 1.0, abs_tol=1e-6):
        raise InputError(f"mix: shares must be positive and sum to 1, not {sum(mix.values()):g}")
    exact = np.array([mix.get(t, 0.0) * n for t in pool])
    # A share's product with n may fall a hair short of the whole number that it stands for.
    whole = np.floor(exact + 1e-9).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: n - whole.sum()]] += 1
    chosen = {t: int(k) for t, k in zip(pool, whole, strict=True) if k}
    if over := [t for t, k in chosen.items() if k > pool[t]]:
        raise InputError(f"mix: {chosen[over[0]]} rows of {over[0]!r} asked for, but the pool has {pool[over[0]]}")
    return chosen


def stage(
    counts: Mapping[str, int], epochs: int, config: Any, length: Length, batch_size: int | None
) -> dict[str, float]:
    """Project passes over some rows of each task.

    Args:
        counts: Rows per task.
        epochs: Passes over them.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.
        batch_size: Rows per batch of one task; None means forward passes only.

    Returns:
        Sequences, steps and flops.
    """
    steps = 0 if batch_size is None else epochs * sum(-(-k // batch_size) for k in counts.values())
    flops = [
        k * cost.encoder_flops(config, np.array([tokens(length, task)]), batch_size is not None)
        for task, k in counts.items()
    ]
    return {"sequences": epochs * sum(counts.values()), "steps": steps, "flops": epochs * sum(flops)}


def tokens(length: Length, task: str) -> float:
    """Return the tokens of one sequence of a task.

    Args:
        length: Tokens per sequence, of all tasks alike or by task.
        task: The task.

    Returns:
        Tokens per sequence.

    Raises:
        InputError: If the task has no length, or one that is not positive and finite.
    """
    if isinstance(length, Mapping) and task not in length:
        raise InputError(f"length: no length for task {task!r}")
    count = length[task] if isinstance(length, Mapping) else length
    if not 0 < count < math.inf:
        raise InputError(f"length: {count} tokens for task {task!r}; it must be positive")
    return count


def _nothing() -> dict[str, float]:
    return {"sequences": 0, "steps": 0, "flops": 0.0}


def _add(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {name: a[name] + b[name] for name in a}


def table(stages: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Lay stages out as a data frame.

    Args:
        stages: Sequences, steps and flops by stage.

    Returns:
        Index stage; columns sequences and steps (int64), flops (float64).
    """
    frame = pd.DataFrame.from_dict(stages, orient="index").rename_axis("stage")
    return frame.astype({"sequences": np.int64, "steps": np.int64, "flops": float})
