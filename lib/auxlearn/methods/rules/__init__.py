"""Selection rules: from the similarity of every candidate row with every target row to exactly n rows.

One file per rule, pure functions all. What a similarity means is the scores' matter (`methods.scores`).
"""
