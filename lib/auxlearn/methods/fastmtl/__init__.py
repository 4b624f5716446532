"""FastMTL (Kung et al., 2021): the task discriminator, its proxies and store, calibration, cheap scorers."""
