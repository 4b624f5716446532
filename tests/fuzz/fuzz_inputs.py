"""Hostile inputs: random bytes, and valid documents that were damaged or given values that nobody expects."""

from __future__ import annotations

import copy
import gzip
import json
import random
import struct
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# What a value may turn into: wrong types, numbers without bounds, text that is a path, a formula, markup or no text.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.0, 1e308, 1e-320, float("nan"), float("inf"),
    -float("inf"), "", " ", "0", "1e-3", "no", "x" * 5000, "a\0b", "\ud800", "\u202e", "\U0001f600", "é", "\r\n", "\t",
    "../../../etc/passwd", "/etc/passwd", "..", "C:\\x", "~", "$HOME", "${HOME}", "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "=1+1", "+1", "-1", "@SUM(A1)", "{{ 7*7 }}", "{0}", "%s",
    "9" * 5000, [], {}, [[]], [{}], {"": 0}, {"a": {"b": []}}, [0] * 50, ["a", "a"], {"stage": "..", "key": ".."},
]  # fmt: skip
TOKENS = [
    b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\t", b"\t\t", b",",
    b'"', b'""', b"{", b"}", b"[", b"]", b"[" * 200, b'{"a":' * 200, b":", b": ", b"- ", b"#", b"# ", b"&a ", b"*a",
    b"<<: *a", b"&a [*a]", b"!!int ", b"!!float x", b"!!binary x", b"!!python/name:os.system ", b"!!set {a}", b"---\n",
    b"...\n", b"%", b"? ", b"|", b">", b"~", b"NaN", b"Infinity", b"-1e999", b"9" * 5000, b"1:" * 30, b"\\ud800",
    b"\\u0000", b"\\x", b"<script>", b"-DOCSTART- O\n", b"1-2\t_\n", b"null", b"true", b"\x1f\x8b", b"PK\x03\x04",
    b"PAR1", b"\x93NUMPY", b"\xe2\x80\xa8", b"\x85", b"\x1a", b" " * 500,
]  # fmt: skip


def flipped(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few of them changed, cut out, put in or repeated."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at, kind = rng.randrange(len(made) + 1), rng.randrange(6)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(made):
            made[at] = rng.randrange(256)
        elif kind == 2:
            del made[at : at + rng.choice((1, 2, 7, 64))]
        elif kind == 3:
            made[at:at] = rng.choice(TOKENS)
        elif kind == 4:
            made[at:at] = made[at : at + rng.choice((1, 4, 30, 200))]
        elif rng.random() < 0.3:
            del made[at:]
        else:
            made[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80"))
    return bytes(made)


def changed(rng: random.Random, document: Any) -> Any:
    """A document of plain values with some of its values replaced, removed, repeated or named otherwise."""
    made = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = list(_places(made))
        if not places:
            return rng.choice(VALUES)
        holder, at = rng.choice(places)
        kind = rng.randrange(6)
        if kind == 0:
            del holder[at]
        elif kind == 1 and isinstance(holder, dict):
            holder[str(rng.choice(VALUES))[:300]] = holder.pop(at)
        elif kind == 2:
            holder[at] = _nested(rng.choice((3, 70, 400)), rng.random() < 0.5)
        elif kind == 3:
            holder[at] = [holder[at], holder[at]]
        else:
            holder[at] = copy.deepcopy(rng.choice(VALUES))
    return made


def _places(value: Any) -> Any:
    """Every (container, key or index) of a document."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))[:50]
    else:
        return
    for at, part in items:
        yield value, at
        yield from _places(part)


def _nested(depth: int, mappings: bool) -> Any:
    value: Any = []
    for _ in range(depth):
        value = {"a": value} if mappings else [value]
    return value


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def document(valid: list[Any], write: Callable[[Any], bytes] = as_json) -> Callable[[random.Random], bytes]:
    """Changed documents, one in four of them damaged as bytes besides."""

    def make(rng: random.Random) -> bytes:
        data = write(changed(rng, rng.choice(valid)))
        return flipped(rng, data) if rng.random() < 0.25 else data

    return make


def damaged(valid: list[bytes]) -> Callable[[random.Random], bytes]:
    return lambda rng: flipped(rng, rng.choice(valid))


def safetensors(valid: bytes) -> Callable[[random.Random], bytes]:
    """Tensors with another header, whose length is told rightly; damaged as bytes; or both."""

    def make(rng: random.Random) -> bytes:
        size = int.from_bytes(valid[:8], "little")
        header = as_json(changed(rng, json.loads(valid[8 : 8 + size])))
        made = len(header).to_bytes(8, "little") + header + valid[8 + size :]
        return flipped(rng, made if rng.random() < 0.5 else valid) if rng.random() < 0.5 else made

    return make


def packed(make: Callable[[random.Random], bytes]) -> Callable[[random.Random], bytes]:
    """Gzipped inputs: sound gzip of damaged content, or the other way round, or a small bomb."""

    def pack(rng: random.Random) -> bytes:
        content = make(rng)
        if rng.random() < 0.02:
            content = rng.choice((b" ", b"[", b"a\n", b"\0")) * rng.choice((1 << 16, 1 << 20)) + content
        data = gzip.compress(content, 1, mtime=0)
        data += gzip.compress(content, 1, mtime=0) if rng.random() < 0.1 else b""
        return flipped(rng, data) if rng.random() < 0.5 else data

    return pack


def numpy_file(rng: random.Random) -> bytes:
    """An array in NumPy's format whose header may say anything."""
    descr = rng.choice((
        "<f4", "<f8", "<i8", "|b1", "<f2", "|O", "<U4", "|S3", ">c16", "|V8", "<M8[s]", "x", "", "<f4,<f4",
    ))  # fmt: skip
    shape = rng.choice((
        "(3,)", "(2, 2)", "()", "(0,)", "(-1,)", "(1000000000000,)", "(9" + "9" * 400 + ",)", "(2**9,)", "[3]",
        "('a',)", "(3, None)", "(" * 150 + ")" * 150, "(True,)", "(1.0,)",
    ))  # fmt: skip
    kind, order = rng.choice((repr(descr), repr(descr), "[]", "(1,)")), rng.choice(("False", "True", "0", "''"))
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(rng.choice((60, 117, 400)))
    version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text) + 1)
    data = b"\x93NUMPY" + version + length + text.encode() + b"\n" + b"\0" * rng.choice((0, 6, 12, 16, 24, 32))
    return flipped(rng, data) if rng.random() < 0.3 else data


def hostile(make: Callable[[random.Random], bytes]) -> st.SearchStrategy[bytes]:
    """Nine in ten inputs made from valid ones, by a number that makes them again; the others random bytes and JSON."""
    grown = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part, max_size=3),
        max_leaves=6,
    )
    made = st.integers(0, 2**64 - 1).map(lambda number: make(random.Random(number)))
    kinds = [made] * 18 + [st.binary(max_size=300), grown.map(as_json)]
    return st.integers(0, len(kinds) - 1).flatmap(kinds.__getitem__)
