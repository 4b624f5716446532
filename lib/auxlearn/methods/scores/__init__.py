"""Row scores: what makes a row alike to the primary's rows, or worth training on; one file per score.

A score and a selection rule (`methods.rules`) make a method; scores never import one another.
"""
