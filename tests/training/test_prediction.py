"""Predictions: one a row, also of a row that was cut into several sequences."""

import numpy as np
import pytest

from auxlearn.training import prediction


@pytest.mark.parametrize("rows", [[0, 1, 1, 2], [0, 0, 1, 1]])
def test_sequences_are_joined_to_their_rows_and_to_no_more(rows):
    """Whether or not the last row was cut."""
    parts = [[1], [2, 3], [4], [5]]
    wanted = {2: [[1], [2, 3, 4], [5]], 1: [[1, 2, 3], [4, 5]]}[rows[-1]]
    assert prediction._joined(parts, np.array(rows)) == wanted
    assert prediction._joined(parts, None) == parts
