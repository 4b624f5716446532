"""Metrics and statistics as pure functions of predictions and scores. Nothing here loads a run or draws."""

from auxlearn import lazy

__getattr__ = lazy.attributes(__name__, {}, {"metrics", "stats"})
