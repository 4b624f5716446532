"""FastMTL (Kung et al., 2021): the task discriminator, its proxies and store, calibration, cheap scorers."""

from auxlearn import lazy

__getattr__ = lazy.attributes(
    __name__,
    {
        "bce_loss": "auxlearn.methods.fastmtl.discriminator",
        "ce_loss": "auxlearn.methods.fastmtl.discriminator",
        "scores": "auxlearn.methods.fastmtl.discriminator",
    },
)
