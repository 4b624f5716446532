"""Choose auxiliary rows in one call: `auxlearn.select`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auxlearn import cost, progress_bar
from auxlearn.api import cells
from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.export import selections
from auxlearn.methods import registry
from auxlearn.methods.context import Context, choose
from auxlearn.records import code_hash

if TYPE_CHECKING:
    from datasets import DatasetDict

COLUMNS = ["task", "row", "row_id", "score", "rank"]


@dataclass(frozen=True, eq=False)
class Selection:
    """The auxiliary rows that a method has chosen for one seed.

    Attributes:
        suite: The suite that the rows are of.
        primary: The task that they are to help.
        method: What chose them.
        seed: The seed.
        params: All parameters that it chose with, as of notebook 06.
        table: One row per chosen row, best first where the method ranks: task, row (position in the task's train),
            row_id (position in its source), score and rank (from 1); missing values where the method has none.
        ledgers: What choosing ran, a ledger per stage: proxies, passes, trials; none where it ran nothing.
        why: Figures by task, such as "taus", where the method has any.
    """

    suite: Suite
    primary: str
    method: str
    seed: int
    params: dict[str, Any]
    table: pd.DataFrame
    ledgers: list[Ledger]
    why: dict[str, Any]

    @property
    def cost(self) -> Ledger:
        """Everything that choosing ran, as one ledger; what it read back is charged all the same."""
        return cost.total(self.method, self.ledgers)

    def datasets(self) -> DatasetDict:
        """Return the chosen rows by task, in the table's order: row_id, inputs and label, with features that name it.

        Tasks of which no row was chosen are left out.
        """
        import datasets

        out = datasets.DatasetDict()
        for name, part in self.table.groupby("task", sort=False):
            task = self.suite[str(name)]
            rows = task.train.select(part["row"].tolist()).select_columns(["row_id", *task.inputs, task.label])
            if task.labels:
                names = datasets.ClassLabel(names=list(task.labels))
                rows = rows.cast_column(task.label, datasets.List(names) if task.kind == "tagging" else names)
            out[str(name)] = rows
        return out

    def save(self, folder: str | Path, with_text: bool = False) -> list[Path]:
        """Write the selection into a new folder, in the formats of `export.selections.selection`.

        Beside them lies selection.json: method, seed, parameters, the suite's fingerprint and the cost.

        Args:
            folder: A folder that does not exist, or is empty.
            with_text: Whether the tables hold the rows' texts.

        Returns:
            The paths written.

        Raises:
            InputError: The folder is not new, or nothing was chosen.
        """
        if not len(self.table):
            raise InputError(f"{self.method} has chosen no rows; there is nothing to save")
        chosen = self.table.dropna(axis="columns", how="all")
        record = {
            "method": self.method, "primary": self.primary, "seed": self.seed, "params": self.params,
            "suite": self.suite.fingerprint, "cost": [ledger.as_dict() for ledger in self.ledgers], "why": self.why,
        }  # fmt: skip
        return selections.selection(chosen, self.suite, self.primary, Path(folder), with_text, record)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.table["task"].value_counts(sort=False).items())
        return (
            f"{self.method} for {self.primary}, seed {self.seed}: {len(self.table)} rows ({counts or 'none'}); "
            f"choosing ran {self.cost.flops / 1e12:.3g} TFLOP"
        )


def select(
    suite: Suite, primary: str, method: str, n: int, *, encoder: str = "minilm", seed: int = 0, device: str = "auto",
    **options: Any,
) -> Selection:  # fmt: skip
    """Choose n auxiliary rows for a task: the whole way in one call, proxies, passes and trials included.

    Trainings and passes are those of the notebooks: each is made once and kept in the run folder, so that a call that
    was interrupted goes on where it stopped, and another n or score costs seconds.

    Args:
        suite: The suite; all tasks but the primary may help (`auxiliaries` names fewer).
        primary: The task that is to be helped.
        method: A name of `auxlearn.methods.names()`.
        n: Rows to choose; methods that choose tasks draw them from these.
        encoder: "minilm", "tiny", a Hugging Face name or a folder.
        seed: Seed of everything that is drawn.
        device: "auto", "cpu" or "cuda".
        **options: The method's own options by name (`auxlearn methods NAME`), else parameters of the notebooks, for all
            that have one (`lr`, `proxy_rows`, `threads`, `rows`). `notebooks`, `plugins` and `method_options` are a
            study file's `notebooks`, `plugins` and `methods`. What is not given is as in `api.recipes`.

    Returns:
        The selection.

    Raises:
        InputError: A name or value is wrong, the method weighs rows and chooses none, or there are too few to choose
            from; before anything is trained.
    """
    (*_, cell) = cells.requested_cells(suite, primary, [method], n, [seed], encoder, device, options, False)
    p: Any = cell.params
    if p.policy is not None:
        raise InputError(
            f"method: {method!r} weighs rows and chooses none; select by {p.method.name!r}, or give it to "
            f"auxlearn.compare. Methods are {', '.join(registry.names())}"
        )
    _unedited(p)
    suite = suite.capped(p.rows)
    with progress_bar.shown() as show, one_process(p.threads):
        context = Context(suite, p, p.seeds[0], cells.upstream(cell), show)
        chosen = choose(context)
    ledgers = [*context.needed(), *context.searched()]
    return Selection(suite, primary, method, p.seeds[0], p.model_dump(), _table(chosen), ledgers, chosen.as_dict())


def one_process(threads: int) -> Any:
    """Bound the threads of linear algebra while a call runs, as a notebook does: sums depend on how many there are."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads, user_api="blas")


def _unedited(p: Any) -> None:
    """Refuse a method whose file was edited after this process had read it: its old code would choose in silence."""
    try:
        roots = p.code_roots()
    except ValueError:  # typed in, in no file that could change
        return
    if code_hash.edited(roots):
        raise InputError(
            f"method: the code of {p.method.name!r}, or of what it imports, was edited after this process had read it; "
            "start Python anew, so that the code which chooses is the one in the file"
        )


def _table(chosen: Any) -> pd.DataFrame:
    if chosen.rows is None:
        rows = pd.DataFrame({"task": [], "row": [], "row_id": []}).astype({"row": np.int64, "row_id": np.int64})
        return rows.assign(score=np.nan, rank=pd.array([], "Int64"))[COLUMNS]
    rows = chosen.rows.reset_index(drop=True)
    try:
        rows = chosen.scored().reset_index(drop=True)
    except InputError:  # neither rows nor tasks have a score
        rows = rows.assign(score=np.nan)
    rank = rows["rank"] if "rank" in rows else pd.array([pd.NA] * len(rows), "Int64")
    return rows.assign(rank=rank)[COLUMNS]
