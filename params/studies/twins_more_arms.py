"""Arms of the studies of twins of MRPC, STS-B and parts of speech: one twin alone."""

from auxlearn.methods.registry import variant

for task in ("mrpc", "stsb", "pos"):
    for kind in ("twin", "shuffled"):
        variant(f"only_{task}_{kind}", "only", f"n rows of {task}_{kind}", task=f"{task}_{kind}")
