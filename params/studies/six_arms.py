"""Arms for pairwise_transfer.yaml: rows of one of the six folder tasks alone."""

from auxlearn.methods.registry import variant

for task in ("sst2", "mrpc", "stsb", "qnli", "pos_ewt", "ner_wnut17"):
    variant(f"only_{task}", "only", f"n rows of {task}", task=task)
