"""AUTOSEM (Guo et al., 2019): a bandit over tasks, then a search for mixing ratios."""
