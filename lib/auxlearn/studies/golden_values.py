"""Golden values: what the library computes on small inputs, a file per group of cases, and which runs a case is of.

A test fails where the code gives other values, and a value may move only with the change that is meant to move it. So
where the code of a run has moved on, these values say whether its results would: a case counts for a run if it pins a
building block that all runs share, or the run's own method (`Cases`). Numbers are compared within a tolerance, the rest
exactly. A case that was added says nothing; one that moved or went away does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxlearn.files import documents
from auxlearn.records import code_hash, manifests

GOLDEN, VALUES, INDEX = "tests/golden", "tests/golden/values", "tests/golden/index.json"
# Relative, or absolute below 1: far below what any change of a formula moves, above what another processor's last bits
# do. In bf16 kernels cannot be pinned.
TOLERANCE = {"minilm fp32": 1e-3, "minilm bf16": 0.05}
USUAL = 1e-5
# The same kernels differ in last bits between makers of processors, and trainings amplify it: cosines of noise, heads
# that matter alike, a row or two of thirty on the other side of a boundary.
ELSEWHERE, FLIPPED = 0.05, 0.1
Values = Mapping[str, Mapping[str, Any]]  # group -> case -> value
Case = tuple[str, str]  # group, case


def differences(old: Any, new: Any, tolerance: float, at: str = "") -> list[str]:
    """List where two values differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone, added = old.keys() - new.keys(), new.keys() - old.keys()
        said = [f"{at}/{name}: gone" for name in sorted(gone)] + [f"{at}/{name}: new" for name in sorted(added)]
        return said + [
            line for name in old if name in new for line in differences(old[name], new[name], tolerance, f"{at}/{name}")
        ]
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return [f"{at}: {len(old)} values, now {len(new)}"]
        return [
            line
            for i, pair in enumerate(zip(old, new, strict=True))
            for line in differences(*pair, tolerance, f"{at}[{i}]")
        ]
    if (isinstance(old, float) and isinstance(new, (int, float))) or (isinstance(new, float) and isinstance(old, int)):
        near = math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance)
        return [] if near else [f"{at}: {old!r}, now {new!r}"]
    if tolerance >= ELSEWHERE and isinstance(old, str) and isinstance(new, str) and _flipped(old, new) <= FLIPPED:
        return []
    return [] if old == new and type(old) is type(new) else [f"{at}: {old!r}, now {new!r}"]


def _flipped(old: str, new: str) -> float:
    """Return the share of predictions, a digit each, that differ; 1 of other texts."""
    if len(old) != len(new) or not (old.isdigit() and new.isdigit()):
        return 1.0
    return sum(a != b for a, b in zip(old, new, strict=True)) / len(old)


# --- which cases count for which runs --------------------------------------------------------------------------------

EVERY = "every"  # the family of what all runs share
COMPARISON = "comparison"  # of arms, over seeds and rows: 07
# Controls choose by no method of their own; where they move, so does every training.
CONTROLS = {"single", "step_matched", "step_matched_all", "random", "all_data"}
_RANKED = ("td_", "quota_", "calibrated_", "cie_", "matched_")
_WEIGHED = re.compile(
    r"((tawt|null|shuffled|final)_)?(joint|normalised|pretrain|power|given|scored|deciles)(_\w+)?|share_\d+"
)  # fmt: skip  # a variant's name goes on from its method's
_OF_GROUPS = {
    "proxies": "fastmtl", "cascade": "fastmtl", "fastmtl": "fastmtl", "heads": "gradts", "gradts": "gradts",
    "autosem": "autosem", "tawt": "tawt", "selection": EVERY, "gradients": EVERY, "data": EVERY,
    "minilm fp32": EVERY, "minilm bf16": EVERY,
}  # fmt: skip
_ARMS = ("arms", "weights", "combined")
_OF_STAGES = {
    "02_td_proxy": "fastmtl", "03_ranking": "fastmtl", "04_gradts_correlation": "gradts", "05_tawt_weighting": "tawt",
    "07_efficiency": COMPARISON, "importance": "gradts", "early_exit": "fastmtl",
}  # fmt: skip
_JUDGING = ("03_ranking", "04_gradts_correlation", "08_validity")  # they print intervals and tests of their own
_FILE_PER_ARM = ("scores", "task_scores", "balancing")  # packages whose modules are named as their arms
_OLD_ROOTS = {"weighted_training": "tawt", "bandit_training": "autosem"}  # before modules lay in packages
CARRIER = "td_bce"  # the arm that the cases of switches are of which every arm has


