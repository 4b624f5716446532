"""Metrics and statistics as pure functions of predictions and scores. Nothing here loads a run or draws."""
