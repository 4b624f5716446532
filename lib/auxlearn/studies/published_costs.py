"""What FastMTL costs in its authors' setting: a forecast, held against the seconds on their slides.

Sources: the authors' code and slides of "Efficient Multi-Task Auxiliary Learning: Selecting Auxiliary Data by Feature
Similarity" (Kung et al., EMNLP 2021; github.com/MiuLab/FastMTL). FLOPs are not seconds: a pass without gradients runs
closer to a device's peak than training in small batches does (`against_slides`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.methods import forecasting
from auxlearn.methods.base import Need
from auxlearn.methods.fastmtl.options import TDProxy
from auxlearn.studies import sizing
from auxlearn.studies.arms import MTL
from auxlearn.studies.study_file import Shape

BERT_BASE = Shape(hidden_size=768, num_hidden_layers=12, intermediate_size=3072)
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
ARMS = {"fastmtl": "td_bce"}  # the library's name of a slide's arm, where it is another


@functools.cache
def _sizes() -> forecasting.Sizes:
    return sizing.given_sizes(GLUE_ROWS, GLUE_LENGTH, BERT_BASE, "GLUE, padded to 128")


def stages(arm: str, primary: str, n: int) -> pd.Series:
    """Forecast one arm in the authors' setting: a proxy of 500 rows x 5 epochs, stage 2 of 3 epochs, 5 of tuning.

    They score all rows but those that trained the proxy; this library scores these too.

    Args:
        arm: The arm.
        primary: The primary.
        n: Auxiliary rows.

    Returns:
        PFLOP, index stage.
    """
    own: dict[str, Any] = {"keep_leaks": True, "suite": "glue", "encoder": "bert", "size": "full", "batch_size": 32}
    p = MTL(primary=primary, arm=arm, n=n, stage2_epochs=3, tune_epochs=5, choose="last", seeds=[0], **own)
    proxy = TDProxy(primary=primary, proxies="one", proxy_rows=500, epochs=5, seeds=[0], **own)
    upstream = [proxy.model_copy(update={"watch_rows": 0})]  # the authors watch none
    context = forecasting.SizedContext(_sizes(), p, 0, upstream)
    flops = {charge.stage: charge.expected for charge in forecasting.arm(context)}
    if "scoring" in flops:
        (plan,) = context.obtain(Need("proxy")).plans
        every = {name: np.arange(count) for name, count in GLUE_ROWS.items()}
        rest = {name: np.setdiff1d(rows, plan.phases[0].rows[name], True) for name, rows in every.items()}
        flops["scoring"] = context.passed(plan, rest, "scoring").expected
    return pd.Series(flops) / 1e15


def published(n: Sequence[int] = GRID) -> pd.DataFrame:
    """Forecast FastMTL for the paper's three primaries.

    Args:
        n: Auxiliary rows, one table row for each.

    Returns:
        Index (primary, n). In PFLOP: proxy, scoring, stage2, tune; alone (their sum); amortised (proxy and scoring
        shared by the three primaries); all_data (the fully trained MT-DNN and its tuning). As ratios of all_data to
        each: speedup (alone), speedup_amortised, and speedup_free, the ceiling that no cheaper way of selecting as many
        rows can pass (stage2 and tune only). For the random baseline, which spends nothing on selection, speedup_free
        is the speed-up.
    """
    rows: dict[tuple[str, int], dict[str, float]] = {}
    for primary in PRIMARIES:
        full = stages("all_data", primary, 1).sum()
        for count in n:
            each = stages("td_bce", primary, count)
            shared, own = each[["proxy", "scoring"]].sum(), each[["stage2", "tune"]].sum()
            amortised = shared / len(PRIMARIES) + own
            rows[primary, count] = each.to_dict() | {
                "alone": shared + own, "amortised": amortised, "all_data": full,
                "speedup": full / (shared + own), "speedup_amortised": full / amortised, "speedup_free": full / own,
            }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["primary", "n"])


def against_slides(random_n: int = 10_000, fastmtl_n: int = 5_000) -> pd.DataFrame:
    """Compare the forecast with the seconds of the authors' slides, for STS-B.

    The counts of rows are inferred. 10,000 is the slides' "1 %" for random, and trains at the rate of the full run. For
    FastMTL the slides say 0.05 % (about 500 rows), which does not fit 200 seconds; 0.5 % (about 5,000) nearly does.

    Args:
        random_n: Auxiliary rows of the random arm.
        fastmtl_n: Auxiliary rows of the FastMTL arm.

    Returns:
        Index (arm, stage). Columns pflop (forecast), seconds (the authors', on their device), source (slide,
        difference of two numbers on it, or assumed equal to the other arms'), tflop_per_second (the rate that the two
        imply together, and so a projection as well).
    """
    counts = {"all_data": 1, "random": random_n, "fastmtl": fastmtl_n}
    source = {("all_data", "tune"): "difference", ("fastmtl", "tune"): "assumed"}
    rows = {}
    for arm, seconds_of in SLIDES.items():
        forecast = stages(ARMS.get(arm, arm), "stsb", counts[arm])
        for stage, seconds in seconds_of.items():
            pflop = float(forecast[stage])
            rows[arm, stage] = {
                "pflop": pflop, "seconds": float(seconds), "source": source.get((arm, stage), "slide"),
                "tflop_per_second": pflop * 1e3 / seconds,
            }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["arm", "stage"])


def slide_totals() -> pd.DataFrame:
    """Add up the slides' own seconds, for STS-B: the authors' measurements, no projection.

    FastMTL's printed 670 is not the sum of its stages, 95 + 775 + 200 + 190 = 1,260; sharing the first two over three
    primaries gives 680.

    Returns:
        Index arm. Columns printed (the slide's total), summed (its stages), amortised (proxy and scoring shared by
        three primaries), and all_data's printed total over each of them.
    """
    rows = {}
    for arm, seconds_of in SLIDES.items():
        shared = seconds_of.get("proxy", 0.0) + seconds_of.get("scoring", 0.0)
        summed = sum(seconds_of.values())
        rows[arm] = {
            "printed": float(SLIDE_TOTALS[arm]), "summed": float(summed),
            "amortised": summed - shared + shared / len(PRIMARIES),
        }  # fmt: skip
    seconds = pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")
    return seconds.join((SLIDE_TOTALS["all_data"] / seconds).add_prefix("speedup_"))
