"""Nothing that the library computes has moved since its golden values were stored: see golden.py."""

import functools
import json
from typing import Literal, get_args, get_origin

import pytest

import golden
from auxlearn.studies.golden_values import ELSEWHERE, USUAL


@pytest.fixture(scope="module")
def moved():
    """How the cases of a group differ, made together with the groups that share its trainings."""

    @functools.cache
    def of(part):
        return golden.moved(part, workers=1)

    return lambda name: of(next(part for part in (*golden.PARTS, golden.UNPINNED) if name in part))


def group(name):
    return pytest.param(name, marks=pytest.mark.slow if name in golden.PARTS[0] else [])


@pytest.mark.parametrize("name", [group(name) for name in golden.NAMES])
def test_unmoved(name, moved):
    moved = moved(name)
    if name in golden.UNPINNED and name not in moved:
        pytest.skip("this processor does not multiply in bf16")
    assert golden.stored(name), f"no golden values of {name}: make golden"
    assert not moved[name], "\n".join(
        [*moved[name][:20], "where this is meant: make golden, and say why in the commit"]
    )


def test_a_difference_is_found_wherever_it_lies():
    old = {"a": {"b": [1, 2.0, "x"]}, "c": None, "d": True}
    assert not golden.differences(old, {"a": {"b": [1, 2.0 + 1e-7, "x"]}, "c": None, "d": True}, USUAL)
    for new, where in (
        ({"a": {"b": [1, 2.001, "x"]}, "c": None, "d": True}, "/a/b[1]: 2.0, now 2.001"),
        ({"a": {"b": [2, 2.0, "x"]}, "c": None, "d": True}, "/a/b[0]: 1, now 2"),
        ({"a": {"b": [1, 2.0]}, "c": None, "d": True}, "/a/b: 3 values, now 2"),
        ({"a": {"b": [1, 2.0, "y"]}, "c": None, "d": True}, "/a/b[2]: 'x', now 'y'"),
        ({"a": {"b": [1, 2.0, "x"]}, "c": 0, "d": True}, "/c: None, now 0"),
        ({"a": {"b": [1, 2.0, "x"]}, "c": None, "d": 1}, "/d: True, now 1"),
        ({"a": {"b": [1, 2.0, "x"]}, "c": None}, "/d: gone"),
        (old | {"e": 1}, "/e: new"),
    ):
        assert golden.differences(old, new, USUAL) == [where]


@pytest.mark.parametrize(("new", "near"), [
    ({"scores": 0.6, "predictions": "11" + "0" * 28}, True), ({"scores": 0.6, "predictions": "1111" + "0" * 26}, False),
    ({"scores": 0.7, "predictions": "0" * 30}, False), ({"scores": 0.6, "predictions": "0" * 29}, False),
])  # fmt: skip
def test_of_another_maker_s_processor_less_is_asked(new, near):
    old = {"scores": 0.567, "predictions": "0" * 30}
    assert (golden.differences(old, new, ELSEWHERE) == []) == near
    assert golden.differences(old, new, USUAL)


def test_the_index_names_the_arm_of_every_switch():
    said = json.loads(golden.INDEX.read_text(encoding="utf-8"))
    assert said == golden.index(), "make golden"
    assert {name.rpartition(", seed")[0] for name in golden.stored("switches")} == set(said)


def test_every_arm_weighting_and_switch_has_golden_values():
    """A new one cannot be forgotten: names come from the library, values of each switch from its parameters."""
    import arms_and_switches
    from auxlearn.studies.parameters import MODELS

    held = {name.rpartition(", seed")[0] for group in ("arms", "weights", "combined") for name in golden.stored(group)}
    assert held == set(arms_and_switches.ARMS)
    given = [switches for _, switches in arms_and_switches.SWITCHES.values()]
    for name, field in MODELS["06_mtl"].model_fields.items():
        if get_origin(field.annotation) is Literal and name not in CHECKED_ELSEWHERE:
            seen = {switches[name] for switches in given if name in switches} | {field.default}
            assert set(get_args(field.annotation)) <= seen, name


# What is no switch of a method, and "pooler", whose case is written apart.
CHECKED_ELSEWHERE = {"device", "size", "precision", "pool"}
