"""Notebooks that are checked side by side (`make test`): each worker has a run folder of its own, since a run has one writer."""

import os


def pytest_configure(config):
    if worker := getattr(config, "workerinput", {}).get("workerid"):
        os.environ["AUXLEARN_RUNS"] = os.path.join(os.environ.get("AUXLEARN_RUNS", "runs"), worker)
