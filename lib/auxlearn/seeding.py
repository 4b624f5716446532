"""Every random draw has its own recorded seed, derived from the run's seed and the draw's purpose.

Deriving by hash rather than by offset keeps streams apart: seed 3's order is never seed 4's sample, and adding a draw
changes no other. Arms that share a seed share every purpose, which is what pairs them.
"""

import hashlib

import numpy as np

PURPOSES = ("sample", "holdout", "init", "order", "dropout", "ties")


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. `derive(3, "order", "tune")`."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derive(seed, *purpose))


def record(seed: int) -> dict[str, int]:
    """The derived seeds of a run, for its manifest."""
    return {purpose: derive(seed, purpose) for purpose in PURPOSES}
