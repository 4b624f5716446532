"""The list of tests that `make test` leaves to `make test-slow` names tests that there are, and leaves what it says."""

from pathlib import Path

import pytest

import long_forms

TESTS = Path(__file__).parents[1]
NAMED = [(path, function) for path, functions in long_forms.LONG.items() for function in functions]


@pytest.mark.parametrize(("path", "function"), NAMED)
def test_a_test_that_is_named_is_there(path, function):
    assert f"def {function}(" in (TESTS / path).read_text()


def test_a_form_that_is_said_to_stay_does(request):
    items = request.session.items
    here = {(item.path.relative_to(TESTS).as_posix(), getattr(item, "originalname", "")) for item in items}
    if len({path for path, _ in here}) < len(long_forms.LONG):
        pytest.skip("some tests were asked for, not all")
    staying = {(path, function) for path, function in NAMED if long_forms.LONG[path][function] is not None}
    assert not staying - here
