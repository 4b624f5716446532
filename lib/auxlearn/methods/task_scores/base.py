"""What a task score is: a method that gives every auxiliary a number, takes tasks by it, and draws n of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from auxlearn.errors import InputError
from auxlearn.methods import ranking
from auxlearn.methods.base import Cell, Context, Method, Options, Selection


class TaskScoreOptions(Options):
    """Options of all task scores."""

    tasks_by: Literal["top", "threshold"] = "top"
    """the tasks with the highest scores, or all whose score is above a threshold"""
    top_tasks: int = Field(2, ge=1)
    """tasks that are taken, with tasks_by: top"""
    above: float = 0.0
    """the score that a task must exceed, with tasks_by: threshold; to be set for the score"""


class TaskScore(Method):
    """A method whose tasks are chosen by a score; subclasses override `task_scores`.

    n rows are drawn from the tasks that are taken, uniformly over their rows together, as by GradTS; all where they are
    fewer. Where no task is taken, the primary is trained for as many steps alone.
    """

    family, level, scores = "task_scores", "tasks", "tasks"
    contrasts = ("random",)
    Options: type[Options] = TaskScoreOptions

    def task_scores(self, context: Context, cell: Cell, options: Any) -> Mapping[str, float]:
        """Score the auxiliaries.

        Args:
            context: Data, artifacts and trainings.
            cell: What is asked.
            options: An instance of `Options`.

        Returns:
            A finite score of every auxiliary that is `measurable`, by name; higher is better.
        """
        raise NotImplementedError

    def select(self, context: Context, cell: Cell, options: Any) -> Selection:
        """Take tasks by their scores, and draw n of their rows."""
        return self.chosen(context, cell, self.task_scores(context, cell, options), options)

    def chosen(self, context: Context, cell: Cell, scores: Mapping[str, float], options: Any) -> Selection:
        """Take tasks by scores, and draw n of their rows."""
        scores = {name: float(score) for name, score in scores.items()}
        tasks = selected(scores, options)
        rows = ranking.draw(context.pool(), tasks, cell.n, cell.seed)
        if rows is not None:
            rows = rows.assign(score=rows["task"].astype(str).map(scores))
        why: dict[str, Any] = {"scores": scores}
        if unmeasured := [name for name in context.auxiliaries if name not in scores]:
            why["unmeasured"] = unmeasured
        return Selection(rows, tasks, why=why)


def measurable(context: Context) -> tuple[str, ...]:
    """List the auxiliaries that can be measured: those with rows that leak into no task. Others are never taken."""
    usable = context.usable(None)
    return tuple(name for name in context.auxiliaries if usable[name].any())


def selected(scores: Mapping[str, float], options: TaskScoreOptions) -> tuple[str, ...]:
    """Take tasks by their scores.

    Args:
        scores: A score by task.
        options: The rule.

    Returns:
        The tasks, best first; of equal ones the first by name.

    Raises:
        InputError: A score is not finite, which has no place in an order.
    """
    for name, score in scores.items():
        if not np.isfinite(score):
            raise InputError(f"task {name!r} has the score {score}; a task score must be finite, or leave the task out")
    order = sorted(scores, key=lambda name: (-scores[name], name))
    if options.tasks_by == "top":
        return tuple(order[: options.top_tasks])
    return tuple(name for name in order if scores[name] > options.above)


def cosines(vectors: Mapping[str, np.ndarray], primary: str) -> dict[str, float]:
    """Compare tasks with the primary by the cosines of their vectors.

    Args:
        vectors: A vector by task, float [d].
        primary: The task that the others are compared with.

    Returns:
        The cosine by task, the primary left out; 0 where a vector is 0.
    """
    units = {}
    for name, vector in vectors.items():
        vector = np.asarray(vector, np.float64)
        units[name] = vector / max(float(np.linalg.norm(vector)), np.finfo(np.float64).tiny)
    return {name: float(unit @ units[primary]) for name, unit in units.items() if name != primary}
