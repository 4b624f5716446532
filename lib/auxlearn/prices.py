"""What a study would cost, projected from FLOPs before anything is run (see `pricing` for the arithmetic)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from . import cost, params, pricing, runs, seeds, studies, study_file, tasks
from .errors import InputError

SAMPLED = 2000  # rows a task whose tokens are counted for a price; the mean of so many is within 2 % or so


@dataclass
class Price:
    """What a study would cost: projected from FLOPs (see `pricing`), nothing run and no second in it."""

    # One seed of one 06 cell a row, index (primary, arm, n); n is 0 where the arm has none. In FLOP: proxy, scoring,
    # stage2, tune; alone (their sum); amortised (proxy and scoring shared by the study's primaries); all_data (training
    # with every row of every task, then tuning). As ratios of all_data to each: speedup (alone), speedup_amortised, and
    # ceiling (stage2 and tune only), which no cheaper way of selecting as many rows can pass.
    table: pd.DataFrame
    # FLOP of the whole grid, all its seeds, what cells share counted once: proxy, scoring, map (02's second proxy and
    # pass, for its picture), stage2, tune.
    total: pd.Series
    separately: float  # FLOP if every seed of every 06 cell ran all of its stages for itself
    primaries: list[str]
    source: str  # where rows and tokens are from

    def shown(self) -> str:
        """The price as text; arms that cost the same share a line."""
        unit, word = (1e15, "PFLOP") if self.table["alone"].max() >= 1e15 else (1e12, "TFLOP")
        table = self.table.reset_index()
        ratios = ["speedup", "speedup_amortised", "ceiling"]
        values = [c for c in table if c not in ("primary", "arm", "n", *ratios)]
        table[values] /= unit
        rest = [c for c in table if c != "arm"]
        table = table.groupby(rest, sort=False)["arm"].agg(", ".join).reset_index()[["primary", "arm", *rest[1:]]]
        total = ", ".join(f"{name} {_digits(value / unit)}" for name, value in self.total.items() if value)
        return "\n".join([
            f"PROJECTION in {word}, one seed a line; nothing was run. {self.source}.",
            "Left out: embeddings, pooler, heads, optimiser, evaluation, padding within batches, removed leaks.",
            f"alone: all that the arm needs; amortised: proxy and scoring shared by {len(self.primaries)} primaries; "
            "all_data: training",
            "with everything, which speedup (alone), speedup_amortised and ceiling (free selection) divide.", "",
            table.to_string(index=False, float_format=_digits), "",
            f"whole grid, all seeds, shared work once: {_digits(self.total.sum() / unit)} {word} ({total})",
            f"every seed of every arm on its own: {_digits(self.separately / unit)} {word}",
        ])  # fmt: skip


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class _Sizes:
    rows: dict[str, int]
    tokens: pricing.Length
    encoder: Any
    source: str


def price(path: Path) -> Price:
    """A study's price, with nothing run: by the file's `expects`, else by the suite's rows and the encoder's tokens.

    Leaves out what `pricing` leaves out (embeddings, pooler, heads, optimiser, all evaluation), padding within batches
    and what the leak filter removes. Auxiliary rows are taken to be mixed as the pool is.
    """
    file = study_file.read(path)
    cells = studies.expanded(path, studies.Unread(file))
    try:
        return _priced(file, [cell for cell in cells if cell.stage in ("02_td_proxy", "06_mtl")])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _priced(file: study_file.StudyFile, cells: list[studies.Cell]) -> Price:
    arms = [cell for cell in cells if cell.stage == "06_mtl"]
    if not arms:
        raise InputError("stages: no 06_mtl among them, so there is nothing to price")
    sizes = _sizes(file, cells)
    primaries = list(dict.fromkeys(cell.params.primary for cell in arms))
    rows, total, separately = [], dict.fromkeys(("proxy", "scoring", "map", "stage2", "tune"), 0.0), 0.0
    maps = set()
    for cell in cells:
        p, size = cell.params, sizes[cell.key]
        if cell.stage == "02_td_proxy":
            made = _proxy(p, size)
            total["proxy"] += made["proxy"]
            total["scoring"] += made["scoring"]
            if p.seed in p.map_seeds:  # a proxy without discriminator is the same for both losses
                maps.add((made["map"], runs.digest({k: v for k, v in p.key_params().items() if k != "discriminator"})))
            continue
        stages, full = _arm(cell, size)
        shared, own = stages["proxy"] + stages["scoring"], stages["stage2"] + stages["tune"]
        amortised, alone = shared / len(primaries) + own, shared + own
        n = 0 if p.arm in ("single", "all_data") else p.n
        rows.append({
            "primary": p.primary, "arm": p.arm, "n": n, **stages, "alone": alone, "amortised": amortised,
            "all_data": full, "speedup": full / alone, "speedup_amortised": full / amortised, "ceiling": full / own,
        })  # fmt: skip
        # The authors' fixed seeds leave nothing that differs where no row is drawn: one training serves all seeds.
        same = p.seed_policy == "fixed" and p.choose != "holdout" and p.arm in studies.NO_POOL
        for stage in ("stage2", "tune"):
            total[stage] += stages[stage] * (1 if same else len(p.seeds))
        separately += alone * len(p.seeds)
    total["map"] = sum(flops for flops, _ in maps)
    table = pd.DataFrame(rows).set_index(["primary", "arm", "n"])
    return Price(table, pd.Series(total), separately, primaries, next(iter(sizes.values())).source)


def _proxy(p: params.TDProxy, size: _Sizes) -> dict[str, float]:
    """FLOP of a 02 cell by stage: its one or two proxies, the pass over the pool, and what its map needs besides."""
    counts, first = size.rows, next(iter(size.rows))
    common = {"proxy_rows": p.proxy_rows, "proxy_epochs": p.epochs, "batch_size": p.batch_size}
    fastmtl = lambda **more: pricing.fastmtl(counts, first, 0, size.encoder, size.tokens, **common, **more)["flops"]  # noqa: E731
    made, bare = fastmtl(watch=p.watch_rows, crossfit=p.proxies == "crossfit"), fastmtl()
    shown = {name: min(count, p.map_rows) for name, count in counts.items()}
    lengths = size.tokens if isinstance(size.tokens, Mapping) else dict.fromkeys(counts, size.tokens)
    drawn = sum(k * cost.encoder_flops(size.encoder, [lengths[name]], False) for name, k in shown.items())
    return {"proxy": made["proxy"], "scoring": made["scoring"], "map": bare["proxy"] + drawn}


def _arm(cell: studies.Cell, size: _Sizes) -> tuple[dict[str, float], float]:
    """FLOP of one seed of a 06 cell by stage, as if it ran alone; and of training with all data in its place."""
    p, stages = cell.params, dict.fromkeys(("proxy", "scoring", "stage2", "tune"), 0.0)
    if p.gradts:  # its rows, and how far a trial goes, are known only once it has run
        raise InputError(f"arm {p.arm!r} cannot be priced yet; leave it out of the grid to price the others")
    kept = size.rows[p.primary]
    kept -= round(p.holdout * kept) if p.choose == "holdout" else 0
    chosen_from = p.auxiliaries or [name for name in size.rows if name != p.primary]
    rows = {p.primary: kept} | {name: size.rows[name] for name in chosen_from}
    given = (size.encoder, size.tokens)
    epochs = {"stage2_epochs": p.stage2_epochs, "tune_epochs": p.tune_epochs, "batch_size": p.batch_size}
    full = pricing.all_data(rows, p.primary, *given, **epochs)["flops"]
    if p.arm == "single":
        made = pricing.single(rows, p.primary, *given, epochs=p.single_epochs, batch_size=p.batch_size)["flops"]
    elif p.arm == "all_data":
        made = full
    elif p.arm == "step_matched":
        # Stage 2's steps, all of them on the primary: whole epochs, and a rest of full batches.
        steps, whole = p.stage2_epochs * -(-(kept + p.n) // p.batch_size), -(-kept // p.batch_size)
        seen = steps // whole * kept + min(kept, steps % whole * p.batch_size)
        made = full.copy()
        made["stage2"] = made["tune"] / (p.tune_epochs * kept) * seen
    else:
        made = pricing.random(rows, p.primary, p.n, *given, **epochs)["flops"]
        if cell.reads:  # a selection, or a control that is drawn in the proportions of one
            stages |= {k: v for k, v in _proxy(cell.reads[0].reads[0].params, size).items() if k in stages}
    return stages | made.to_dict(), float(full.sum())


def _sizes(file: study_file.StudyFile, cells: list[studies.Cell]) -> dict[str, _Sizes]:
    """Rows, tokens and encoder of each cell, by its key."""
    known: dict[tuple[Any, ...], _Sizes] = {}
    out = {}
    for cell in cells:
        p = cell.params
        at = (p.suite, p.rows, p.encoder, p.max_length)
        if at not in known:
            e = file.expects
            source = "rows, tokens and encoder as the file's `expects` has them"
            known[at] = _Sizes(e.capped(p.rows), e.tokens, e.encoder, source) if e else _measured(p)
        out[cell.key] = known[at]
    return out


def _measured(p: params.Common) -> _Sizes:
    """From the suite's own rows and the encoder's own tokenizer."""
    from . import batching, model

    try:
        suite = tasks.load(p.suite, p.rows)
        if p.encoder in ("tiny", "minilm"):
            net = model.build(p.encoder, suite)
            config, tokenizer = net.encoder.config, net.tokenizer
        else:  # a price needs no weights
            config, tokenizer = _configured(p.encoder)
    except InputError as error:
        raise InputError(
            f"{error}. To price a study without its data or encoder, say under `expects` what they hold"
        ) from None
    limit = min(p.max_length, getattr(config, "max_position_embeddings", None) or p.max_length)
    rows, tokens = {}, {}
    for name, task in suite.items():
        rows[name] = len(task.train)
        some = seeds.rng(0, "price", name).permutation(len(task.train))[:SAMPLED]
        tokens[name] = float(batching.encode(task.train.select(some.tolist()), task, tokenizer, limit).lengths.mean())
    shown = ", ".join(f"{name} {tokens[name]:.0f}" for name in tokens)
    return _Sizes(rows, tokens, config, f"rows of {p.suite}; mean tokens by {p.encoder}, measured: {shown}")


def _configured(encoder: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(encoder, trust_remote_code=False)
        return config, AutoTokenizer.from_pretrained(encoder, config=config)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"encoder {encoder!r} cannot be read: {str(error).splitlines()[0]}") from None
