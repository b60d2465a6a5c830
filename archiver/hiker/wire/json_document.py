"""The JSON of an answer, parsed once, within limits, and without NaN, NUL and lone surrogates.

Databases do not accept those. msgspec parses most bodies. What it refuses, a body with an escaped NUL and a
large one are parsed by ``_parse_carefully``. A test compares the two.
"""

from __future__ import annotations

import json
import math
import re
import threading
from contextlib import suppress
from typing import NoReturn, cast

import msgspec
from msgspec import Struct

from archiver.model.api_calls import Answer
from archiver.model.values import repr_without

PARSE_LOCK = threading.Lock()
"""One answer is parsed at a time: its values take ten times the memory of its bytes. The caller holds it."""

_MAX_DEPTH = 60  # a genuine answer has about eight levels

# Bytes of memory, measured in CPython 3.11: for a list, for an object with its first key, for a key that
# other objects share, for a key that no other object has, and for any other value; then the bytes that a
# string takes in addition if it has a letter beyond Latin-1.
_LIST, _OBJECT, _SHARED_KEY, _OTHER_KEY, _VALUE = 64, 120, 40, 90, 60
_WIDE = 40
_BEYOND_LATIN_1 = bytes(range(0xC4, 0xF8))  # the first bytes of such letters in UTF-8

# Bytes. A page of 2,000 items takes 12 MB, one item with 100,000 mentions about 100 MB, and 16 MiB of ``[],``
# 700 MB.
_MAX_UNCHECKED = 32 * 2**20
_MAX_MEMORY = 144 * 2**20

_MAX_KEYS = 10_000
_KEY = re.compile(rb'"((?:[^"\\]|\\.){0,64})"\s*:', re.DOTALL)

_DIRTY = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # a JSON escape of NUL or of half a surrogate pair

_SURROGATE = re.compile("[\ud800-\udfff]")

_MAX_FAST = 2**20  # bytes: msgspec shares fewer keys, so a larger body may take twice the memory estimated
_NESTED = frozenset({dict, list})
_NUL_ESCAPE = b"\\u0000"
_decode = msgspec.json.Decoder().decode


class Document(Struct, frozen=True):
    """An answer and its JSON. ``tree`` is None, and ``fault`` says why, if the body is not usable JSON."""

    answer: Answer
    tree: object
    fault: str = ""

    def __repr__(self) -> str:
        return repr_without(self, "tree")


def read_document(answer: Answer) -> Document:
    """Return an answer with its JSON. Never raises."""
    try:
        return Document(answer, parse_json(answer.body))
    except ValueError as error:
        return Document(answer, None, str(error))


def parse_json(body: bytes) -> object:
    """Return the JSON document of a body: dicts, lists, strings, integers, finite floats, booleans and None.

    Bytes that are not UTF-8 become U+FFFD, so that one damaged title does not cost a whole answer that was
    paid for. A float out of range becomes None. Raises ValueError, with a message for people, for anything
    that is not JSON, for NaN, for integers with more digits than Python accepts, and for more nesting or
    values than any genuine answer has.
    """
    if not body.strip():
        raise ValueError("the body is empty")
    if _is_too_large(body):
        raise ValueError("the JSON has far more values than a genuine answer")
    if len(body) <= _MAX_FAST and _NUL_ESCAPE not in body:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            document: object = _decode(body)
            _check_depth(document)
            return document
    return _parse_carefully(body)


def _parse_carefully(body: bytes) -> object:
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    # Only an escape can introduce what must be cleaned, and visiting every string takes ten times as long as
    # parsing.
    is_dirty = _DIRTY.search(text) is not None
    del text  # up to four times as large as the body
    _check_depth(document)
    return _clean(document) if is_dirty else document


def _is_too_large(body: bytes) -> bool:
    """Return whether a document would take far more memory than a genuine answer, long strings aside.

    The memory is estimated without parsing, from the characters that start a list, an object, a key or
    another value (those inside strings make the estimate higher). Distinct keys cost most. A genuine answer
    has few of them, because its objects share their keys.
    """
    lists, objects = body.count(b"["), body.count(b"{")
    keys, values = body.count(b":"), body.count(b",")
    if _LIST * lists + _LIST * objects + _OTHER_KEY * keys + _VALUE * values <= _MAX_UNCHECKED:
        return False
    wide = min(values, _count_wide(body))
    different: set[bytes] = set()
    for found in _KEY.finditer(body):
        different.add(found[1])
        if len(different) > _MAX_KEYS:
            return True
    size = _LIST * lists + _OBJECT * objects + _SHARED_KEY * keys + _VALUE * values + _WIDE * wide
    return size > _MAX_MEMORY


def _count_wide(body: bytes) -> int:
    """Return the number of letters beyond Latin-1: each may make the string that contains it a wide one."""
    return len(body) - len(body.translate(None, _BEYOND_LATIN_1)) + body.count(b"\\u")


def clean_text(text: str) -> str:
    """Return a text without NUL, and with U+FFFD for each lone surrogate."""
    return _SURROGATE.sub("\ufffd", text.replace("\x00", ""))


def _check_depth(document: object) -> None:
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError("the JSON is nested too deeply")
        # isinstance takes twice as long; a parser of JSON makes no other types.
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node if type(node) is list else ())
            if type(child) in _NESTED
        ]


def _clean(node: object) -> object:
    """Return a JSON tree with clean strings. It is changed in place: a copy would double the memory."""
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
    raise ValueError(f"{constant} is not JSON")
