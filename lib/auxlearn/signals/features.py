"""What a row looks like apart from what it says: surface cues, and the baseline built on them.

A task discriminator learns whatever tells tasks apart, and benchmark tasks differ in form: one text or two, length,
casing, tokenisation, a question mark in its place. A row that scores as "similar to the primary" may only be formatted
like it. The surface baseline learns to tell the same tasks from the same rows but sees no word, so its AUC beside the
discriminator's says how much of the separation form alone explains. It is a linear model of a few cues: what it finds
is a lower bound of what form gives away.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from datasets import Dataset

    from auxlearn.cost import Ledger
    from auxlearn.data.suites import Suite, Task

ABSENT = -1e4  # log-probability of a task the baseline never saw: finite, so that every score and AUC stays defined
PUNCTUATION = string.punctuation + "“”‘’„«»…–—¿¡"
CLOSING = ".,;:!?)]}"  # never after a space in running text; after one in tokenised text
QUOTES = '"“”„«»`'
CUES = (
    "chars", "words", "upper", "first_upper", "digits", "punctuation", "spaced", "ends_period", "ends_question",
    "ends_exclamation", "question", "quotes",
)  # fmt: skip
COLUMNS = ("texts", "ratio", *(f"{cue}_{text}" for text in (1, 2) for cue in CUES))
CHUNK = 10_000  # rows whose characters are looked at together: some 100 MB
MAX_ITER = 2000


def surface(rows: Dataset | Sequence[Mapping[str, Any]], task: Task) -> pd.DataFrame:
    """Describe the form of rows without their words.

    `texts` is the number of input texts, `ratio` the characters of the second over those of the first. For each text,
    with suffix `_1` or `_2` (all 0 for an absent second one): `chars` and `words` (split at white space) are counts;
    `upper` is a share of letters, `digits` and `punctuation` are shares of characters; the rest is 0 or 1:
    `first_upper` (the first letter is upper-case), `spaced` (white space before closing punctuation, as tokenised text
    has), `ends_period`, `ends_question`, `ends_exclamation` (the last visible character), `question` (a question mark
    anywhere) and `quotes`. A tagging task's tokens are joined by spaces.

    Args:
        rows: N rows of the task.
        task: The task, which names the input columns.

    Returns:
        float32 [N, 26], columns as in `COLUMNS`.

    Raises:
        KeyError: A row lacks one of the task's inputs.
    """
    table = pd.DataFrame(0.0, index=range(len(rows)), columns=list(COLUMNS), dtype=np.float32)
    table["texts"] = np.float32(len(task.inputs))
    for number, column in enumerate(task.inputs, start=1):
        for cue, values in _cues(_texts(rows, column, task)).items():
            table[f"{cue}_{number}"] = values.astype(np.float32)
    table["ratio"] = (table["chars_2"] / table["chars_1"].clip(lower=1)).astype(np.float32)
    return table


def _texts(rows: Dataset | Sequence[Mapping[str, Any]], column: str, task: Task) -> list[str]:
    table: Any = rows
    values = table[column][:] if hasattr(rows, "column_names") else [row[column] for row in table]
    return [" ".join(tokens) for tokens in values] if task.kind == "tagging" else list(values)


def _cues(texts: list[str]) -> dict[str, np.ndarray]:
    """Compute every cue of every text from one array of all code points; each [N]."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    if not len(texts):
        return {cue: np.zeros(0) for cue in CUES}
    # A line feed after each text: no segment is empty, and it is white space, so it counts nowhere else.
    joined = "\n".join(texts) + "\n"
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    unique, inverse = np.unique(points, return_inverse=True)
    letters = [chr(p) for p in unique]

    def of(test: Any) -> np.ndarray:
        return np.array([bool(test(c)) for c in letters])[inverse]

    def count(mask: np.ndarray) -> np.ndarray:
        return np.add.reduceat(mask.astype(np.int64), starts)

    def share(mask: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return count(mask) / np.maximum(whole, 1)

    place = np.arange(len(points))
    space, alpha, upper = of(str.isspace), of(str.isalpha), of(str.isupper)
    after_space = np.concatenate([[False], space[:-1]])
    at_start = np.zeros(len(points), bool)
    at_start[starts] = True
    first = np.minimum.reduceat(np.where(alpha, place, len(points)), starts)
    last = np.maximum.reduceat(np.where(space, -1, place), starts)
    ends = np.where(last >= 0, points[last], 0)
    return {
        "chars": lengths,
        "words": count(~space & (after_space | at_start)),
        "upper": share(upper & alpha, count(alpha)),
        "first_upper": (first < len(points)) & upper[np.minimum(first, len(points) - 1)],
        "digits": share(of(str.isdigit), lengths),
        "punctuation": share(of(PUNCTUATION.__contains__), lengths),
        "spaced": count(of(CLOSING.__contains__) & after_space & ~at_start) > 0,
        "ends_period": ends == ord("."),
        "ends_question": ends == ord("?"),
        "ends_exclamation": ends == ord("!"),
        "question": count(points == ord("?")) > 0,
        "quotes": count(of(QUOTES.__contains__)) > 0,
    }


def surface_logits(
    suite: Suite, sample: Mapping[str, np.ndarray], rows: pd.DataFrame, ledger: Ledger | None = None
) -> np.ndarray:
    """Predict the task of rows by form alone.

    A multinomial logistic regression is fitted to the surface cues of the sample (lengths as log(1 + n), columns
    standardised, L2 with C = 1, lbfgs), so `discriminator.scores` (of `methods.fastmtl`) and `metrics.column_auc` apply
    to the result as they do to the discriminator's logits. A reader who sees both AUCs sees when similarity is only
    format: length, number of texts, casing, punctuation. The result is deterministic.

    Args:
        suite: The suite, with K tasks.
        sample: Positions in the train split by task: the rows that the discriminator was trained on.
        rows: Columns task and row (a position in that task's train split), for N rows.
        ledger: Where the FLOPs of fitting and predicting are entered, if anywhere.

    Returns:
        Log-probability of each task, float32 [N, K], columns in the suite's order. A task that gives no row to the
        sample gets `ABSENT` throughout, hence an AUC of 0.5.

    Raises:
        InputError: A task is unknown.
        ValueError: Fewer than two tasks have rows in the sample, or a position is outside the train split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for name in (*sample, *rows["task"].unique()):
        suite.index(name)  # an unknown task is named
    trained = [name for name in suite.names if len(sample.get(name, ()))]
    if len(trained) < 2:
        raise ValueError(f"sample: two or more tasks with rows are needed, got {trained}")
    sample_rows = as_rows({name: sample[name] for name in trained})
    x, y = design(suite, sample_rows), sample_rows["task"].map(suite.index).to_numpy()
    cues = design(suite, rows)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITER)).fit(x, y)
    if ledger is not None:  # an iteration: forward and gradient
        ledger.flops += len(trained) * (4.0 * int(model[-1].n_iter_.max()) * x.size + 2.0 * cues.size)
    return log_probabilities(model.decision_function(cues), model.classes_, len(suite))


def log_probabilities(decision: np.ndarray, columns: Sequence[int], size: int) -> np.ndarray:
    """Turn a logistic regression's decisions into log-probabilities of all tasks.

    Args:
        decision: [N, C], or [N] for two classes.
        columns: The column of each class.
        size: Number of columns.

    Returns:
        float32 [N, size]; ABSENT in columns without a class.
    """
    from scipy.special import log_softmax

    if decision.ndim == 1:  # the log-odds of the second
        decision = np.stack([np.zeros_like(decision), decision], axis=1)
    logits = np.full((len(decision), size), ABSENT, np.float32)
    logits[:, columns] = log_softmax(decision, axis=1)
    return logits


def design(suite: Suite, rows: pd.DataFrame) -> np.ndarray:
    """Compute surface cues of rows, counts as logarithms.

    Args:
        suite: The suite.
        rows: Columns task and row, for N rows.

    Returns:
        float64 [N, 26], in the order of `rows`.

    Raises:
        ValueError: A position is outside its task's train split.
    """
    cues, owner, positions = np.zeros((len(rows), len(COLUMNS))), rows["task"].to_numpy(), rows["row"].to_numpy()
    for name in rows["task"].unique():
        own, task = np.flatnonzero(owner == name), suite[name]
        places = positions[own].astype(np.int64)
        if not 0 <= places.min() <= places.max() < len(task.train):
            raise ValueError(f"task {name!r}: a row position is outside its {len(task.train)} training rows")
        for first in range(0, len(own), CHUNK):
            part = slice(first, first + CHUNK)
            cues[own[part]] = surface(task.train.select(places[part].tolist()), task)
    counts = [column.startswith(("chars_", "words_")) for column in COLUMNS]
    cues[:, counts] = np.log1p(cues[:, counts])
    return cues


def as_rows(sample: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Turn row positions by task into a table with columns task and row."""
    return pd.concat([pd.DataFrame({"task": name, "row": at}) for name, at in sample.items()], ignore_index=True)
