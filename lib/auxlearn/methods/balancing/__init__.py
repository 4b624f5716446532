"""Weights from losses (uncertainty, DWA, FAMO) and gradients made one (PCGrad and others): the rivals of TAWT.

One file per idea. Each is a `WeightPolicy` over the rows of any method; nothing here chooses rows.
"""
