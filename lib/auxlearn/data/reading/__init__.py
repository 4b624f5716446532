"""Rows of files and hub data sets: found, read into columns, checked, labels to ids, and kept on disk."""
