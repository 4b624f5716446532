"""How many rows and tokens, and what encoder, a price is computed from: expected by the study file, or measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auxlearn import seeding
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.studies import parameters, study_file
from auxlearn.studies.pricing import price_fastmtl

SAMPLED = 2000  # rows a task whose tokens are counted for a price; the mean of so many is within 2 % or so


@dataclass(frozen=True)
class Sizes:
    """What a cell's price is computed from.

    Attributes:
        rows: Training rows of every task.
        tokens: Tokens computed per sequence, of all tasks alike or the mean of each.
        encoder: Its sizes, under their Hugging Face names.
        source: Where the figures are from, for people.
    """

    rows: dict[str, int]
    tokens: price_fastmtl.Length
    encoder: Any
    source: str


class Sizer:
    """Rows, tokens and encoder of cells, read once for all that share them.

    Args:
        file: The study file, whose `expects` is used if it has one.
    """

    def __init__(self, file: study_file.StudyFile):
        self.expects, self.encoder = file.expects, ""
        self.known: dict[tuple[Any, ...], Sizes] = {}

    def of(self, p: parameters.Common) -> Sizes:
        """Return a cell's sizes.

        Args:
            p: The cell's parameters.

        Returns:
            The sizes, as expected by the file or as measured.

        Raises:
            InputError: If the file's `expects` describes another encoder, or suite or encoder cannot be read.
        """
        at = (p.suite, p.rows, p.encoder, p.max_length)
        if at not in self.known:
            self.known[at] = self._expected(p) if self.expects else measured(p)
        return self.known[at]

    def _expected(self, p: parameters.Common) -> Sizes:
        assert self.expects is not None
        self.encoder = self.encoder or p.encoder
        if p.encoder != self.encoder:
            raise InputError(f"expects describes one encoder, but the study has {self.encoder} and {p.encoder}")
        source = "rows, tokens and encoder as the file's `expects` has them"
        return Sizes(self.expects.capped(p.rows), self.expects.tokens, self.expects.encoder, source)


def measured(p: parameters.Common) -> Sizes:
    """Measure sizes from the suite's own rows and the encoder's own tokenizer.

    Args:
        p: Parameters of a cell.

    Returns:
        The sizes; tokens are means over at most `SAMPLED` rows per task.

    Raises:
        InputError: If the suite or the encoder is not at hand.
    """
    from auxlearn.data import batching
    from auxlearn.models import encoders, multitask

    try:
        suite = suites.load(p.suite, p.rows)
        name, layers = encoders.parse(p.encoder)
        if name in encoders.NAMED:
            net = multitask.build(p.encoder, suite)
            config, tokenizer = net.encoder.config, net.tokenizer
        else:  # a price needs no weights
            config, tokenizer = encoders.described(name, layers)
    except InputError as error:
        raise InputError(
            f"{error}. To price a study without its data or encoder, say under `expects` what they hold"
        ) from None
    limit = min(p.max_length, getattr(config, "max_position_embeddings", None) or p.max_length)
    rows, tokens = {}, {}
    for name, task in suite.items():
        rows[name] = len(task.train)
        some = seeding.rng(0, "price", name).permutation(len(task.train))[:SAMPLED]
        tokens[name] = float(batching.encode(task.train.select(some.tolist()), task, tokenizer, limit).lengths.mean())
    shown = ", ".join(f"{name} {tokens[name]:.0f}" for name in tokens)
    return Sizes(rows, tokens, config, f"rows of {p.suite}; mean tokens by {p.encoder}, measured: {shown}")
