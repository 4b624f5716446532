"""Reports as HTML: pages of notebooks, the index of a study, formulas."""
