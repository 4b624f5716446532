"""GradTS (Ma et al., 2021): head importance correlated, tasks and rows chosen by it."""

from auxlearn import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "head_importance": "auxlearn.signals.head_importance",
        "kendall_tau": "auxlearn.methods.gradts.correlation",
        "normalise": "auxlearn.methods.gradts.correlation",
    },
)
