"""auxlearn: which auxiliary data helps a small NLP task, and what does finding out cost?

Each module holds one idea; `docs/architecture.md` maps the packages. Nothing heavy is imported here, so that the
command line, the planner and every notebook start quickly.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from auxlearn import lazy

if TYPE_CHECKING:
    from auxlearn.api.checking import check as check
    from auxlearn.api.comparing import Comparison as Comparison
    from auxlearn.api.comparing import compare as compare
    from auxlearn.api.selecting import Selection as Selection
    from auxlearn.api.selecting import select as select
    from auxlearn.data.suites import Suite

# The Rust tokenizers warn and deadlock-guard when a process that used their threads forks; rows are tokenised once.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Progress bars and load reports differ from run to run, and a checked notebook must not.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

__version__ = "0.1.0"

__getattr__ = lazy.attributes(
    __name__,
    {
        "Suite": "auxlearn.data.suites",
        "select": "auxlearn.api.selecting", "Selection": "auxlearn.api.selecting",
        "compare": "auxlearn.api.comparing", "Comparison": "auxlearn.api.comparing",
        "check": "auxlearn.api.checking",
    },
    {"cost", "data", "errors", "evaluation", "export", "methods", "models"},
)  # fmt: skip


def planted() -> Suite:
    """Make the planted suite: generated tasks whose transfer structure is known (`data.planted`)."""
    from auxlearn.data import suites

    return suites.Suite.from_yaml("planted")
