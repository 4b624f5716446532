"""2,000 hostile inputs to the loaders of outside bytes: nothing but InputError comes out (see `fuzz_loaders`)."""

import random

import fuzz_inputs
import fuzz_loaders
import pytest
from hypothesis import HealthCheck, Phase, given, settings

TOTAL = 2000
SHARES = sum(loader.share for loader in fuzz_loaders.LOADERS.values())


@pytest.mark.parametrize("loader", fuzz_loaders.LOADERS.values(), ids=lambda loader: loader.name)
def test_hostile_input_is_read_or_refused(loader, tmp_path, monkeypatch):
    monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path))  # put back after loaders that name their own

    @settings(
        max_examples=max(4, round(TOTAL * loader.share / SHARES) + 1), derandomize=True, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip
    @given(fuzz_inputs.hostile(loader.make))
    def read(data):
        fuzz_loaders.outcome(loader, tmp_path, data)

    read()


@pytest.mark.parametrize("loader", fuzz_loaders.LOADERS.values(), ids=lambda loader: loader.name)
def test_some_inputs_are_read(loader, tmp_path, monkeypatch):
    """Else a loader would be tried on what its first line refuses alone."""
    monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path))
    made = (loader.make(random.Random(number)) for number in range(3000))
    assert any(fuzz_loaders.outcome(loader, tmp_path, data)[0] == "accepted" for data in made)
