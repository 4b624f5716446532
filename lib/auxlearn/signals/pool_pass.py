"""A pass over the pool on disk: arrays of all rows, filled shard by shard, with no more than one shard in memory.

A shard is some rows of one task, in order. Its numbers are written to their place in the arrays and only then is it
marked as done, in one step: a shard that is done is never computed again, a half-written one is never read. Several
processes may each fill shards of their own; whoever comes first makes the arrays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from auxlearn.cost import Ledger, Meter
from auxlearn.data.batching import Encoded
from auxlearn.data.suites import Suite, Task
from auxlearn.data.tokens import token_store
from auxlearn.errors import InputError
from auxlearn.files import documents, stored_arrays
from auxlearn.models import bf16_inference, devices
from auxlearn.models.multitask import MultiTaskModel
from auxlearn.records import runs
from auxlearn.training import prediction

SHARD = 4096  # rows that are lost, at most, to an interruption
DTYPES = {"features": np.float16, "lengths": np.int32}  # else float32, or float16 where a reader gives halves
# Of encoded rows of a task: batches of (row positions, name -> values [B, ...]), their cost put into the ledger.
Reader = Callable[[Encoded, Task, Ledger], Iterator[tuple[np.ndarray, dict[str, Any]]]]


@dataclass(frozen=True)
class Shard:
    """Some rows of one task, and their place in the arrays of the pass."""

    task: str
    rows: np.ndarray  # positions in the task's train
    place: int  # of its first row in the arrays
    name: str


def shards(rows: Mapping[str, np.ndarray]) -> list[Shard]:
    """Cut the rows of a pass into shards.

    Args:
        rows: Positions in each task's train split, by task.
    """
    parts, place = [], 0
    for number, (task, at) in enumerate(rows.items()):
        for first in range(0, len(at), SHARD):
            part = at[first : first + SHARD]
            parts.append(Shard(task, part, place, f"{number}-{first}-{first + len(part)}"))
            place += len(part)
    return parts


def plain(model: MultiTaskModel, precision: str) -> Reader:
    """Make a reader of features and discriminator logits, by a forward pass alone.

    Args:
        model: The model.
        precision: "fp32" or "bf16".

    Returns:
        The reader, for `PoolPass.fill`.
    """

    def read(encoded: Encoded, task: Task, ledger: Ledger) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        ready = bf16_inference.prepare(model, precision)
        for index, output in prediction.outputs(model, encoded, task, precision, ledger, ready):
            yield index, {"features": output.features, "logits": output.discriminator}

    return read


class PoolPass:
    """A pass over some rows: its arrays in one folder, marks of what is done in another.

    Args:
        folder: Where the arrays go.
        marks: Where the marks go. It belongs to this pass alone; name it after whatever decides the numbers.
        rows: Positions in each task's train split, by task.
    """

    def __init__(self, folder: Path, marks: Path, rows: Mapping[str, np.ndarray]):
        self.folder, self.marks, self.shards = folder, marks, shards(rows)
        self.size = sum(map(len, rows.values()))

    @classmethod
    def of(cls, run: runs.Run, rows: Mapping[str, np.ndarray], *code: str) -> PoolPass:
        """Begin the pass of a run, or go on from what the same code left of it.

        Of a run that was finished by other code, or has been damaged, nothing is reused.

        Args:
            run: The run.
            rows: Positions in each task's train split, by task.
            *code: Hashes of more code than the run's own that decides the numbers.

        Returns:
            The pass, ready to be filled.
        """
        if run.path("manifest.json").is_file():
            for path in run.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in (".lock", "manifest.json"):
                    path.unlink()
            run.path("manifest.json").unlink()  # last: until then it says so
        work = cls(run.folder, run.path("shards") / "-".join((run.code()["hash"], *code)), rows)
        work.begin()
        return work

    def begin(self) -> None:
        """Prepare to fill: remove marks of another pass, and marks whose arrays are missing or of another form."""
        if self.marks.parent.is_dir():
            for other in self.marks.parent.iterdir():
                if other != self.marks:
                    shutil.rmtree(other)
        try:
            whole = self._form.is_file() and all(self._intact(name) for name in self._shapes())
        except InputError:
            whole = False
        if not whole:
            shutil.rmtree(self.marks, ignore_errors=True)
        self.marks.mkdir(parents=True, exist_ok=True)

    def missing(self) -> list[Shard]:
        """List the shards that are not done yet."""
        return [shard for shard in self.shards if not self._mark(shard).is_file()]

    def fill(self, shard: Shard, model: MultiTaskModel, task: Task, read: Reader, precision: str = "fp32") -> None:
        """Compute a shard and write it to disk.

        Args:
            shard: The shard.
            model: The model that reads.
            task: The shard's task.
            read: What reads, e.g. `plain(model, precision)`.
            precision: What the products of `read` are of, as of `devices.repeatable`.
        """
        ledger, arrays = Ledger("scoring"), {}
        with Meter(ledger, model.device.type), devices.repeatable(model.device, precision):
            of = sum(len(each.rows) for each in self.shards if each.task == shard.task)
            encoded = token_store.encoded(task, "train", model.tokenizer, model.max_length, rows=shard.rows, of=of)
            for index, values in devices.on_host(read(encoded, task, ledger)):
                for name, block in values.items():
                    if name not in arrays:
                        usual = np.float16 if block.dtype == np.float16 else np.float32
                        arrays[name] = np.zeros((len(encoded), *block.shape[1:]), DTYPES.get(name, usual))
                    arrays[name][index] = block
        self.put(shard, arrays | {"lengths": encoded.lengths.astype(DTYPES["lengths"])}, ledger)

    def put(self, shard: Shard, values: Mapping[str, np.ndarray], ledger: Ledger) -> None:
        """Write a shard's values to disk and mark it as done.

        Args:
            shard: The shard.
            values: Values by name, [rows of the shard, ...] each.
            ledger: What they cost.
        """
        with FileLock(self.marks / ".lock"):
            if not self._form.is_file():
                self._create(values)
        for name, block in values.items():
            # Written rather than mapped: a full disk is then an error and not a signal.
            with open(self._path(name), "r+b") as file:
                start = os.fstat(file.fileno()).st_size - (self.size - shard.place) * block[0].nbytes
                file.seek(start)
                file.write(np.ascontiguousarray(block).data)
                file.flush()
                os.fsync(file.fileno())
        runs.write_json(self._mark(shard), ledger.as_dict())

    def finish(self, suite: Suite) -> list[str]:
        """Write rows.parquet (task, row, row_id, length), once no shard is missing.

        Args:
            suite: The suite that the rows are of.

        Returns:
            Names of all files of the pass.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        lengths = stored_arrays.array(self._path("lengths"))
        writer, part = None, self.folder / "rows.parquet.part"
        try:
            for shard in self.shards:
                table = pa.table({
                    "task": [shard.task] * len(shard.rows), "row": shard.rows.astype(np.int64),
                    "row_id": suite[shard.task].train.select(shard.rows.tolist())["row_id"][:],
                    "length": lengths[shard.place : shard.place + len(shard.rows)].astype(np.int64),
                })  # fmt: skip
                writer = writer or pq.ParquetWriter(part, table.schema)
                writer.write_table(table)
        finally:
            if writer:
                writer.close()
        part.replace(self.folder / "rows.parquet")
        return ["rows.parquet", *(f"{name}.npy" for name in self._shapes() if name != "lengths")]

    def ledgers(self) -> list[Ledger]:
        """Read what each shard cost."""
        return [Ledger.from_dict(documents.read_object(self._mark(shard))) for shard in self.shards]

    def clear(self) -> None:
        """Remove what only an interrupted pass needs."""
        shutil.rmtree(self.marks.parent)

    # --- inside --------------------------------------------------------------------------------------------------

    @property
    def _form(self) -> Path:
        return self.marks / "arrays.json"

    def _mark(self, shard: Shard) -> Path:
        return self.marks / f"{shard.name}.json"

    def _path(self, name: str) -> Path:
        return (self.marks if name == "lengths" else self.folder) / f"{name}.npy"

    def _shapes(self) -> dict[str, list[Any]]:
        return documents.read_object(self._form)

    def _create(self, values: Mapping[str, np.ndarray]) -> None:
        """Create arrays of all rows for values like these."""
        for name, block in values.items():
            part = self._path(name).with_suffix(".part")
            np.lib.format.open_memmap(part, "w+", block.dtype, (self.size, *block.shape[1:])).flush()
            part.replace(self._path(name))
        runs.write_json(self._form, {name: [list(block.shape[1:]), str(block.dtype)] for name, block in values.items()})

    def _intact(self, name: str) -> bool:
        shape, dtype = self._shapes()[name]
        array = stored_arrays.array(self._path(name))
        return (list(array.shape), str(array.dtype)) == ([self.size, *shape], dtype)
