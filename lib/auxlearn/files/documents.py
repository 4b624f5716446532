"""Documents of others (YAML, JSON, notebooks) as plain values: bounded in bytes, depth and size, never executed."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from auxlearn.errors import InputError
from auxlearn.files import bounded_files

if TYPE_CHECKING:
    import nbformat

# No document that a person writes comes near these bounds; `bounded_files.most_bytes` lifts those on bytes.
YAML_BYTES, JSON_BYTES = 1 << 20, 256 << 20
YAML_VALUES = 100_000  # with every alias written out
DEPTH = 64
NUMBER = 40  # characters of a whole number; what is read must fit 64 bits
_TAG = "tag:yaml.org,2002:"
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.S)


def loads(text: str, whole: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON into plain values, strictly.

    Half a surrogate pair is refused: it is no text, and could not be written anywhere. So is a name given twice in one
    object, of whose values JSON's readers keep one or the other.

    Args:
        text: The JSON text.
        whole: What turns the digits of a whole number into a value; `int` if None.

    Raises:
        ValueError: If the text is not JSON or holds something refused.
        RecursionError: If it is nested too deeply for Python.
    """
    value = _decoder(whole).decode(text)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


@functools.cache
def _decoder(whole: Callable[[str], Any] | None) -> json.JSONDecoder:
    """Return the one decoder of its kind; `json.loads` makes one for each text, which takes as long as a row."""
    return json.JSONDecoder(parse_int=whole, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"{repeated(name for name, _ in pairs)[0][:NUMBER]!r} is given twice in one object")
    return values


