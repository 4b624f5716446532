"""Texts as the search for duplicates compares them: their letters and digits, and the words these are cut into."""

from __future__ import annotations

import html
import re
import unicodedata

_ENTITY = re.compile(r"&\s?(#?\w+)\s?;")
_BRACKETS = re.compile(r"-[lr][rsc]b-")  # how treebanks write brackets
_NEGATION = re.compile(r"\s+n\s?'\s?t\b")
_CLITIC = re.compile(r"\s?'\s?(?=(?:s|m|d|t|re|ve|ll)\b)")
# Scripts written without spaces between words: Thai, Lao, Myanmar, Khmer, Tai Le to Khmer symbols, Javanese, Myanmar
# extended, kana, Yi, Han. Hangul has spaces.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\ua4cf\ua980-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U0003ffff"
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_TATWEEL = "\u0640"  # stretches an Arabic word, and says nothing
_POINTS = range(10, 37)  # combining classes of Hebrew, Arabic and Syriac points, which most writers leave out
_SELECTORS = range(0xFE00, 0xFE10)  # how a character is drawn


class _Kept(dict[int, str | None]):
    """For `str.translate`: letters, digits and the marks on them are kept, "'" and what is not seen go, else a space.

    A character is looked up in Unicode once.
    """

    def __missing__(self, point: int) -> str | None:
        letter = chr(point)
        kind = unicodedata.category(letter)
        unseen = kind in ("Cf", "Me") or point in _SELECTORS or unicodedata.combining(letter) in _POINTS
        if unseen or letter in ("'", _TATWEEL):
            self[point] = None
        else:
            self[point] = letter if letter.isalnum() or kind.startswith("M") else " "
        return self[point]


_KEPT = _Kept()


def normalise(text: str) -> str:
    """Reduce a text to its words of letters and digits, joined by single spaces.

    The text is NFKC-normalised and casefolded; HTML entities and -LRB- are undone. Clitics are joined to their word and
    apostrophes dropped ("do n't" and "don't" are "dont"). What tokenisers still split differently ("gon na") differs in
    spaces alone. Vowel signs and other marks stay with their letter, but for the points of Hebrew, Arabic and Syriac,
    which writers may leave out; characters that are not seen (joiners, soft hyphens) go.
    """
    if "&" in text:
        text = html.unescape(_ENTITY.sub(r"&\1;", text))
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("‘", "'")
    if "b-" in text:
        text = _BRACKETS.sub(" ", text)
    if "'" in text:
        text = _CLITIC.sub("", _NEGATION.sub("nt", text))
    return letters(text)


def letters(text: str) -> str:
    """Return a text's runs of letters, digits and their marks, joined by single spaces; "'" joins what it parts."""
    return " ".join(text.translate(_KEPT).split())


def words(text: str) -> list[str]:
    """Cut a normalised text at its spaces, and into single characters where its script has no spaces."""
    return _PIECE.findall(text) if not text.isascii() and _HAS_UNSPACED.search(text) else text.split()
