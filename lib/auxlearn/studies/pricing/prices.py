"""What a study would cost, projected from FLOPs before anything is run (arithmetic: `price_fastmtl`, `price_gradts` and
`price_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from auxlearn import cost
from auxlearn.errors import InputError
from auxlearn.methods.tawt.options import WEIGHINGS, Weighed
from auxlearn.records import runs
from auxlearn.studies import graph, parameters, study_file
from auxlearn.studies.arms import depends_on_n
from auxlearn.studies.pricing import price_fastmtl, price_gradts, price_weights
from auxlearn.studies.pricing.price_sizes import Sizer, Sizes
from auxlearn.studies.pricing.price_table import SEARCHED, SHARED, TRAINED, Price

PRICED = ("02_td_proxy", "04_gradts_correlation", "05_tawt_weighting", "06_mtl")
DERIVED = ("alone", "amortised", "all_data", "speedup", "speedup_amortised", "ceiling")
# What cells that share a unit may differ in: the parameters that it does not depend on.
LIKE = {
    "map": ("discriminator",),
    "task_tuning": ("seeds", "definition", "also", "dropout", "importance_rows"),
    "importance": ("seeds", "definition", "also"),
    "trial": ("seeds", "arm", "choose", "fg_tasks", "fg_fraction"),
    "bandit": (
        "seeds", "arm", "choose", "n", "stage2_epochs", "tune_epochs", "mixing", "seed_policy", "keep_model",
        "bandit_most", "ratio_trials", "ratio_highest",
    ),
}  # fmt: skip


def price(path: Path) -> Price:
    """Price a study, without running anything.

    Rows, tokens and encoder are those of the file's `expects`, else the suite's rows and the encoder's own tokens. The
    price leaves out what `price_fastmtl` leaves out (embeddings, pooler, heads, optimiser, and evaluation except that
    by which a search decides), padding within batches, what the leak filter removes and the cheap scorers that 03
    compares. Auxiliary rows are taken to be mixed as the pool is. What a search runs is known only once it has run, so
    its price is an upper bound, at that mix.

    Args:
        path: The study file.

    Returns:
        The price.

    Raises:
        InputError: If the file cannot be priced; the message names it.
    """
    file = study_file.read(path)
    cells = [cell for cell in graph.expanded(path, graph.Unread(file)) if cell.stage in PRICED]
    try:
        if not cells:
            raise InputError(f"stages: none of {', '.join(PRICED)} among them, so there is nothing to price")
        count = _Count(file, cells)
        for cell in cells:
            count.add(cell)
        return count.price()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def by_cell(path: Path, cells: list[graph.Cell]) -> list[float]:
    """Price each cell of a study by what it adds to those before it.

    Of cells that share a unit the first is charged for it. 01, 03 and 07 add none. A cell that brings a cheaper way to
    what another has already been charged for adds less than none.

    Args:
        path: The study file.
        cells: The study's cells, upstream first.

    Returns:
        FLOP per cell, in their order; the sum is that of `Price.total`.
    """
    count, added, spent = _Count(study_file.read(path), cells), [], 0.0
    for cell in cells:
        if cell.stage in PRICED:
            count.add(cell)
        whole = float(count.total().sum())
        added.append(whole - spent)
        spent = whole
    return added


class _Count:
    """FLOP of a study's cells, added one by one; what several of them make alike is counted once."""

    def __init__(self, file: study_file.StudyFile, cells: list[graph.Cell]):
        self.sizes, self.separately = Sizer(file), 0.0
        self.rows: list[dict[str, Any]] = []
        self.primaries = list(dict.fromkeys(cell.params.primary for cell in cells if cell.stage == "06_mtl"))
        self.each = dict.fromkeys(("proxy", "scoring", "map", "heads", *SEARCHED, "compared", *TRAINED), 0.0)
        self.once: dict[tuple[Any, ...], float] = {}  # what several cells make alike, by stage and what makes it so
        self.source = ""

    def add(self, cell: graph.Cell) -> None:
        size = self.sizes.of(cell.params)
        self.source = self.source or size.source
        if cell.stage == "02_td_proxy":
            self._add_proxy(cast(parameters.TDProxy, cell.params), size)
        elif cell.stage == "04_gradts_correlation":
            p = cast(parameters.GradTS, cell.params)
            for encoder in (p.encoder, *p.also):
                self._add_heads(p.model_copy(update={"encoder": encoder}))
        elif cell.stage == "05_tawt_weighting":
            self._add_weighting(cast(parameters.TAWT, cell.params), size)
        else:
            self._add_training(cell, size)

    def total(self) -> pd.Series:
        sums = dict(self.each)
        for (stage, *_), flops in self.once.items():
            sums[stage] += flops
        return pd.Series(sums)

    def price(self) -> Price:
        names = ["primary", "arm", "n", *SHARED, *SEARCHED, *TRAINED, *DERIVED]
        table = pd.DataFrame(self.rows, columns=names).set_index(["primary", "arm", "n"])
        return Price(table, self.total(), self.separately, self.primaries, self.source)

    def _add_proxy(self, p: parameters.TDProxy, size: Sizes) -> None:
        flops = _proxy(p, size)
        self.each["proxy"] += flops["proxy"]
        self.each["scoring"] += flops["scoring"]
        if p.seed in p.map_seeds:  # a proxy without discriminator is the same for both losses
            self.once["map", _key(p, LIKE["map"]), flops["map"]] = flops["map"]

    def _add_heads(self, p: parameters.GradTS) -> None:
        size = self.sizes.of(p)
        flops = price_gradts.heads_of(p, size.rows, size.encoder, size.tokens)
        for unit in flops.index:  # a tuning and a pass are units of their own
            self.once |= {("heads", unit, _key(p, LIKE[unit]), seed): flops[unit] for seed in p.seeds}

    def _add_weighting(self, p: parameters.TAWT, size: Sizes) -> None:
        given = (size.rows[p.primary], _pool(p, size), size.encoder, size.tokens)
        key = _training(p, f"tawt_{p.paradigm}")
        stages = price_weights.stages_of_05(p, *given)
        self.once |= {(stage, key, seed): flops for stage, flops in stages.items() for seed in p.seeds}
        if p.compare_probes:
            self.once["compared", key, p.seeds[0]] = price_weights.compared(p, *given)

    def _add_training(self, cell: graph.Cell, size: Sizes) -> None:
        p = cast(parameters.MTL, cell.params)
        stages, full = _arm(cell, size)
        shared, own = (sum(stages[name] for name in names) for names in (SHARED, TRAINED))
        searched = sum(stages[name] for name in SEARCHED)
        amortised, alone = shared / len(self.primaries) + searched + own, shared + searched + own
        n = p.n if depends_on_n(p.arm) else 0
        self.rows.append({
            "primary": p.primary, "arm": p.arm, "n": n, **stages, "alone": alone, "amortised": amortised,
            "all_data": full, "speedup": full / alone, "speedup_amortised": full / amortised, "ceiling": full / own,
        })  # fmt: skip
        # The authors' fixed seeds leave nothing that differs where no row is drawn: one training serves all seeds.
        same = p.seed_policy == "fixed" and p.choose != "holdout" and not p.needs_pool and p.weighing is None
        weighing = p.weighing
        evidence = WEIGHINGS[weighing][1] if weighing else ""
        if weighing and evidence == "measured" and p.rows_arm == "all_data":  # 05 may have the same training
            key = _training(p, weighing)
            self.once |= {(stage, key, seed): stages[stage] for stage in price_weights.STAGES for seed in p.seeds}
        else:
            for stage in TRAINED:
                self.each[stage] += stages[stage] * (1 if same else len(p.seeds))
            # Final weights' own training is a cell of 05.
            self.each["weighting"] += stages["weighting"] * len(p.seeds) if evidence != "final" else 0.0
        for stage in (s for s in LIKE if s in SEARCHED and stages[s]):
            key = _key(p.of_rows(), LIKE[stage])
            for seed in p.seeds:  # the least, as of cells alike one may have a training of the search as its own
                known = self.once.get((stage, key, seed), stages[stage])
                self.once[stage, key, seed] = min(known, stages[stage])
        self.separately += alone * len(p.seeds)


