"""What leaves for other programs: selections, predictions, models, GLUE submissions. Nothing here trains."""
