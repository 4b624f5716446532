"""What rules read and give: similarities of N candidates with Q targets, block by block; the n rows that are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CELLS = 1 << 22  # similarities in a block: 16 MB in fp32


@dataclass(frozen=True)
class Similarities:
    """Similarities of N candidate rows with Q target rows, higher is more alike.

    They are computed when they are read, so that memory does not grow with N times Q; reading them again gives the same
    numbers.

    Attributes:
        size: The number of candidates, N.
        targets: The number of targets, Q.
        at: Returns the similarities of some candidates, given as a slice or as positions: float [B, Q].
        bounds: What they cannot leave, such as (-1, 1) for cosines; None where that is not known.
    """

    size: int
    targets: int
    at: Callable[[slice | np.ndarray], np.ndarray]
    bounds: tuple[float, float] | None = None

    @classmethod
    def of(cls, matrix: np.ndarray, bounds: tuple[float, float] | None = None) -> Similarities:
        """Wrap similarities that are in memory, float [N, Q]; one score per row may come as [N]."""
        matrix = np.asarray(matrix)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
        return cls(matrix.shape[0], matrix.shape[1], matrix.__getitem__, bounds)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield all similarities: the candidates of a block, and float [B, Q].

        Raises:
            ValueError: One is NaN.
        """
        rows = max(1, CELLS // max(1, self.targets))
        for start in range(0, self.size, rows):
            part = slice(start, min(start + rows, self.size))
            block = self.at(part)
            if np.isnan(block).any():
                bad = start + int(np.flatnonzero(np.isnan(block).any(1))[0])
                raise ValueError(f"scores: row {bad} is NaN; a rule needs a number for every row")
            yield part, block

    def reduced(self, by: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return one number per candidate, float64 [N], from the blocks' similarities with all targets."""
        out = np.empty(self.size)
        for part, block in self.blocks():
            out[part] = by(block)
        return out

    def means(self) -> np.ndarray:
        """Return each candidate's mean over the targets, float64 [N]."""
        return self.reduced(lambda block: block.mean(1, dtype=np.float64))


class Choice(NamedTuple):
    """What a rule takes, and by what score."""

    rows: np.ndarray  # int64 [n], distinct positions, best first
    scores: np.ndarray  # float64 [N], of all candidates; higher is better
