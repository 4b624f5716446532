"""How each run of a study's plan ended, for people: status, error, headline figure, cost.

Adds two statuses to those of `runs.read`: *failed* (its notebook or log holds an error) and *not run* (its folder holds
nothing but its parameters).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn.errors import InputError
from auxlearn.files import documents
from auxlearn.paths import runs_root
from auxlearn.records import manifests, runs
from auxlearn.studies.headlines import Headline, headline

if TYPE_CHECKING:
    import nbformat

STAGES = {
    "01_data_prep": "data", "02_td_proxy": "proxy", "03_ranking": "ranking",
    "04_gradts_correlation": "head importance", "05_tawt_weighting": "task weights", "06_mtl": "training",
    "07_efficiency": "comparison", "08_validity": "choices against a known truth",
}  # fmt: skip
MEANING = {
    "finished": "made by the code and from the runs that are here now",
    "stale": "made by other code, or from runs made by other code",
    "damaged": "a file was altered or removed after the run had finished",
    "failed": "stopped by an error; the notebook as far as it came is linked",
    "interrupted": "begun and not finished, or still running",
    "not run": "planned, not begun",
}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PREPARED = {"params.yaml", "command.txt"}  # what `runner.prepare` writes before a run begins
_NAMED = ("primary", "arm", "discriminator", "n", "seed", "seeds", "arms")  # always shown; others where they differ
_UNSHOWN = {"inputs", "study"}
_TRACE = "Traceback (most recent call last):"
REFUSED = f"{InputError.__name__}:"
# What papermill and Jupyter write beside errors.
_PAPERMILL = ("Input Notebook:", "Output Notebook:", "attempt ", "Error occurred while starting new kernel client")


@dataclass
class Outcome:
    """One cell of a plan, with what is known of its run.

    Attributes:
        cell: The cell's entry in the plan.
        status: One of `MEANING`.
        manifest: The run's manifest, also one that was set aside; None where there is none.
        error: The error that stopped the run, in one line; else empty.
        link: The run's page in a report, which the report fills in; empty where it has none.
    """

    cell: Mapping[str, Any]
    status: str
    manifest: runs.Manifest | None
    error: str = ""
    link: str = ""

    @property
    def stage(self) -> str:
        """The cell's notebook, such as `06_mtl`."""
        return self.cell["stage"]

    @property
    def key(self) -> str:
        """The cell's key."""
        return self.cell["key"]

    @property
    def label(self) -> str:
        """The cell's name for people."""
        return self.cell["label"]

    @property
    def params(self) -> dict[str, Any]:
        """The cell's parameters, as resolved."""
        return self.cell["params"]

    @property
    def name(self) -> str:
        """The stage in a word or two."""
        return STAGES.get(self.stage, self.stage)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return runs_root() / self.stage / self.key

    @property
    def notebook(self) -> Path | None:
        """Path of the executed notebook, as far as it came; None where it is missing or cannot be parsed."""
        path = self.folder / "notebook.ipynb"
        return path if path.is_file() and executed(path) is not None else None

    @property
    def sized(self) -> bool:
        """Whether the run depends on the parameter `n`."""
        return self.manifest is None or "n" in self.manifest.data.get("key_params", ("n",))

    @property
    def other_primary(self) -> str:
        """The primary that its notebook was run for, if another study's run serves this one too; else empty."""
        primary = self.manifest.data.get("params", {}).get("primary") if self.manifest else None
        return primary if primary != self.params.get("primary") and isinstance(primary, str) else ""

    @functools.cached_property
    def headline(self) -> Headline:
        """The headline figure; empty if there is no manifest, or one that is not as its stage writes it."""
        if self.manifest is None:
            return Headline()
        try:
            return headline(self.stage, self.manifest.metrics, self.params.get("primary", ""))
        except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError):
            return Headline(note="not to be read from this manifest")

    def _total(self, column: str) -> float | None:
        if self.manifest is None:
            return None
        return sum(row.get(column) or 0 for row in self.manifest.data.get("ledger", ()))

    @property
    def seconds(self) -> float | None:
        """Wall time of the whole run in seconds; None without a manifest."""
        return self._total("seconds")

    @property
    def tflop(self) -> float | None:
        """TFLOP of the whole run; None without a manifest."""
        flops = self._total("flops")
        return None if flops is None else flops / 1e12


