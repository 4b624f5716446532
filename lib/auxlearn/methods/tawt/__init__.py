"""TAWT (Chen et al., 2022): task weights that follow gradients, their controls, weighted training."""
