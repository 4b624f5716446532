"""Find the cells of a study without data, or with the data of some suites: to check it, and to forecast its costs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from pydantic import ValidationError

from auxlearn import errors
from auxlearn.data import schema, suite_files, suites
from auxlearn.errors import InputError
from auxlearn.models import encoder_files
from auxlearn.studies import parameters as params
from auxlearn.studies.expansion import Cell, Expansion
from auxlearn.studies.study_file import StudyFile


@functools.cache
def _planted() -> dict[str, Any]:
    """Describe the planted suite's tasks; its rows are generated to be counted, once in a process."""
    from auxlearn.data import planted

    return {
        name: SimpleNamespace(name=name, kind=task.kind, metric=task.metric, rows=len(task.train))
        for name, task in planted.make().items()
    }


class _Names(suites.Suite):
    """A suite of which only the YAML is read: it knows its tasks' names and no rows."""

    def __init__(self, suite: str):
        if suite == "planted":
            tasks = dict(_planted())
        else:
            path = suite_files.located(suite)
            # Not `read_suite`, which also wants the data's root to be known.
            try:
                spec = schema.SuiteSpec.model_validate(suite_files.extended(path))
            except ValidationError as error:
                raise InputError(f"{path}: {errors.explain(error, schema.ENTRIES)}") from None
            tasks = {
                name: SimpleNamespace(name=name, kind=task.kind, metric=task.metric)
                for name, task in spec.tasks.items()
            }
        # The name stands for the fingerprint, so that cells over one suite are told apart as they are by `load`.
        super().__init__(suite, cast("dict[str, suites.Task]", tasks), suite)


class Unread(Expansion):
    """The expansion without data. Its keys tell cells apart and are good for nothing else; code is not looked at."""

    def _load(self, suite: str, rows: int) -> suites.Suite:
        return _Names(suite)

    def _code(self, p: params.Common) -> str:
        return ""

    def _resolved(self, p: Any) -> Any:
        return p  # a study may be checked on a machine without the device that it asks for

    def _encoded(self, p: Any) -> None:
        here = all(encoder_files.expanded(name) is not None for name in (p.encoder, *getattr(p, "also", ())))
        if here and self.file.expects is None:  # which stands in for an encoder that is not at hand
            super()._encoded(p)

    def _as_expected(self, suite: suites.Suite, p: params.Common) -> None:
        expects = self.file.expects
        assert expects is not None
        if set(expects.rows) != set(suite.names):
            raise InputError(f"expects.rows: of {', '.join(expects.rows)}; {p.suite!r} has {', '.join(suite.names)}")

    def _leaks(self, p: Any, suite: suites.Suite, names: Sequence[str]) -> str:
        return ""

    def _rows(self, p: Any, suite: suites.Suite) -> dict[str, int] | None:
        """Count the training rows of every task, as far as the file or the planted suite says."""
        if self.file.expects is not None:
            return self.file.expects.capped(p.rows)
        if p.suite == "planted":  # whose rows are known without data; leaks among them are not
            return {name: min(task.rows, p.rows or task.rows) for name, task in cast("dict[str, Any]", suite).items()}
        return None

    def _primary(self, p: Any, suite: suites.Suite) -> int | None:
        rows = self._rows(p, suite)
        return None if rows is None else rows[p.primary]

    def _pool(self, p: Any, suite: suites.Suite, reads: list[Cell]) -> int | None:
        rows, taken = self._rows(p, suite), 0
        if rows is None:
            return None
        if p.stage == "03_ranking":
            proxy = cast(params.TDProxy, reads[0].params)
            taken = proxy.proxy_rows if proxy.proxies == "one" else 0
        return sum(max(0, rows[name] - taken) for name in suite.auxiliaries(p.primary, p.auxiliaries))


class Counting(Unread):
    """The expansion over suites that are read: all that is too small is gathered, and whether all pools were known."""

    def __init__(self, file: StudyFile, read: Mapping[str, suites.Suite]):
        super().__init__(file)
        self.read, self.lines, self.known = read, list[str](), True

    def _load(self, suite: str, rows: int) -> suites.Suite:
        return self.read[suite].capped(rows) if suite in self.read else super()._load(suite, rows)

    def _as_expected(self, suite: suites.Suite, p: params.Common) -> None:
        if p.suite in self.read:
            Expansion._as_expected(self, suite, p)
        else:
            super()._as_expected(suite, p)

    def _primary(self, p: Any, suite: suites.Suite) -> int | None:
        own = (Expansion if p.suite in self.read else Unread)._primary(self, p, suite)
        self.known &= own is not None
        return own

    def _pool(self, p: Any, suite: suites.Suite, reads: list[Cell]) -> int | None:
        pool = (Expansion if p.suite in self.read else Unread)._pool(self, p, suite, reads)
        self.known &= pool is not None
        return pool

    def _short(self, what: str) -> None:
        self.lines.append(what)
