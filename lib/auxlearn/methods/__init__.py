"""What chooses rows or tasks, or weighs them, and what they share. Methods never import one another."""

from auxlearn import lazy

__getattr__ = lazy.attributes(
    __name__, {"get": "auxlearn.methods.registry", "names": "auxlearn.methods.registry"},
    {"autosem", "fastmtl", "gradts", "ranking", "tawt"},
)  # fmt: skip
