"""Every random draw has its own recorded seed, derived from the run's seed and the draw's purpose.

Deriving by hash rather than by offset keeps streams apart: seed 3's order is never seed 4's sample, and adding a draw
changes no other. Arms that share a seed share every purpose, which is what pairs them.
"""

import hashlib

import numpy as np

PURPOSES = ("sample", "holdout", "init", "order", "dropout", "ties")


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a seed for one purpose, e.g. `derive(3, "order", "tune")`.

    Args:
        seed: The run's seed.
        *purpose: What the draw is for, from the general to the particular.

    Returns:
        A 63-bit seed.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a NumPy generator for one purpose, seeded by `derive`."""
    return np.random.default_rng(derive(seed, *purpose))


def record(seed: int) -> dict[str, int]:
    """Return the derived seed of each of PURPOSES, for a run's manifest."""
    return {purpose: derive(seed, purpose) for purpose in PURPOSES}
