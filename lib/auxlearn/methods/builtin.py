"""The library's own methods, policies and makers: importing this module registers them, in the order of listings."""

from auxlearn.methods import controls, oracle  # noqa: F401
from auxlearn.methods.autosem import selectors as _autosem  # noqa: F401
from auxlearn.methods.balancing import aggregators, dwa, famo, gradnorm, tuned_share, uncertainty  # noqa: F401
from auxlearn.methods.fastmtl import selectors as _fastmtl  # noqa: F401
from auxlearn.methods.gradts import selectors as _gradts  # noqa: F401
from auxlearn.methods.scores import (  # noqa: F401
    bm25,
    delta_loss,
    dsir,
    graddot,
    knn,
    less,
    loss,
    rds,
    rho,
    tfidf,
)
from auxlearn.methods.task_scores import logme, surrogate, tag_affinity, taskemb, textemb  # noqa: F401
from auxlearn.methods.tawt import policies  # noqa: F401
