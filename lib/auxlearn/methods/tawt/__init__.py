"""TAWT (Chen et al., 2022): task weights that follow gradients, their controls, weighted training."""

from auxlearn import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "mirror_step": "auxlearn.methods.tawt.cosine",
    },
)
