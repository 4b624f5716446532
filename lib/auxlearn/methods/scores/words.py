"""Words of candidate and target rows as sparse counts, and their products, a block of candidates at a time."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.data import normalisation
from auxlearn.errors import InputError
from auxlearn.methods.rules.similarities import Similarities

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_WORDS = re.compile(r"[^\W_]+")
_APOSTROPHES = str.maketrans(dict.fromkeys("'’‘", " "))  # part words, in ASCII as beyond it
DENSE = 1 << 26  # numbers of the targets that are written out: 256 MB
WORDS_AND_PUNCTUATION = r"\w+|[^\w\s]+"


def split(text: str) -> list[str]:
    """Cut a text into lower-case words of letters and digits.

    Beyond ASCII, texts that look alike are alike (NFKC), marks stay with their letters, and a script without spaces is
    cut into characters (`data.normalisation`). ASCII words are cut alike whatever else their text holds.
    """
    if text.isascii():
        return _WORDS.findall(text.lower())
    text = unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES)
    return normalisation.words(normalisation.letters(text))


def fitted(reader: Any, texts: Iterable[str]) -> csr_matrix:
    """Fit one of scikit-learn's vectorizers to texts and return their vectors.

    Args:
        reader: The vectorizer.
        texts: N texts.

    Returns:
        Sparse [N, V].

    Raises:
        InputError: No text has a word.
    """
    try:
        return reader.fit_transform(texts)
    except ValueError as error:  # an empty vocabulary
        raise InputError(f"no row of the auxiliaries has a word ({error}); look at their texts") from None


def products(candidates: csr_matrix, targets: csr_matrix, bounds: tuple[float, float] | None = None) -> Similarities:
    """Multiply candidates with targets; words that no target has are left out first.

    Args:
        candidates: Sparse [N, V].
        targets: Sparse [Q, V].
        bounds: What no product can leave, where that is known.

    Returns:
        Their inner products, computed when they are read.
    """
    used = np.unique(targets.indices)
    held, wanted = candidates[:, used], targets[:, used].T
    if wanted.shape[0] * wanted.shape[1] > DENSE:
        sparse = wanted.tocsr().astype(np.float32)
        at: Callable[[slice | np.ndarray], np.ndarray] = lambda part: (held[part] @ sparse).toarray()  # noqa: E731
    else:
        dense = np.ascontiguousarray(wanted.toarray(), np.float32)
        at = lambda part: np.asarray(held[part] @ dense)  # noqa: E731
    return Similarities(candidates.shape[0], targets.shape[0], at, bounds)
