"""Finished runs leave the project: their selections, predictions, models and GLUE submissions, by key.

`selections`, `models` and `glue_submission` write what they are handed; here a run is looked up, and what it trained is
found again. A key may be shortened as long as it names one run, and be written as runs print it (06_mtl/1a2b…).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data import parquet, suites
from auxlearn.data.suites import Suite, Task
from auxlearn.data.tokens import token_store
from auxlearn.errors import InputError
from auxlearn.export import glue_submission, models, selections
from auxlearn.methods import context
from auxlearn.records import run_search, runs
from auxlearn.signals import pass_store
from auxlearn.studies import parameters as params
from auxlearn.training import prediction, training_cache
from auxlearn.training.phases import Plan

AGAIN = "make it again by running its study or its notebook's papermill line"
# Files of a GLUE submission by the task names of this project's suites. The suites hold matched MNLI alone, so that
# MNLI-mm and AX stay constant.
GLUE = {
    "cola": "CoLA", "sst2": "SST-2", "mrpc": "MRPC", "qqp": "QQP", "stsb": "STS-B", "mnli": "MNLI-m", "qnli": "QNLI",
    "rte": "RTE", "wnli": "WNLI",
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """One seed of a 06 run: its parameters, the plan that they stand for, and the training that ran it."""

    run: runs.Manifest
    params: params.MTL
    suite: Suite
    seed: int
    chosen: pd.DataFrame | None  # the auxiliary rows
    plan: Plan
    training: runs.Manifest

    def task(self, name: str | None) -> Task:
        """Return a task whose head this training trained.

        Args:
            name: The task; None for the primary.

        Raises:
            InputError: If the training saw none of the task's rows, so that its head is as it was drawn.
        """
        task = self.suite[name or self.params.primary]
        if not any(len(phase.rows.get(task.name, ())) for phase in self.plan.phases):
            raise InputError(
                f"task {task.name!r}: {self.run.label} (arm {self.params.arm}) trained on none of its rows, so that "
                "its head is as it was drawn"
            )
        return task

    def model(self) -> Any:
        """Load the tuned model, on the device it was trained on where that is here, else on the CPU.

        Raises:
            InputError: If the run did not keep its model.
        """
        if not self.plan.keep_model:
            raise InputError(
                f"{self.run.label} did not keep its model; run it again with `keep_model: true` under 06_mtl "
                "(a study file's `notebooks:`), which trains anew"
            )
        import torch

        plan = self.plan if torch.cuda.is_available() else replace(self.plan, device="cpu")
        return pass_store.load_model(self.training, plan, self.suite)


# --- looking up ----------------------------------------------------------------------------------------------------


def find(key: str, stages: Sequence[str]) -> runs.Manifest:
    """Find the finished run whose key begins with the given digits.

    Args:
        key: STAGE/KEY, or KEY alone, or the first few digits of it.
        stages: The stages to look in.

    Raises:
        InputError: If no run or several have such a key, or the one that has is not finished.
    """
    return runs.load(*run_search.matching(key, stages), AGAIN)


def _suite(manifest: runs.Manifest, p: params.Common) -> Suite:
    suite = suites.load(p.suite, p.rows)
    if suite.fingerprint != manifest.suite:
        raise InputError(
            f"{manifest.label} was made from suite {p.suite!r} with other content ({manifest.suite}, now "
            f"{suite.fingerprint}); bring that back or {AGAIN}"
        )
    return suite


def trained(key: str, seed: int | None = None) -> Trained:
    """Rebuild one seed of a 06 run, or a training by its own key, with the plan that its parameters stand for.

    Args:
        key: Key of a 06_mtl run or of a training, as in `find`.
        seed: The seed; None where the run leaves no choice: it has one, or all of them share one training.

    Raises:
        InputError: If there is no such run or seed, several seeds are left to choose from, or the run's parameters no
            longer stand for the training that it read.
    """
    manifest = find(key, ("06_mtl", "train"))
    if manifest.stage == "train":
        return _of_training(manifest, seed)
    seeds = _seeds(manifest)
    if seed is not None and seed not in seeds:
        raise InputError(f"seed: {manifest.label} has {', '.join(map(str, seeds))}, not {seed}")
    if seed is None and len(seeds) > 1 and len({m["key"] for m in manifest.inputs if m["stage"] == "train"}) > 1:
        raise InputError(f"{manifest.label} has seeds {', '.join(map(str, seeds))}; choose one with --seed")
    return _rebuilt(manifest, seeds[0] if seed is None else seed)


def _seeds(run: runs.Manifest) -> list[int]:
    seeds = run.params.get("seeds")
    if not isinstance(seeds, list) or not seeds:
        raise InputError(f"{run.label}: its manifest names no seeds; {AGAIN}")
    return seeds


def _of_training(training: runs.Manifest, seed: int | None) -> Trained:
    reads = {"stage": "train", "key": training.key}
    parents = [m for m in run_search.all_runs("06_mtl") if any(reads.items() <= source.items() for source in m.inputs)]
    parents = [m for m in parents if runs.read(m.stage, m.key)[0] == "finished"]
    of_another_seed = None
    for parent in parents:
        for each in _seeds(parent):
            if (rebuilt := _rebuilt(parent, each)).training.key == training.key:
                if seed in (None, each):
                    return rebuilt
                of_another_seed = parent
    if of_another_seed:
        raise InputError(f"{training.label} is not of seed {seed} of {of_another_seed.label}; leave --seed out")
    raise InputError(
        f"{training.label} is read by no finished run of 06_mtl as an arm's own, which would say what its suite and "
        "its plan are (the trainings of proxies, of head importance and of searches are not exported)"
    )


def _rebuilt(run: runs.Manifest, seed: int) -> Trained:
    """Rebuild a plan as 06 does: parameters and the runs read give rows, rows give the plan.

    The plan's key must be one that the run read.
    """
    p = params.validate("06_mtl", run.params, plug=False)
    suite = _suite(run, p)
    inputs = [runs.load(m["stage"], m["key"], AGAIN) for m in run.inputs if m["stage"] in params.MODELS]
    selected, plan = context.select(context.Context(suite, p, seed, params.of_runs(inputs)))
    key = training_cache.training_key(plan, suite)
    if key not in {m["key"] for m in run.inputs if m["stage"] == "train"}:
        raise InputError(f"{run.label}: its parameters now give another training (train/{key}) than it read; {AGAIN}")
    return Trained(run, p, suite, seed, selected.rows, plan, runs.load("train", key, AGAIN))


# --- writing -------------------------------------------------------------------------------------------------------


def selection(key: str, folder: Path, seed: int | None = None, with_text: bool = False) -> list[Path]:
    """Write the selection of a 03 run, or of the auxiliary rows that one seed of a 06 run trained on.

    Args:
        key: Key of the run, as in `find`.
        folder: A new folder.
        seed: The seed, as in `trained`.
        with_text: Whether to write the texts too, not only their hashes.

    Returns:
        The paths written, as by `selections.selection`.

    Raises:
        InputError: If the run is not there, not finished or of an arm that adds no rows, or the folder is not new.
    """
    manifest = find(key, ("03_ranking", "06_mtl"))
    if manifest.stage == "03_ranking":
        p = params.validate(manifest.stage, manifest.params, plug=False)
        if seed is None and len(p.seeds) > 1:
            raise InputError(f"{manifest.label} has seeds {', '.join(map(str, p.seeds))}; choose one with --seed")
        if seed is not None and seed not in p.seeds:
            raise InputError(f"seed: {manifest.label} has {', '.join(map(str, p.seeds))}, not {seed}")
        suite, table = (
            _suite(manifest, p),
            parquet.read_frame(manifest.path("selection.parquet"), ("seed", "task", "row")),
        )
        own = table["seed"] == (p.seeds[0] if seed is None else seed)
        chosen = table[own].drop(columns="seed").reset_index(drop=True)
    else:
        source = trained(manifest.label, seed)
        p, suite, chosen = source.params, source.suite, source.chosen
        if chosen is None:
            raise InputError(f"{manifest.label}: arm {p.arm} adds no auxiliary rows")
    return selections.selection(chosen, suite, p.primary, folder, with_text)


def predictions(key: str, path: Path, split: str = "dev", task: str | None = None, seed: int | None = None) -> Path:
    """Write one seed's predictions for a split of the primary, or of any other task that was trained on, as CSV.

    The primary's dev predictions were kept by every training; all others need a kept model.

    Args:
        key: Key of a 06 run or of a training, as in `find`.
        path: The file, as `selections.predictions` writes it.
        split: "dev" or "test".
        task: The task; None for the primary.
        seed: The seed, as in `trained`.

    Returns:
        The path.

    Raises:
        InputError: If the run, the split or the model is not there, or the task was not trained on.
    """
    source = trained(key, seed)
    of_task = source.task(task)
    values, rows = _predicted(source, of_task, split)
    ids = [f"{row['origin']}:{row['row_id']}" if "origin" in row else row["row_id"] for row in rows]
    return selections.predictions(values, of_task, path, ids)


def _predicted(source: Trained, task: Task, split: str) -> tuple[Any, Any]:
    """Return predictions as `prediction.predict` gives them, and the `row_id` (and `origin`) of their rows."""
    rows = {"dev": task.dev, "test": task.test}[split]
    if rows is None:
        raise InputError(
            f"task {task.name!r} of suite {source.params.suite!r} has no {split} split"
            + ("; its test rows went to dev (resplit)" if "origin" in task.dev.column_names else "")
        )
    ids = rows.select_columns([c for c in ("row_id", "origin") if c in rows.column_names])
    if split == "dev" and task.name == source.params.primary:
        return training_cache.read_predictions(source.training, source.suite, source.plan)[0], ids
    net = source.model()
    encoded = token_store.encoded(task, split, net.tokenizer, net.max_length, parts=True)
    return prediction.predict(net, encoded, task, source.plan.precision)[0], ids


def model(key: str, folder: Path, seed: int | None = None, task: str | None = None) -> str:
    """Write one seed's tuned model as a Hugging Face folder, with the head of its primary or of another trained task.

    Args:
        key: Key of a 06 run or of a training, as in `find`.
        folder: A new folder.
        seed: The seed, as in `trained`.
        task: The task; None for the primary.

    Returns:
        The class that loads it, as by `models.model_folder`.

    Raises:
        InputError: If the run or its model is not there, the task was not trained on, or the folder is not new.
    """
    source = trained(key, seed)
    return models.model_folder(source.model(), source.task(task), folder)


def glue(path: Path, sources: Mapping[str, str], seed: int | None = None) -> Path:
    """Write the test predictions of kept models as a GLUE submission.

    Args:
        path: The zip, as `glue_submission.write` writes it.
        sources: Key of the run to ask, by task; tasks are named as the suite names them (rte) or as the file is (RTE).
            A task that is not named gets a constant answer, and is marked.
        seed: The seed of every run, as in `trained`.

    Returns:
        The path.

    Raises:
        InputError: If a task is not GLUE's or given twice, its test split is not GLUE's, or a run or its model is not
            there.
    """
    files: dict[str, tuple[Trained, Task]] = {}
    for spelling, key in sources.items():
        name = spelling.lower().replace("-", "")
        name = "mnli" if name == "mnlim" else name
        if name not in GLUE:
            known = ", ".join(GLUE)
            raise InputError(f"--from {spelling}={key}: no task {spelling!r}; a submission can be made of {known}")
        if GLUE[name] in files:
            raise InputError(f"--from: {spelling} is given twice")
        source = trained(key, seed)
        task, size = source.task(name), glue_submission.FILES[GLUE[name]].rows
        if task.test is None or len(task.test) != size:
            has = "no test split" if task.test is None else f"{len(task.test):,} test rows"
            raise InputError(f"task {name!r} of suite {source.params.suite!r} has {has}; GLUE's has {size:,}")
        files[GLUE[name]] = source, task
    answers = {}
    for file, (source, task) in files.items():
        values, rows = _predicted(source, task, "test")
        names = values if task.labels is None else np.array(task.labels, object)[values]
        answers[file] = pd.Series(names, index=list(rows["row_id"]))  # refused unless in the order of the file
    return glue_submission.write(answers, path)
