"""What each optimiser step of a training lost, as columns: a million steps take some 20 MB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LOSSES = ("task_loss", "disc_loss")


class Steps(Sequence[dict[str, Any]]):
    """One row per step: phase, task ("mixed" for a batch of several), task_loss and disc_loss.

    Read as rows, it is a sequence of dicts; it is held as columns.
    """

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []  # phase and task that occur, in order of appearance
        self._codes: list[np.ndarray] = []  # int32, which of the names; one array per epoch, or joined
        self._losses: list[np.ndarray] = []  # float64 [steps, 2]

    def add(self, phase: str, tasks: Sequence[str], losses: np.ndarray) -> None:
        """Append the steps of an epoch.

        Args:
            phase: The phase's name.
            tasks: The task of each step.
            losses: Task loss and discriminator loss of each step, float [steps, 2].
        """
        codes = {name: i for i, name in enumerate(self.names)}
        self._codes.append(np.array([codes.setdefault((phase, task), len(codes)) for task in tasks], np.int32))
        self._losses.append(np.asarray(losses, np.float64).reshape(-1, 2))
        self.names = list(codes)

    def columns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which of `names` each step is of, int32 [steps], and its losses, float64 [steps, 2]."""
        if len(self._codes) != 1:
            self._codes = [np.concatenate([np.zeros(0, np.int32), *self._codes])]
            self._losses = [np.concatenate([np.zeros((0, 2)), *self._losses])]
        return self._codes[0], self._losses[0]

    @classmethod
    def of(cls, names: Sequence[Sequence[str]], codes: np.ndarray, losses: np.ndarray) -> Steps:
        """Make a table from what `names` and `columns` returned.

        Raises:
            ValueError: They do not fit one another.
        """
        if codes.dtype != np.int32 or codes.ndim != 1 or losses.dtype != np.float64 or losses.shape != (len(codes), 2):
            raise ValueError(f"steps of shapes {codes.shape} and {losses.shape}")
        if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
            raise ValueError("a step of no phase")
        steps = cls()
        steps.names, steps._codes, steps._losses = [(phase, task) for phase, task in names], [codes], [losses]
        return steps

    def write(self, path: Path) -> None:
        """Write the table as Parquet: phase, task, task_loss, disc_loss."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        codes, losses = self.columns()
        text = [
            pa.DictionaryArray.from_arrays(codes, pa.array([name[k] for name in self.names], pa.string())).cast(
                "string"
            )
            for k in (0, 1)
        ]
        table = pa.table(dict(zip(("phase", "task", *LOSSES), (*text, losses[:, 0], losses[:, 1]), strict=True)))
        pq.write_table(table, path)

    def _row(self, code: int, losses: Sequence[float]) -> dict[str, Any]:
        phase, task = self.names[code]
        return {"phase": phase, "task": task, **dict(zip(LOSSES, losses, strict=True))}

    def __len__(self) -> int:
        return sum(map(len, self._codes))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        codes, losses = self.columns()
        return (self._row(code, row.tolist()) for code, row in zip(codes.tolist(), losses, strict=True))

    def __getitem__(self, at: Any) -> Any:
        codes, losses = self.columns()
        if isinstance(at, slice):
            return [self._row(code, row.tolist()) for code, row in zip(codes[at].tolist(), losses[at], strict=True)]
        return self._row(int(codes[at]), losses[at].tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_same, self, other))

    __hash__ = None  # type: ignore[assignment]


def _same(one: Mapping[str, Any], other: Any) -> bool:
    return bool(one == other)
