"""An arm trained for all of its seeds, as notebook 06 records it, kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from auxlearn.api import cells
from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite
from auxlearn.methods import context
from auxlearn.methods.context import Context
from auxlearn.methods.tawt import weight_tables
from auxlearn.records import runs
from auxlearn.records.manifests import Manifest
from auxlearn.reporting import results
from auxlearn.studies.expansion import Cell
from auxlearn.training import training_cache

STAGE = "arm"


def trained(cell: Cell, suite: Suite, progress: Callable[[int], Callable[[str], None] | None]) -> Manifest:
    """Train an arm for each of its seeds, or read back what is there of it.

    Args:
        cell: A cell of 06.
        suite: Its suite, capped.
        progress: Makes of a seed what is called with a line of text when something has been done.

    Returns:
        A manifest with the parameters, metrics and predictions of a run of 06.

    Raises:
        InputError: As from what chooses and trains.
    """
    p: Any = cell.params
    keyed = p.key_params()
    run = runs.Run(
        STAGE, runs.key(STAGE, keyed, suite.fingerprint, p.inputs), p.model_dump(), suite.fingerprint,
        key_params=keyed, code_roots=("api.trained_arms", *p.code_roots()),
    )  # fmt: skip
    return run.once(lambda: _train(run, cell, suite, progress))


def _train(
    run: runs.Run, cell: Cell, suite: Suite, progress: Callable[[int], Callable[[str], None] | None]
) -> Manifest:
    p: Any = cell.params
    found, predictions = dict[str, Any](), list[tuple[Any, Any]]()
    spent, units = list[Ledger](), list[Manifest]()
    first = Context(suite, p, p.seeds[0], cells.upstream(cell))
    for seed in p.seeds:
        asked = first.at(seed)
        asked.progress = progress(seed)
        selection, plan = context.select(asked)
        training = training_cache.trained(plan, suite, asked.progress)
        ledgers = [*asked.searched(training.manifest.key), *training.ledgers]
        looks = results.looks(training, plan)
        kept = looks[looks["kept"]].iloc[0]
        found[str(seed)] = {
            "dev": training.scores, "step": int(kept["step"]),
            "loss" if p.choose == "last" else "holdout": float(kept["value"]),
            "added": 0 if selection.rows is None else len(selection.rows),
            "ledger": [ledger.as_dict() for ledger in ledgers],
            "needed": [ledger.as_dict() for ledger in asked.needed()], **selection.as_dict(),
            "target_share": weight_tables.target_share(plan, training),
        }  # fmt: skip
        spent += ledgers
        units += [*asked.units(), training.manifest]
        predictions.append((training.predictions, training.references))
    np.savez(run.path("predictions.npz"), **_arrays(predictions, suite[p.primary].kind == "tagging"))
    run.inputs = list({each.label: each for each in units}.values())
    return run.finish(["predictions.npz"], {"seeds": found, "metric": suite[p.primary].metric}, spent)


def _arrays(predictions: list[tuple[Any, Any]], tagging: bool) -> dict[str, Any]:
    """Put predictions of all seeds in the form of 06: predictions [seeds, values], references, and lengths of tags."""
    flat = np.concatenate if tagging else np.asarray
    gold = predictions[0][1]
    arrays: dict[str, Any] = {
        "predictions": np.stack([flat(each) for each, _ in predictions]),
        "references": flat(gold),
    }
    if tagging:
        arrays["lengths"] = np.array([len(tags) for tags in gold])
    return arrays
