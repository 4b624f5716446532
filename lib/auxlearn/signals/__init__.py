"""What one pass over rows reads off a model, and its store on disk. Nothing here decides what to do with it."""
