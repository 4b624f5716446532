"""Encoders of anyone, one head per task, and what makes their passes cheap. No training loop, no file of a run."""