def _key(p: parameters.Common, without: tuple[str, ...]) -> str:
    """Digest what cells that share a unit have in common: all parameters but those that the unit does not depend on."""
    return runs.digest([p.suite, {name: value for name, value in p.key_params().items() if name not in without}])


def _training(p: Weighed, weighing: str) -> str:
    """Digest what a weighted training of all rows depends on, for 05 and 06 alike."""
    unused = {"study", "inputs", "suite", "mixing", "size", "seeds"}
    unused |= {"stage2_epochs", "tune_epochs"} if p.steps else set()
    unused |= set() if WEIGHINGS[weighing][0] == "pretrain" else {"tune_steps"}
    if p.tawt_rule == "paper":  # overrides them
        unused |= {n for n in Weighed.model_fields if n.startswith(("weight_", "probe_"))} - {"weight_c"} | {"combine"}
    kept = {name: getattr(p, name) for name in Weighed.model_fields if name not in unused}
    prior = f"prior_{WEIGHINGS[weighing][0]}"  # where the weights start, if a parameter says so
    kept |= {prior: getattr(p, prior)} if hasattr(p, prior) else {}
    kept |= {"auxiliaries": sorted(p.auxiliaries), "keep_model": getattr(p, "keep_model", False)}
    return runs.digest([p.suite, weighing, kept])


def _pool(p: parameters.Common, size: Sizes) -> dict[str, int]:
    """Rows of each auxiliary of a cell."""
    return {name: size.rows[name] for name in p.auxiliaries or size.rows if name != p.primary}


