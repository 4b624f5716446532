"""Arms of the twins studies: one auxiliary of params/suites/twins_sst2.yaml alone, whose truth is known or guessed."""

from auxlearn.methods.registry import variant

for task in ("sst2_twin", "sst2_shuffled", "meld", "cola", "stsb", "pos_ewt"):
    variant(f"only_{task}", "only", f"n rows of {task}", task=task)
