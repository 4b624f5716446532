"""Runs the cells of a study: Snakemake, jobs, profiles, GPU leases."""