def _proxy(p: parameters.TDProxy, size: Sizes) -> dict[str, float]:
    """FLOP of a 02 cell by stage: its one or two proxies, the pass over the pool, and what its map needs besides."""
    counts, first = size.rows, next(iter(size.rows))
    common: dict[str, Any] = {"proxy_rows": p.proxy_rows, "proxy_epochs": p.epochs, "batch_size": p.batch_size}

    def fastmtl(**more: Any) -> Mapping[str, float]:
        return price_fastmtl.fastmtl(counts, first, 0, size.encoder, size.tokens, **common, **more)["flops"]

    flops, bare = fastmtl(watch=p.watch_rows, crossfit=p.proxies == "crossfit"), fastmtl()
    shown = {name: min(count, p.map_rows) for name, count in counts.items()}
    lengths = size.tokens if isinstance(size.tokens, Mapping) else dict.fromkeys(counts, size.tokens)
    drawn = sum(k * cost.encoder_flops(size.encoder, np.array([lengths[name]]), False) for name, k in shown.items())
    return {"proxy": flops["proxy"], "scoring": flops["scoring"], "map": bare["proxy"] + drawn}


def _arm(cell: graph.Cell, size: Sizes) -> tuple[dict[str, float], float]:
    """FLOP of one seed of a 06 cell by stage, as if it ran alone; and of training with all data in its place."""
    p, stages = cast(parameters.MTL, cell.params), dict.fromkeys((*SHARED, *SEARCHED, *TRAINED), 0.0)
    read = {upstream.stage: upstream for upstream in cell.reads}
    kept = size.rows[p.primary]
    kept -= round(p.holdout * kept) if p.choose == "holdout" else 0
    pool, given = _pool(p, size), (size.encoder, size.tokens)
    rows = {p.primary: kept} | pool
    epochs = {"stage2_epochs": p.stage2_epochs, "tune_epochs": p.tune_epochs, "batch_size": p.batch_size}
    full: float  # FLOP of training with all data
    if p.steps:
        full = sum(price_weights.by_steps(p.model_copy(update={"arm": "all_data"}), kept, pool, *given).values())
    else:
        full = float(price_fastmtl.all_data(rows, p.primary, *given, **epochs)["flops"].sum())

    # What the arm runs to choose its rows, and where GradTS or AUTOSEM does, how it trains them.
    heads = read.get("04_gradts_correlation")
    chosen: dict[str, float] = {}
    made = cast(parameters.GradTS, heads.params) if heads else None
    added = price_weights.added(p, made, pool)
    if p.gradts or p.autosem:
        if p.steps and (p.searches and p.rows_arm != "autosem_p1"):
            raise InputError(f"arm {p.arm!r}: trials that train by `steps` cannot be priced; price it by epochs")
        if heads and heads.reads:  # importance is read at the proxy
            stages["proxy"] = float(_proxy(cast(parameters.TDProxy, heads.reads[0].params), size)["proxy"])
        # Under weights the last training is none of the search's, which have none; nothing is to be counted once.
        update = {"choose": "last"} if p.weighing and added else {}
        chosen = price_gradts.arm(p.of_rows().model_copy(update=update), made, size.rows, *given)
        stages |= {name: flops for name, flops in chosen.items() if name in (*SHARED, *SEARCHED)}
    elif "03_ranking" in read:  # a selection, or a control that is drawn in the proportions of one
        proxy = _proxy(cast(parameters.TDProxy, read["03_ranking"].reads[0].params), size)
        stages |= {name: flops for name, flops in proxy.items() if name in stages}
    if "05_tawt_weighting" in read:  # weights that another training ended with cost that training
        q = cast(parameters.TAWT, read["05_tawt_weighting"].params)
        stages["weighting"] = sum(
            price_weights.stages_of_05(q, size.rows[p.primary], _pool(q, size), *given).values()
        )  # fmt: skip

    if p.weighing and added:
        trained = price_weights.weighted(p, p.weighing, size.rows[p.primary], added, *given)
        trained["weighting"] += stages["weighting"]
        return stages | trained, full
    p = p.of_rows()  # rows that a selection has not found cannot be weighed
    if p.steps:
        return stages | price_weights.by_steps(p, kept, added, *given), full
    if p.gradts or p.autosem:
        trained = {name: flops for name, flops in chosen.items() if name in TRAINED}
    elif p.arm == "single":
        trained = price_fastmtl.single(rows, p.primary, *given, epochs=p.single_epochs, batch_size=p.batch_size)[
            "flops"
        ]
    elif p.arm == "all_data":
        trained = price_fastmtl.all_data(rows, p.primary, *given, **epochs)["flops"]
    elif p.arm == "step_matched":
        trained = price_gradts.step_matched(rows, p.primary, p.n, *given, **epochs)["flops"]
    else:
        trained = price_fastmtl.random(rows, p.primary, p.n, *given, **epochs)["flops"]
    return stages | dict(trained), full
