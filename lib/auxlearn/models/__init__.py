"""Encoders of anyone, one head per task, and what makes their passes cheap. No training loop, no file of a run."""

from auxlearn import lazy

__getattr__ = lazy.attributes(__name__, {"build": "auxlearn.models.multitask", "collate": "auxlearn.models.multitask"})
