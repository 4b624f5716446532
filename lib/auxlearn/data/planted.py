"""Generated tasks whose transfer structure is known.

Every text is made of pseudo-words from a hidden structure: three *domains* (home, away, mask), each with
four topics, each topic with its own content words; and function words, some everyone's, some a domain's own.
Topics 0 and 1 are one side, 2 and 3 the other. The primary asks on which side of the home domain a pair of
sentences is. It has too few rows to meet a home word more than once or twice, so alone it scores above chance
but low; whatever else teaches which home words belong together closes the gap.

`PLAN` declares the tasks, and `WHY` what each has to do with the primary.

Some content words of every row are of another domain, so no single word tells the domains apart.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from auxlearn.data.schema import Kind

PRIMARY = "topic_side"
TOPICS = 4  # per domain
WORDS = 780  # per topic of home and away; all words together fit the tiny encoder's vocabulary
MASK_WORDS = 400  # per topic of mask
GROUPS = 4  # kinds of word, as cross_group sees them: word number i of any topic is of kind i % GROUPS
FUNCTION = 15  # function words in each register
SHORTEST, LONGEST = 6, 11  # words in a sentence
P_FUNCTION = 0.35  # a word is a function word
P_REGISTER = 0.4  # a function word is of the domain's own register, not of everyone's
P_ON_TOPIC = 0.6  # a content word is of the topic (or group), not of any
P_FOREIGN = np.array([0.1, 0.1, 0.15])  # a content word is of another domain
HOME, AWAY, MASK = range(3)
FOREIGN = np.array([AWAY, HOME, HOME])  # the other domain
REGISTER = np.array([1, 2, 1])  # mask leans to the same function words as home; register 0 is everyone's
PAIR, ONE, TOKENS = ("sentence1", "sentence2"), ("sentence1",), ("tokens",)
TAGS = ("function", "class_0", "class_1", "class_2")


@dataclass(frozen=True)
class PlantedTask:
    """One generated task: what a loader must know, and its rows.

    A row holds the `inputs`, the `label` column (class number, float or list of tag numbers) and `helpful`: whether it
    was generated to help the primary (True in the primary's own rows).
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    label: str
    labels: tuple[str, ...] | None
    range: tuple[float, float] | None
    metric: str
    role: str
    train: list[dict]
    dev: list[dict]
    test: list[dict]


def _names(stem: str, n: int) -> tuple[str, ...]:
    return tuple(f"{stem}_{i}" for i in range(n))


# name: (role, kind, inputs, labels, range, metric)
PLAN: dict[str, tuple] = {
    "topic_side": ("primary", "classification", PAIR, ("left", "right"), None, "accuracy"),
    "topic_name": ("helpful", "classification", PAIR, _names("topic", TOPICS), None, "accuracy"),
    "topic_mixed": ("half_helpful", "classification", PAIR, _names("topic", TOPICS), None, "accuracy"),
    "away_topic": ("unrelated", "classification", ONE, _names("topic", TOPICS), None, "accuracy"),
    "cross_group": ("harmful", "classification", ONE, _names("group", GROUPS), None, "accuracy"),
    "side_share": ("regression", "regression", PAIR, None, (0.0, 5.0), "pearson"),
    "word_class": ("tagging", "tagging", TOKENS, TAGS, None, "accuracy"),
    "look_alike": ("surface_trap", "classification", PAIR, _names("topic", TOPICS), None, "accuracy"),
}


# What a task's rows are, and what they teach of the primary's words.
WHY: dict[str, str] = {
    "topic_side": "pairs of home sentences, by the side of their topic; too few rows to learn the home words from",
    "topic_name": "pairs of home sentences, by topic: teaches which home words belong together",
    "topic_mixed": "pairs by topic, half of them home, half away: the away half teaches words of no use",
    "away_topic": "single away sentences, by topic: words that the primary does not use",
    "cross_group": "single home sentences, by a kind of word that cuts across the topics: pulls them together",
    "side_share": "pairs of away sentences, by their share of the second side: words of no use",
    "word_class": "away sentences, the class of each word: words of no use",
    "look_alike": "pairs by topic in words of a third domain; function words, lengths and format as the primary's",
}


def _stream(seed: int, *names: str) -> np.random.Generator:
    """Return a generator of its own for each (seed, names), so that no size changes another split's draws."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _lexicon(seed: int) -> np.ndarray:
    """Make all words: three registers of function words (one syllable), then content words (three), all distinct.

    Content word `i` of topic t in domain d stands at 3 * FUNCTION + (d * TOPICS + t) * WORDS + i.
    """
    rng = _stream(seed, "lexicon")
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    size = len(syllables)
    function = [syllables[i] for i in rng.permutation(size)[: 3 * FUNCTION]]
    codes = rng.permutation(size**3)[: 3 * TOPICS * WORDS].tolist()
    content = [syllables[c // size**2] + syllables[c // size % size] + syllables[c % size] for c in codes]
    return np.array(function + content, dtype=object)


def _sentences(
    rng: np.random.Generator, domain: np.ndarray, topic: np.ndarray, group: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return word numbers (rows, LONGEST) and lengths of one sentence per row, about its `topic` in its `domain`.

    With `group` the words come from every topic alike, and the group says which of a topic's words.
    """
    shape = (len(topic), LONGEST)
    length = rng.integers(SHORTEST, LONGEST + 1, len(topic))
    on_topic = rng.random(shape) < P_ON_TOPIC
    foreign = rng.random(shape) < P_FOREIGN[domain][:, None]
    about, index = rng.integers(0, TOPICS, shape), rng.integers(0, WORDS, shape)
    if group is None:
        about = np.where(on_topic & ~foreign, topic[:, None], about)
    else:
        index = np.where(on_topic & ~foreign, index // GROUPS * GROUPS + group[:, None], index)
    place = np.where(foreign, FOREIGN[domain][:, None], domain[:, None])
    index = np.where(place == MASK, index % MASK_WORDS, index)
    content = 3 * FUNCTION + (place * TOPICS + about) * WORDS + index
    register = np.where(rng.random(shape) < P_REGISTER, REGISTER[domain][:, None], 0)
    function = register * FUNCTION + rng.integers(0, FUNCTION, shape)
    return np.where(rng.random(shape) < P_FUNCTION, function, content), length


def _cut(table: np.ndarray, length: np.ndarray) -> list[list]:
    """Cut each row of `table` to its length."""
    return [row[:n] for row, n in zip(table.tolist(), length.tolist(), strict=True)]


def _build(name: str, rng: np.random.Generator, words: np.ndarray, n: int) -> list[dict]:
    """Generate the n rows of one split of one task; labels are balanced in expectation, the primary's exactly."""
    side = rng.permutation(np.arange(n) % 2)
    half = TOPICS // 2
    topic = side * half + rng.integers(0, half, n)
    domain = np.full(n, {"look_alike": MASK}.get(name, HOME))
    if name in ("away_topic", "side_share", "word_class"):
        domain[:] = AWAY
    if name == "topic_mixed":
        domain = np.where(rng.random(n) < 0.5, HOME, AWAY)
    role, kind, inputs = PLAN[name][:3]
    helpful = (domain == HOME) & (role != "harmful")
    group = rng.integers(0, GROUPS, n) if role == "harmful" else None
    other = (1 - side) * half + rng.integers(0, half, n)
    share = rng.random((n, 1))  # of the pair's topic, the rest is `other`; regression only

    columns: dict[str, list] = {}
    for column in inputs:
        ids, length = _sentences(rng, domain, topic, group)
        if kind == "regression":
            ids = np.where(rng.random(ids.shape) < share, ids, _sentences(rng, domain, other)[0])
        tokens = _cut(words[ids], length)
        if kind == "tagging":
            columns["tokens"] = tokens
            columns["tags"] = _cut(np.where(ids < 3 * FUNCTION, 0, 1 + ids % (len(TAGS) - 1)), length)
        else:
            columns[column] = [" ".join(t) for t in tokens]
    if kind == "regression":
        columns["label"] = (5 * np.where(side == 1, share[:, 0], 1 - share[:, 0])).round(3).tolist()
    elif kind == "classification":
        columns["label"] = (side if role == "primary" else topic if group is None else group).tolist()
    columns["helpful"] = helpful.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def make(
    seed: int = 0, primary_rows: int = 200, rows: int = 2000, dev_rows: int = 1000, test_rows: int = 1000
) -> dict[str, PlantedTask]:
    """Generate the whole suite, deterministic from `seed`; the size of one split changes no other split.

    Args:
        seed: Seed of the words and of all rows.
        primary_rows: Training rows of the primary.
        rows: Training rows of every other task.
        dev_rows: Dev rows of every task.
        test_rows: Test rows of every task.

    Returns:
        The tasks by name, primary first.
    """
    words = _lexicon(seed)
    suite = {}
    for name, (role, kind, inputs, labels, limits, metric) in PLAN.items():
        sizes = {"train": primary_rows if name == PRIMARY else rows, "dev": dev_rows, "test": test_rows}
        splits = {split: _build(name, _stream(seed, name, split), words, n) for split, n in sizes.items()}
        label = "tags" if kind == "tagging" else "label"
        suite[name] = PlantedTask(name, kind, inputs, label, labels, limits, metric, role, **splits)
    return suite