def repeated(names: Iterable[str]) -> list[str]:
    """List the names that occur more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def read_json(path: Path, remedy: str = "copy it again, or make it anew") -> Any:
    """Read JSON from a file.

    Args:
        path: A file from anyone.
        remedy: What a message tells the user to do.

    Raises:
        InputError: If the file cannot be read or is too large, is not JSON (see `loads`), holds a whole number that
            does not fit 64 bits, or is nested deeper than DEPTH.
    """
    text = _text(path, bounded_files.read_bytes(path, JSON_BYTES, remedy), "JSON", remedy)
    try:
        brackets = re.findall(r"[][{}]", _STRING.sub("", text))
        if max(itertools.accumulate(1 if b in "[{" else -1 for b in brackets), default=0) > DEPTH:
            raise ValueError(f"nested deeper than {DEPTH}")
        return loads(text, _whole)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({getattr(error, 'msg', error)}); {remedy}") from None


def read_object(path: Path, remedy: str = "copy it again, or make it anew") -> dict[str, Any]:
    """Read JSON from a file that holds one object.

    Raises:
        InputError: As `read_json`, and if the file holds anything but an object.
    """
    value = read_json(path, remedy)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is expected, not {type(value).__name__}; {remedy}")
    return value


def read_notebook(path: Path, remedy: str = "execute it again") -> nbformat.NotebookNode:
    """Read a notebook of format 4 that its schema allows.

    Args:
        path: A file from anyone.
        remedy: What a message tells the user to do.

    Returns:
        The notebook, each source and output text as one string.

    Raises:
        InputError: As `read_object`, and if the file is not such a notebook.
    """
    import nbformat.validator

    value = read_object(path, remedy)
    minor = value.get("nbformat_minor")
    if value.get("nbformat") != 4 or type(minor) is not int or not 0 <= minor <= 99:
        raise InputError(f"{path}: not a notebook of format 4; {remedy}")
    # The schema alone: `nbformat.validate` mends what it is given, and takes its shape for granted in doing so.
    error = next(iter(nbformat.validator.get_validator(4, minor, relax_add_props=True).iter_errors(value)), None)
    if error is not None:
        raise InputError(f"{path}: not a valid notebook ({' '.join(str(error).split())[:200]}); {remedy}")
    return nbformat.v4.rwbase.rejoin_lines(nbformat.from_dict(value))


def read_yaml(path: Path, words: Sequence[str] = ()) -> Any:
    """Read plain YAML from a file: text, numbers, dates, lists and mappings with unique names; nothing else is allowed.

    Args:
        path: A file from anyone.
        words: Names whose values, and the items of these, are text as written: `[yes, no]` is no list of booleans.

    Returns:
        The values; None for an empty file.

    Raises:
        InputError: If the file cannot be read or is too large, is not YAML of that kind, is nested deeper than DEPTH,
            or stands for more than YAML_VALUES values.
    """
    text = _text(path, bounded_files.read_bytes(path, YAML_BYTES, "check its name"), "valid YAML", "save it as UTF-8")
    try:
        loader = _Plain(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _bounded(node, {})
            if words:
                _as_written(node, words, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except InputError as error:
        raise InputError(f"{path}, {error}") from None
    except RecursionError:
        raise InputError(f"{path}: not valid YAML: nested deeper than {DEPTH}; write it flatter") from None
    # ValueError: a date that is none, a character that YAML does not allow.
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def _text(path: Path, content: bytes, kind: str, remedy: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not {kind}: {error.reason} for utf-8 at byte {error.start}; {remedy}") from None


def _whole(text: str) -> int:
    if len(text) > NUMBER or not -(1 << 63) <= (value := int(text)) < 1 << 63:
        raise ValueError(f"the number {text[:NUMBER]} does not fit 64 bits")
    return value


class _Plain(yaml.SafeLoader):
    """Safe YAML without sets, pairs and binary data, which nothing here takes; a name given twice is refused."""

    yaml_constructors = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in {"null", "bool", "int", "float", "timestamp", "str", "seq", "map"}
    }


def _scalar(loader: _Plain, node: yaml.ScalarNode) -> Any:
    """Construct a scalar by its tag.

    A tag that was written out (`!!int x`) must fit; PyYAML's own constructors take that for granted.
    """
    kind, text = node.tag.removeprefix(_TAG), node.value
    line = node.start_mark.line + 1
    if kind == "str":
        if re.search("[\0\ud800-\udfff]", text):
            raise InputError(f"line {line}: a NUL or half a surrogate pair is no text; take it out")
        return text
    fits = {_TAG + kind} | ({_TAG + "int"} if kind == "float" else set())
    if loader.resolve(yaml.ScalarNode, text, (True, False)) not in fits:
        raise InputError(f"line {line}: {text[:NUMBER]!r} is not valid YAML of its tag {kind}; take the tag away")
    if kind == "int" and len(text) > NUMBER:
        raise InputError(f"line {line}: the number {text[:NUMBER]}… does not fit 64 bits")
    value = yaml.SafeLoader.yaml_constructors[node.tag](loader, node)
    if kind == "int" and not -(1 << 63) <= value < 1 << 63:
        raise InputError(f"line {line}: the number {text} does not fit 64 bits")
    return value


def _mapping(loader: _Plain, node: yaml.MappingNode) -> Any:
    names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    if twice := repeated(names):
        at = [
            key.start_mark.line for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value == twice[0]
        ]
        raise InputError(f"line {at[1] + 1}: {twice[0]!r} is given twice; names must be unique")
    yield from loader.construct_yaml_map(node)


for _kind in ("null", "bool", "int", "float", "timestamp", "str"):
    _Plain.add_constructor(_TAG + _kind, _scalar)
_Plain.add_constructor(_TAG + "map", _mapping)


def _as_written(node: yaml.Node, words: Sequence[str], known: set[int]) -> None:
    """Make text of the plain values of some names, in any mapping."""
    if id(node) in known or isinstance(node, yaml.ScalarNode):
        return
    known.add(id(node))
    for part in node.value:
        key, value = part if isinstance(node, yaml.MappingNode) else (None, part)
        if isinstance(key, yaml.ScalarNode) and key.value in words:
            listed = isinstance(value, yaml.SequenceNode)
            for scalar in value.value if listed else [value]:
                plain = isinstance(scalar, yaml.ScalarNode) and scalar.style is None and scalar.value
                if plain and (listed or scalar.tag != _TAG + "null"):
                    scalar.tag = _TAG + "str"
        _as_written(value, words, known)


def _bounded(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Count the values that a node stands for, aliases written out, and its depth; refuse a node that is out of bounds.

    A few lines of aliases of aliases stand for more values than memory holds ("billion laughs").
    """
    line = node.start_mark.line + 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise InputError(f"line {line}: not valid YAML here: an alias of what it stands in; write it out")
        return size
    known[id(node)] = None
    parts = [] if isinstance(node, yaml.ScalarNode) else node.value
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in parts for part in pair]
    inner = [_bounded(part, known) for part in parts]
    own = 1 + (len(node.value) // 64 if isinstance(node, yaml.ScalarNode) else 0)  # a long text counts as many
    values, depth = own + sum(n for n, _ in inner), 1 + max((d for _, d in inner), default=0)
    if values > YAML_VALUES:
        raise InputError(f"line {line}: stands for more than {YAML_VALUES:,} values; write it without so many aliases")
    if depth > DEPTH:
        raise InputError(f"line {line}: not valid YAML here: nested deeper than {DEPTH}; write it flatter")
    known[id(node)] = values, depth
    return values, depth
