"""Which arms are compared with which: contrasts that methods name, and pairs that a study declares."""

from __future__ import annotations

from collections.abc import Sequence

from auxlearn.methods import registry

NONE = "none"  # in place of pairs: nothing is tested


def declared(tests: Sequence[str]) -> list[tuple[str, str]] | None:
    """Read the pairs that a study declares to be tested.

    Args:
        tests: Pairs as "ARM - BASELINE"; "none" alone stands for no pair.

    Returns:
        The pairs; None where nothing is declared, so that all pairs are tested.

    Raises:
        ValueError: As from `read`.
    """
    if list(tests) == [NONE]:
        return []
    return list(dict.fromkeys(map(read, tests))) if tests else None


def read(test: str) -> tuple[str, str]:
    """Read "ARM - BASELINE".

    Raises:
        ValueError: It is not of that form.
    """
    arm, dash, baseline = test.partition(" - ")
    if not dash or not arm.strip() or not baseline.strip():
        raise ValueError(f"{test!r}: name the arm and what it is compared with, as 'td_bce - random'")
    return arm.strip(), baseline.strip()


def contrasts(names: Sequence[str]) -> list[tuple[str, str]]:
    """List the pairs of arms that take an effect apart: each method and policy says what it is compared with.

    Row and task methods are compared with as many random rows, with controls that keep one thing, and with relatives;
    random rows with as many steps on the primary alone; weights with unweighted training and with weights that no
    gradient, or another source's, has moved, over the same rows.

    Args:
        names: The arms that were run.

    Returns:
        Pairs (arm, baseline) of which both were run.
    """
    pairs = []
    for name in names:
        method, policy = registry.parse(name)
        rows = name[: name.rfind("+") + 1]
        others = (
            method.contrasts if policy is None else [rows + other if other else rows[:-1] for other in policy.contrasts]
        )
        pairs += [(name, other) for other in others]
    return [pair for pair in pairs if set(pair) <= set(names)]


def tested(names: Sequence[str], tests: Sequence[str]) -> list[tuple[str, str]]:
    """List the pairs that are tested among arms, without repetition.

    Args:
        names: The arms, the baseline first.
        tests: As for `declared`; where nothing is declared, every arm against the baseline, and all contrasts.
    """
    if (pairs := declared(tests)) is not None:
        return pairs
    return list(dict.fromkeys([*((name, names[0]) for name in names[1:]), *contrasts(names)]))
