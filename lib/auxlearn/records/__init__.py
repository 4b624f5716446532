"""Runs on disk and whether they can be trusted: keys, manifests, locks, code hashes. No meaning of what a run found."""
