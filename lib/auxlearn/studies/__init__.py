"""Study files, the runs they ask for, their price, status and provenance. No training, no figure."""