def read(cell: Mapping[str, Any]) -> Outcome:
    """Find out what became of one cell of a plan.

    Args:
        cell: The cell's entry in the plan, with stage, key, label and params.

    Returns:
        The cell with its run's status, manifest and error.
    """
    status, manifest = runs.read(cell["stage"], cell["key"])
    outcome = Outcome(cell, status, manifest)
    if status not in ("interrupted", "missing"):
        return outcome
    if outcome.notebook is None:
        files = {path.name for path in outcome.folder.glob("*")}
        outcome.error = (cause(outcome.folder) or [""])[-1]  # of a process that ended before it saved a notebook
        outcome.status = "failed" if outcome.error else "interrupted" if files - PREPARED else "not run"
        return outcome
    node = executed(outcome.notebook)
    assert node is not None  # or `notebook` were None
    for name in ("stale", "damaged"):
        # `runner.prepare` sets such a manifest aside. Until the run is begun anew, the notebook beside it is its own.
        aside = outcome.folder / f"manifest.{name}.json"
        if aside.is_file() and (old := _parsed(aside)) and _started(node) <= old.data.get("finished", ""):
            outcome.status, outcome.manifest = name, old
            return outcome
    outcome.error = error(node) or (cause(outcome.folder)[-1] if _TRACE in _log(outcome.folder) else "")
    outcome.status = "failed" if outcome.error else "interrupted"
    return outcome


def parameters(outcomes: Sequence[Outcome]) -> list[str]:
    """Write what tells each run from its siblings of the same notebook: `arm td_bce · n 1000`.

    Args:
        outcomes: All runs of a study.

    Returns:
        One text per outcome, in their order.
    """
    texts = []
    all_params = {id(o): _by_option(o.params) for o in outcomes}
    for each in outcomes:
        params, same = all_params[id(each)], [all_params[id(o)] for o in outcomes if o.stage == each.stage]
        unshown = _UNSHOWN if each.sized else _UNSHOWN | {"n"}
        shown = [n for n in _NAMED if n in params and n not in unshown]
        shown += [n for n, v in params.items() if n not in {*shown, *unshown} and any(p.get(n) != v for p in same)]
        texts.append(" · ".join(f"{n} {_value(params[n])}" for n in shown))
    return texts


def _by_option(params: Mapping[str, Any]) -> dict[str, Any]:
    """Give every option of methods a name of its own: METHOD.OPTION."""
    tables = params.get("methods")
    options = {
        f"{method}.{option}": value
        for method, table in (tables.items() if isinstance(tables, dict) else ()) if isinstance(table, dict)
        for option, value in table.items()
    }  # fmt: skip
    return {name: value for name, value in params.items() if name != "methods"} | options


def _value(value: Any) -> str:
    return (", ".join(map(str, value)) or "all") if isinstance(value, list) else str(value)


def executed(path: Path) -> nbformat.NotebookNode | None:
    """Read an executed notebook, once for as long as it does not change.

    Args:
        path: The notebook's path; it must exist.

    Returns:
        The notebook; None if it cannot be parsed.
    """
    stat = path.stat()
    return _executed(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)
def _executed(path: Path, time_ns: int, size: int) -> nbformat.NotebookNode | None:
    try:
        return documents.read_notebook(path)
    except InputError:  # half written, or not a notebook
        return None


def error(node: nbformat.NotebookNode) -> str:
    """Return the first error of an executed notebook in one line; empty if there is none."""
    for cell in node.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {ANSI.sub('', output.evalue)}".strip()
    return ""


def _started(node: nbformat.NotebookNode) -> str:
    """When papermill began, as an ISO time comparable with a manifest's; "9", after any time, where it does not say."""
    papermill = node.metadata.get("papermill")
    start = papermill.get("start_time") if isinstance(papermill, dict) else None
    return start[:19] if isinstance(start, str) else "9"


def _parsed(path: Path) -> runs.Manifest | None:
    try:
        return manifests.read(path)
    except InputError:
        return None


def cause(folder: Path) -> list[str]:
    """Say why a cell ended, from what it has left in its folder.

    Args:
        folder: The cell's run folder.

    Returns:
        The lines of its InputError; else those of its log without papermill's traceback of itself where the log says
        anything else, such as why a kernel did not start; none where there is nothing to say.
    """
    path = folder / "notebook.ipynb"
    node = executed(path) if path.is_file() else None
    raised = error(node) if node is not None else ""
    if raised.startswith(REFUSED):
        return raised.removeprefix(REFUSED).strip().splitlines()
    log = _log(folder)
    if raised:
        return log
    said = [line for block in _blocks(log) if not _of_papermill(block) for line in block]
    said = [line for line in said if line.strip() and not line.startswith(_PAPERMILL)]
    if not said and log and "Kernel died" in log[-1]:
        return ["Kernel died without a word, as one does that the system ends for want of memory"]
    return said or [line for line in log if not line.startswith(_PAPERMILL)]


def _log(folder: Path) -> list[str]:
    log = folder / "papermill.log"
    return log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []


def _of_papermill(block: Sequence[str]) -> bool:
    return block[:1] == [_TRACE] and any("/papermill/" in line for line in block)


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    """Split a log into tracebacks, each with its error's line, and what stands between them."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        inside = blocks[-1][:1] == [_TRACE]
        if line == _TRACE or (inside and len(blocks[-1]) > 1 and not blocks[-1][-1].startswith(" ")):
            blocks.append([])
        blocks[-1].append(line)
    return blocks
