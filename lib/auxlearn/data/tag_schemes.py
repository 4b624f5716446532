"""How the tags of a tagging task mark spans, told from its labels: IOB1, IOB2, IOE1, IOE2, BIOES, BILOU and their kin.

Letter and type may come in either order (`B-PER`, `PER-B`), joined by one of `-_:./|`, the letter in either case; the
type may be left out (`B`, `I`). Letters are brought to those of BIOES: L is E, U and W are S, M is I.

Where labels have B, E and S, a span counts only if it is whole (seqeval's strict mode). Otherwise they do not tell two
schemes apart (B and I alone may be IOB1 or IOB2), and spans are read as conlleval reads them, which is right for both.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from auxlearn.errors import InputError, shown

_SETS = ("BIES", "BILU", "BMES", "BMEW")  # with O; a task may use a part of one
_LETTERS = {"M": "I", "L": "E", "U": "S", "W": "S"}
_FIRST = re.compile(r"(?i)([BIESLUMW])(?:[-_:./|](.+))?")
_LAST = re.compile(r"(?i)(?:(.+)[-_:./|])?([BIESLUMW])")


@dataclass(frozen=True)
class Scheme:
    """How to read spans off label ids.

    Attributes:
        tags: Per label id its tag as seqeval takes it: O, or a letter of BIES and a number per type.
        strict: Whether a span must be whole, from B to E or a single S; else spans are read as conlleval reads them.
    """

    tags: tuple[str, ...]
    strict: bool

    def spans(self, ids: Sequence[int]) -> set[tuple[str, int, int]]:
        """Return the spans of one sentence, as (type, first token, last token)."""
        tags = [self.tags[i] for i in ids]
        if self.strict:
            from seqeval.scheme import IOBES, Tokens

            return {(span.tag, span.start, span.end - 1) for span in Tokens(tags, IOBES).entities}
        from seqeval.metrics.sequence_labeling import get_entities

        return set(get_entities(tags))


@functools.cache
def scheme(labels: tuple[str, ...]) -> Scheme:
    """Recognise the scheme of a tagging task's labels.

    Args:
        labels: Label names, in the order of ids.

    Returns:
        How to read spans off them.

    Raises:
        InputError: If they are of no scheme; it names the first label that does not fit.
    """
    misfits = []
    for pattern in (_FIRST, _LAST):
        matches = {label: pattern.fullmatch(label) for label in labels if label not in ("O", "o")}
        misfits.append([label for label, match in matches.items() if match is None])
        if misfits[-1] or not matches:
            continue
        pairs = {label: match.groups()[:: 1 if pattern is _FIRST else -1] for label, match in matches.items() if match}
        letters = {letter.upper() for letter, _ in pairs.values()}
        types = {kind: str(i) for i, kind in enumerate(dict.fromkeys(kind for _, kind in pairs.values()))}
        if any(letters <= set(known) for known in _SETS):
            tags = {label: f"{_LETTERS.get(x.upper(), x.upper())}-{types[kind]}" for label, (x, kind) in pairs.items()}
            strict = {tag[0] for tag in tags.values()} >= set("BES")
            return Scheme(tuple(tags.get(label, "O") for label in labels), strict)
    odd = min(misfits, key=len)
    raise InputError(
        f"entity_f1 needs labels that mark spans, such as O, B-PER, I-PER (IOB, IOE, BIOES or BILOU): "
        f"{f'{shown(odd[0])} is none' if odd else f'{shown(list(labels))} are of no scheme'}; "
        "rename the tags, or set metric: accuracy or macro_f1"
    )
