"""How many rows and tokens, and what encoder, a forecast counts over: expected by the study file, or measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from auxlearn import seeding
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.methods.forecasting import Sizes
from auxlearn.studies import study_file
from auxlearn.training import counting
from auxlearn.training.counting import Tokens
from auxlearn.training.shared_parameters import Common

SAMPLED = 2000  # rows of a split that are tokenised; they stand for the others


class Sizer:
    """Sizes of cells, found once for all that share them.

    Args:
        file: The study file, whose `expects` is used if it has one.
    """

    def __init__(self, file: study_file.StudyFile):
        self.expects, self.encoder = file.expects, ""
        self.known: dict[tuple[Any, ...], Sizes] = {}

    def of(self, p: Common) -> Sizes:
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

    def _expected(self, p: Common) -> Sizes:
        assert self.expects is not None
        self.encoder = self.encoder or p.encoder
        if p.encoder != self.encoder:
            raise InputError(f"expects describes one encoder, but the study has {self.encoder} and {p.encoder}")
        source = "rows, tokens and encoder as the file's `expects` has them; dev splits, which it does not, left out"
        return given_sizes(self.expects.capped(p.rows), self.expects.tokens, self.expects.encoder, source)


def given_sizes(rows: Mapping[str, int], tokens: float | Mapping[str, float], encoder: Any, source: str) -> Sizes:
    """Make sizes of counts and mean lengths.

    Args:
        rows: Training rows of every task.
        tokens: Tokens per row, of all tasks alike or the mean of each.
        encoder: The encoder's sizes, under their Hugging Face names.
        source: Where the figures are from.

    Returns:
        Sizes whose rows are as long as the mean, as nearly as whole tokens allow; dev splits are empty.
    """
    lengths = {}
    for name, count in rows.items():
        mean = tokens[name] if isinstance(tokens, Mapping) else tokens
        each = np.diff(np.floor(np.arange(count + 1) * mean + 0.5)).astype(np.int64)
        lengths[name] = {"train": Tokens(each), "dev": Tokens(np.zeros(0, np.int64))}
    return Sizes(lengths, encoder, source)


def measured(p: Common) -> Sizes:
    """Measure sizes from the suite's own rows and the encoder's own tokenizer.

    Args:
        p: Parameters of a cell.

    Returns:
        The sizes. Of a split of more than `SAMPLED` rows so many, drawn at random, stand for all.

    Raises:
        InputError: If the suite or the encoder is not at hand.
    """
    from auxlearn.models import encoder_files, encoders, multitask

    try:
        suite = suites.load(p.suite, p.rows)
        name, layers = encoder_files.parse(p.encoder)
        if name in encoder_files.NAMED:
            net = multitask.build(p.encoder, suite)
            config, tokenizer = net.encoder.config, net.tokenizer
        else:  # a forecast needs no weights
            config, tokenizer = encoders.described(name, layers)
    except InputError as error:
        raise InputError(
            f"{error}. To price a study without its data or encoder, say under `expects` what they hold"
        ) from None
    sample = _sampled(suite)
    lengths = counting.tokens(sample, tokenizer, encoders.most_tokens(config, p.max_length))
    means = ", ".join(f"{name} {splits['train'].lengths.mean():.0f}" for name, splits in lengths.items())
    whole = {
        name: {split: _repeated(lengths[name][split], len(getattr(task, split))) for split in ("train", "dev")}
        for name, task in suite.items()
    }
    return Sizes(whole, config, f"rows of {p.suite}; mean tokens by {p.encoder}, measured: {means}")


def _sampled(suite: suites.Suite) -> suites.Suite:
    """Return the suite with at most SAMPLED rows of each split."""
    from dataclasses import replace

    tasks = {}
    for name, task in suite.items():
        splits = {}
        for split in ("train", "dev"):
            rows = getattr(task, split)
            if len(rows) > SAMPLED:
                some = seeding.rng(0, "price", name, split).permutation(len(rows))[:SAMPLED]
                rows = rows.select(some.tolist())
            splits[split] = rows
        tasks[name] = replace(task, **splits)
    return suites.Suite(suite.name, tasks, suite.fingerprint)


def _repeated(tokens: Tokens, rows: int) -> Tokens:
    """Repeat the lengths of sampled rows until there are as many rows as there should be."""
    known = len(tokens) if tokens.rows is None else int(tokens.rows[-1]) + 1
    if known >= rows or not known:
        return tokens
    return tokens.take(np.resize(np.arange(known), rows))
