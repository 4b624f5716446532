"""AUTOSEM (Guo et al., 2019): a bandit over tasks, then a search for mixing ratios."""

from auxlearn import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "Bandit": "auxlearn.methods.autosem.bandits",
    },
)
