"""The one error a user meets for bad input: it names the file, row or parameter, and the remedy."""


class InputError(ValueError):
    """Something the user gave (a file, a row, a parameter, a run folder) cannot be used as it is."""
