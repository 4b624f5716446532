"""Task scores: what makes a task worth training beside the primary; one file per score.

All share one rule: the best tasks, or those above a threshold, of which n rows are drawn. Scores never import one
another.
"""
