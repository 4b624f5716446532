"""What a study would cost in FLOPs, before anything is run."""
