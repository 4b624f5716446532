"""Options by method or family: the nearer wins, what does not exist is refused."""

import pytest
from pydantic import Field

from auxlearn.methods import option_tables
from auxlearn.methods.base import Options


class Knobs(Options):
    turns: int = Field(3, ge=1)
    """how often"""
    speed: float = 1.0
    """how fast"""


def read(tables, family="knobs", name="mine"):
    return option_tables.read(Knobs, tables, family, name)


def test_defaults_then_the_family_s_then_the_method_s_own():
    assert read({}) == Knobs()
    assert read({"other": {"turns": 9}, "knob": {"turns": 9}}) == Knobs()
    assert read({"knobs": {"turns": 5, "speed": 2.0}}) == Knobs(turns=5, speed=2.0)
    assert read({"knobs": {"turns": 5, "speed": 2.0}, "mine": {"turns": 7}}) == Knobs(turns=7, speed=2.0)
    assert read({"mine": {"turns": 7}, "knobs": {"turns": 5}}) == Knobs(turns=7)  # in whatever order they are told
    assert read({"": {"turns": 7}}, family="") == Knobs(turns=7)  # of no family


def test_what_only_other_members_of_a_family_have_is_passed_over():
    assert read({"knobs": {"colour": "red", "turns": 5}}) == Knobs(turns=5)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"mine": {"colour": "red"}}, "methods: mine has no option 'colour'; it has turns, speed"),
        ({"mine": {"turn": 4}}, r"methods: mine has no option 'turn'; did you mean 'turns'\?; it has turns, speed"),
        ({"mine": {"turns": 0}}, "methods: mine: turns: Input should be greater than or equal to 1"),
        ({"knobs": {"turns": "4"}}, "methods: mine: turns: Input should be a valid integer"),
        ({"mine": {"speed": float("nan")}}, "methods: mine: speed: "),
    ],
)
def test_what_does_not_exist_or_is_not_allowed_is_refused(tables, words):
    with pytest.raises(ValueError, match=words):
        read(tables)


def test_a_method_without_options_says_so():
    with pytest.raises(ValueError, match="methods: bare has no option 'turns'; it has none"):
        option_tables.read(Options, {"bare": {"turns": 3}}, "", "bare")


def test_options_cannot_be_altered():
    with pytest.raises(ValueError, match="frozen"):
        Knobs().turns = 4
