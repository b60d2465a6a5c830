"""Bytes → a clean JSON tree, or ValueError: bounded, without NaN, NUL and lone surrogates, which no database takes."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, cast

_DEEPEST = 60
"""Levels of nesting; an honest answer has about eight."""

_LIST, _OBJECT, _SHARED_KEY, _OTHER_KEY, _VALUE = 64, 120, 40, 90, 60
"""Bytes that each takes in CPython 3.11, by measurement: a list, an object with its first key, a key that
other objects have too, one that they do not have, any other value."""

_WIDE = 40
"""Bytes that a string takes in addition if it has a letter beyond Latin-1."""

_BEYOND_LATIN_1 = bytes(range(0xC4, 0xF8))
"""The first bytes of such letters in UTF-8."""

_PLENTY = 32 * 2**20
_MOST_MEMORY = 144 * 2**20
"""Bytes. A page of 2,000 items takes 12 MB, one item with 100,000 mentions about 100; 16 MiB of ``[],`` 700
MB."""

_MOST_KEYS = 10_000
_KEY = re.compile(rb'"((?:[^"\\]|\\.){0,64})"\s*:', re.DOTALL)

_DIRTY = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""A JSON escape of NUL or of half a surrogate pair."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(body: bytes) -> object:
    """The JSON document of a body, as dicts, lists, strings, integers, finite floats, booleans and None.

    Bytes that are no UTF-8 become U+FFFD, so that one spoilt title does not cost a whole paid answer. A float
    beyond the range becomes None. Raises ValueError, with a text for people, for everything that is no JSON,
    for NaN, for integers of more digits than Python takes, and for nesting or a number of values beyond any
    honest answer.
    """
    if not body.strip():
        raise ValueError("the body is empty")
    if _is_overfull(body):
        raise ValueError("the JSON has far more values than an honest answer")
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    # Walking every string costs ten times the parsing, and only an escape can bring in what must be cleaned.
    is_dirty = _DIRTY.search(text) is not None
    del text  # of a large body it is as large, or four times as large
    _check_depth(document)
    return _clean(document) if is_dirty else document


def _is_overfull(body: bytes) -> bool:
    """Whether the document of a body would take far more memory than that of an honest answer, long strings
    aside.

    Estimated without parsing it, from the signs that begin a list, an object, a key or another value (those
    inside strings make it more). Keys that are all different cost most, and no honest answer has many:
    objects share theirs.
    """
    lists, objects = body.count(b"["), body.count(b"{")
    keys, values = body.count(b":"), body.count(b",")
    if _LIST * lists + _LIST * objects + _OTHER_KEY * keys + _VALUE * values <= _PLENTY:
        return False
    wide = min(values, _count_wide(body))
    different: set[bytes] = set()
    for found in _KEY.finditer(body):
        different.add(found[1])
        if len(different) > _MOST_KEYS:
            return True
    size = _LIST * lists + _OBJECT * objects + _SHARED_KEY * keys + _VALUE * values + _WIDE * wide
    return size > _MOST_MEMORY


def _count_wide(body: bytes) -> int:
    """Return how many letters of a body make the string that they stand in a wide one: those beyond Latin-1."""
    return len(body) - len(body.translate(None, _BEYOND_LATIN_1)) + body.count(b"\\u")


def clean_text(text: str) -> str:
    """``text`` without NUL, lone surrogates replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text.replace("\x00", ""))


def _check_depth(document: object) -> None:
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("the JSON is nested too deeply")
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]


def _clean(node: object) -> object:
    """``node`` with clean strings, in place: a second tree would be as large as the first."""
    if isinstance(node, str):
        return clean_text(node)
    if isinstance(node, list):
        nodes = cast("list[object]", node)
        for place, child in enumerate(nodes):
            nodes[place] = _clean(child)
    elif isinstance(node, dict):
        fields = cast("dict[str, object]", node)
        for key, child in fields.items():
            fields[key] = _clean(child)
        if any(clean_text(key) != key for key in fields):
            return {clean_text(key): child for key, child in fields.items()}
    return node


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
