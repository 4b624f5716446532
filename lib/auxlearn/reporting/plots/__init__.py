"""One function a figure, one house style. No statistic is computed here."""
