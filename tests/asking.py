"""What methods are given in tests: an arm's parameters in one line; a context whose masks and artifacts are told."""

from typing import Any

import numpy as np

from auxlearn.methods import context, registry
from auxlearn.methods.base import Artifact, Need
from auxlearn.studies.parameters import MTL


def arm(name: str, **given: Any) -> MTL:
    """The parameters of an arm; what is an option of methods goes to all that have it."""
    methods = {each: dict(own) for each, own in given.pop("methods", {}).items()}
    for option in given.keys() - MTL.model_fields.keys():
        for home in registry.home(option):
            methods.setdefault(home, {}).setdefault(option, given[option])
    params = {name: value for name, value in given.items() if name in MTL.model_fields or not registry.home(name)}
    return MTL(arm=name, methods=methods, **params).resolved()


class Told(context.Context):
    """A context that is told which rows may be used, and what its artifacts are.

    `artifacts` holds values by the artifact's name, or functions from the seed to a value; others are made.
    """

    def __init__(self, suite, params, seed, usable=None, artifacts=None, progress=None):
        super().__init__(suite, params, seed, progress=progress)
        self.told, self.artifacts = usable, artifacts or {}

    def at(self, seed: int) -> "Told":
        return Told(self.suite, self.params, seed, self.told, self.artifacts, self.progress)

    def usable(self, target: str | None) -> dict[str, np.ndarray]:
        return super().usable(target) if self.told is None else self.told

    def make(self, need: Need) -> Artifact:
        if need.artifact not in self.artifacts:
            return super().make(need)
        value = self.artifacts[need.artifact]
        return Artifact(value(self.seed) if callable(value) else value)


def planned(p, suite, seed, usable=None, **artifacts):
    """How an arm trains what it chooses for a seed."""
    return context.select(Told(suite, p, seed, usable, artifacts))[1]


def selected(p, suite, seed, usable=None, **artifacts):
    """What an arm chooses for a seed, and the context that was charged for it."""
    asked = Told(suite, p, seed, usable, artifacts)
    return context.select(asked)[0], asked


def everything(suite) -> dict[str, np.ndarray]:
    """Masks that leave no row out."""
    return {name: np.ones(len(task.train), bool) for name, task in suite.items()}
