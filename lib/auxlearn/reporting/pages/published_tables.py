"""What the tables of a published study's page say: pairs of arms, what methods chose, parts of a ranking trained alone.

results.csv has the arms; these stand on the page alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HEADED = re.compile(
    r"<h2[^>]*>(?P<head>.*?)</h2>"
    r'|aria-label="(?P<what>Pairs of arms on|What methods choose for) (?P<primary>[^"]*)"'
    r".*?<thead>(?P<names>.*?)</thead>\s*<tbody>(?P<body>.*?)</tbody>",
    re.S,
)
COLUMNS = ("what is it that helps?", "difference", "verdict", "over seeds")  # of pairs, in whatever order
LEVEL = re.compile(r"^\d+% ")  # before the name of a column of intervals
SIZE = re.compile(r", n = ([\d,]+)")
KIND = re.compile(r": (\w+) rows among those that methods choose")
# The pool's share of rows with permuted labels, which a page's sentences alone have; once it was "(17% and 17% of …)".
PERMUTED = re.compile(r"with permuted labels \((\d+)%\)|\(\d+% and (\d+)% of the pool\)")
FEW = re.compile(r"chose rows in (\d+) of (\d+) seeds")
PART = re.compile(r"decile\.of ([\w-]+) · decile\.part (\d+)\b")
TAGS = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Pair:
    """One arm beside another, as a study's page shows it.

    Attributes:
        study: The report's folder.
        primary, arm, baseline: What was compared.
        difference, interval: As text, such as "+0.031" and "+0.015 to +0.048".
        verdict: After Holm's correction.
        p: The corrected p; None where nothing was tested.
        n: Rows that the arms add; "" where none draws any.
    """

    study: str
    primary: str
    arm: str
    baseline: str
    difference: str
    interval: str
    verdict: str
    p: float | None = None
    n: str = ""

    def as_metrics(self) -> dict[str, Any]:
        """Return what a 07's metrics hold of the pair, as far as the page tells."""
        low, _, high = self.interval.partition(" to ")
        return {
            "arm": self.arm, "baseline": self.baseline, "difference": float(self.difference), "p": self.p,
            "low": float(low) if high else None, "high": float(high) if high else None, "verdict": self.verdict,
        }  # fmt: skip


def pairs(page: str, study: str) -> list[Pair]:
    """Read the pairs of arms on a page, tested or not.

    Args:
        page: The page.
        study: The report's folder.

    Returns:
        The pairs, in the page's order.

    Raises:
        ValueError: A table of pairs is not as pages have it.
    """
    found = []
    for n, match in _tables(page, "Pairs of arms on"):
        names = [LEVEL.sub("", name) for name in cells(match["names"])]
        for line in match["body"].split("<tr>")[1:]:
            told = dict(zip(names, cells(line), strict=False))
            if not told.keys() >= set(COLUMNS):
                raise ValueError("not a table of pairs of arms")
            named, difference, verdict, interval = (told[name] for name in COLUMNS)
            verdict, _, p = verdict.partition(", p = ")
            arm, _, baseline = named.partition(" − ")
            primary = html.unescape(match["primary"])
            found.append(Pair(study, primary, arm, baseline, difference, interval, verdict, float(p) if p else None, n))
    return found


def boards(page: str) -> list[dict[str, Any]]:
    """Read what methods chose, of each 08 on a page.

    Args:
        page: The page.

    Returns:
        Of each what `study_findings.finding_chosen` takes of an 08's metrics: class, pool, pools, found.
    """
    found = []
    for match, heading in ((match, heading) for heading, match in _headed(page, "What methods choose for")):
        kind = KIND.search(heading)
        pool = re.search(r"The pool has (\d\.\d+)", page[match.end() :])
        if kind is None or pool is None:
            continue
        names = cells(match["names"])
        methods: dict[str, dict[str, Any]] = {}
        for line in match["body"].split("<tr>")[1:]:
            first, *values = cells(line)
            told = dict(zip(names[1:], values, strict=False))
            few = FEW.search(first)
            name = FEW.sub("", first).strip()
            mean = _number(told.get(f"share {kind[1]}", ""))
            seeds = int(few[1]) if few else None
            methods[name] = {"mean": mean, "seeds": seeds, "of": int(few[2]) if few else None}
            if (share := _number(told.get("share, labels permuted", ""))) is not None:
                methods[name]["shares"] = {"shuffled": share}
        most = max((row["of"] for row in methods.values() if row["of"]), default=1)
        for row in methods.values():
            row["seeds"] = most if row["seeds"] is None else row["seeds"]
        board: dict[str, Any] = {"class": kind[1], "pool": float(pool[1]), "found": methods}
        if beside := PERMUTED.search(page):
            board["pools"] = {"shuffled": int(beside[1] or beside[2]) / 100}
        found.append(board)
    return found


def parts(page: str) -> tuple[dict[str, list[tuple[float, float, float]]], str]:
    """Read the scores of parts of rankings that were trained alone.

    Args:
        page: The page.

    Returns:
        By method, the mean score of each part and its interval, that of the highest scores first; and the metric.
    """
    found: dict[str, dict[int, tuple[float, float, float]]] = {}
    metric = ""
    for line in page.split("<tr ")[1:]:
        part, value = PART.search(line), re.search(r'<td class="number" data-value="([\d.]+)"', line)
        span, name = re.search(r">([\d.]+) to ([\d.]+)<", line), re.search(r'data-value="([\w ]+), dev"', line)
        if part and value and span and name:
            own = float(value[1]), float(span[1]), float(span[2])
            found.setdefault(part[1], {})[int(part[2])] = own
            metric = name[1]
    return {method: [own[at] for at in sorted(own)] for method, own in found.items()}, metric


def cells(row: str) -> list[str]:
    """Return the texts of a table's row."""
    return [html.unescape(TAGS.sub("", cell)) for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.S)]


def _headed(page: str, what: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield the tables of a kind, each with the heading that it stands below."""
    heading = ""
    for match in HEADED.finditer(page):
        if match["head"] is not None:
            heading = html.unescape(TAGS.sub("", match["head"]))
        elif match["what"] == what:
            yield heading, match


def _tables(page: str, what: str) -> Iterator[tuple[str, re.Match[str]]]:
    for heading, match in _headed(page, what):
        size = SIZE.search(heading)
        yield size[1].replace(",", "") if size else "", match


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d+\.\d+", text) else None
