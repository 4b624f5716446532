"""One training loop for every plan: phases, evaluation, checkpoints, processes. It knows no method."""
