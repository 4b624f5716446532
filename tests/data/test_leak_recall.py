"""How many edited copies the leakage search finds, by script, length and kind of edit.

`python tests/data/test_leak_recall.py` prints the table of docs/leaks.md. Texts are drawn from the words (for scripts
without spaces: the characters) of a passage, so that they say nothing; what is found depends on words alone.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from auxlearn.data import leakage, suites

PASSAGES = json.loads(Path(__file__).with_name("passages.json").read_text(encoding="utf-8"))
UNSPACED = ("Thai", "Chinese", "Japanese")
LENGTHS = (5, 10, 20, 50, 200)
Words = list[str]


def _substituted(words: Words, rng: np.random.Generator, vocabulary: Words, share: float = 0.0) -> Words:
    places = rng.choice(len(words), max(1, round(share * len(words))), replace=False)
    changed = {p: rng.choice([w for w in vocabulary if w != words[p]]) for p in places}
    return [changed.get(p, word) for p, word in enumerate(words)]


def _inserted(words: Words, rng: np.random.Generator, vocabulary: Words) -> Words:
    place = int(rng.integers(len(words) + 1))
    return [*words[:place], rng.choice(vocabulary), *words[place:]]


def _removed(words: Words, rng: np.random.Generator, vocabulary: Words) -> Words:
    place = int(rng.integers(len(words)))
    return words[:place] + words[place + 1 :]


def _swapped(words: Words, rng: np.random.Generator, vocabulary: Words) -> Words:
    place = int(rng.integers(len(words) - 1))
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


EDITS: dict[str, Callable[..., Words]] = {
    "one substituted": _substituted, "one inserted": _inserted, "one removed": _removed, "neighbours swapped": _swapped,
    "5 % substituted": lambda *a: _substituted(*a, 0.05), "10 % substituted": lambda *a: _substituted(*a, 0.1),
    "20 % substituted": lambda *a: _substituted(*a, 0.2),
}  # fmt: skip


def recall(script: str, length: int, edit: str, count: int = 100) -> tuple[float, int]:
    """The share of edited copies that are found, and how many rows are found that are no copies."""
    rng = np.random.default_rng([length, list(EDITS).index(edit), list(PASSAGES).index(script)])
    passage, glue = PASSAGES[script], "" if script in UNSPACED else " "
    vocabulary = list(passage) if script in UNSPACED else passage.split()
    rows = [list(rng.choice(vocabulary, length)) for _ in range(2 * count)]
    copies = [EDITS[edit](row, rng, vocabulary) for row in rows[:count]]
    hits = leakage.find(suite([glue.join(r) for r in copies + rows[count:]], [glue.join(r) for r in rows[:count]]))
    own = hits["row"] == hits["target_row"]
    return hits[own]["row"].nunique() / count, int((~own).sum())


def suite(train: Words, dev: Words) -> suites.Suite:
    splits = {"train": train, "dev": dev}
    data = {k: Dataset.from_dict({"row_id": range(len(v)), "a": v}) for k, v in splits.items()}
    return suites.Suite(
        "s", {"t": SimpleNamespace(name="t", kind="classification", inputs=("a",), test=None, **data)}, ""
    )


@pytest.mark.parametrize("script", PASSAGES)
@pytest.mark.parametrize("edit", list(EDITS)[:4])
@pytest.mark.parametrize("length", [13, 20, 50])
def test_one_change_is_found_in_every_script_from_twelve_words_on(script, edit, length):
    assert recall(script, length, edit, 20) == (1, 0)


@pytest.mark.parametrize("script", PASSAGES)
def test_one_word_in_ten_may_be_changed_and_one_in_five_may_not(script):
    for length in (20, 50):
        assert recall(script, length, "10 % substituted", 20)[0] >= 0.9
        assert recall(script, length, "20 % substituted", 20)[0] <= 0.1


@pytest.mark.parametrize("script", PASSAGES)
def test_short_texts_that_differ_are_no_duplicates(script):
    for edit in ("one substituted", "one inserted", "one removed"):
        assert recall(script, 5, edit, 20) == (0, 0)


if __name__ == "__main__":
    print("| edit | script | " + " | ".join(f"{n} words" for n in LENGTHS) + " |\n|---|---|" + "---|" * len(LENGTHS))
    for kind in EDITS:
        for name in PASSAGES:
            cells = [recall(name, n, kind) for n in LENGTHS]
            print(f"| {kind} | {name} | " + " | ".join(f"{100 * r:.0f}" for r, _ in cells) + " |")
            if wrong := sum(w for _, w in cells):
                print(f"{wrong} false", file=sys.stderr)