def of_arm(arm: str) -> frozenset[str]:
    """Return the families of methods that an arm's rows and weights are of; empty for a control.

    A method that is not known here is a family of its own.
    """
    found = set()
    for name in arm.split("+"):
        if name.startswith(_RANKED):
            found.add("fastmtl")
        elif name.startswith(("gradts_", "autosem")):
            found.add(name.partition("_")[0])
        elif _WEIGHED.fullmatch(name):
            found.add("tawt")
        elif name not in CONTROLS:
            found.add(name)
    return frozenset(found)


def of_run(stage: str, arm: str | None, roots: Iterable[str] = ()) -> frozenset[str] | None:
    """Return the families of methods that a run is of.

    Args:
        stage: Its stage.
        arm: The arm that it trains, where that is recorded.
        roots: The roots of its code.

    Returns:
        The families; None where the arm is not recorded, so that any may be.
    """
    found = {_OF_STAGES[stage]} if stage in _OF_STAGES else set()
    if stage in _JUDGING:
        found.add(COMPARISON)
    for root in roots:
        first, _, rest = root.partition(".")
        if first == "methods" and rest:
            package, _, module = rest.partition(".")
            found.add(package)
            if package in _FILE_PER_ARM:
                found.add(module)
        elif root in _OLD_ROOTS:
            found.add(_OLD_ROOTS[root])
    if stage == "06_mtl" and arm is None:
        return None
    return frozenset(found | (of_arm(arm) if arm else set()))


@dataclass(frozen=True)
class Cases:
    """Which cases count for runs of which families.

    Args:
        index: The arm of each case of a switch, as `tests/golden/index.json` has it.
    """

    index: Mapping[str, str]

    def families(self, group: str, case: str) -> frozenset[str]:
        """Return the families that a case counts for; EVERY among them where it does for all, none for no run."""
        name = case.rpartition(", seed")[0] or case
        if group == "keys" or (group == "cost" and name.startswith(("price", "forecast"))):
            return frozenset()  # what names a run, and what it would cost, are no result of it
        if group == "statistics":
            return frozenset({EVERY if name.startswith(("metrics", "by counts", "by row")) else COMPARISON})
        if group == "autosem" and name.startswith("schedule"):
            return frozenset({EVERY})  # how any plan mixes tasks
        if group in _ARMS or (group == "switches" and name in self.index):
            arm = name if group in _ARMS else self.index[name]
            return of_arm(arm) or frozenset({EVERY})
        known = (code_hash.PACKAGE / "methods" / group).is_dir() or (
            code_hash.PACKAGE / f"methods/{group}.py"
        ).is_file()
        return frozenset({_OF_GROUPS.get(group, group if known else EVERY)})

    def counting(self, cases: Iterable[Case], families: Collection[str] | None) -> list[Case]:
        """Return those of some cases that moved which count for runs of some families.

        A switch that every arm has is pinned with one arm. It counts for all runs where that arm without the switch has
        not moved.

        Args:
            cases: Cases that moved.
            families: The families, None for any.
        """
        moved = list(cases)
        carrier = any(group == "arms" and case.startswith(f"{CARRIER}, ") for group, case in moved)
        found = []
        for group, case in moved:
            of = self.families(group, case)
            shared = group == "switches" and not carrier and self.index.get(case.rpartition(", seed")[0]) == CARRIER
            if of and (families is None or EVERY in of or shared or of & set(families)):
                found.append((group, case))
        return found


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the golden values of a folder; empty where there are none.

    Raises:
        InputError: If a file is not JSON.
    """
    return {path.stem: documents.read_object(path, "make golden") for path in sorted(folder.glob("*.json"))}


def digests(project: Path) -> dict[str, dict[str, str]]:
    """Hash each golden value of a checkout, for a report to record; empty where there are none, as beside a wheel."""
    return {
        group: {case: manifests.digest(value) for case, value in cases.items()}
        for group, cases in stored(project / VALUES).items()
    }


def moved(old: Values, new: Values) -> dict[Case, str]:
    """Find the cases of the old values that differ in the new ones or are not there, with the first difference."""
    found = {}
    for group, cases in old.items():
        for case, value in cases.items():
            if case not in new.get(group, {}):
                found[group, case] = "gone"
            elif lines := differences(value, new[group][case], TOLERANCE.get(group, USUAL)):
                found[group, case] = lines[0].removeprefix(": ")
    return found
