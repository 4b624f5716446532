"""TAWT's rivals: weights from losses or gradients, gradients made one, and a tuned constant.

One file per idea. Each is a `WeightPolicy` over the rows of any method; nothing here chooses rows.
"""
