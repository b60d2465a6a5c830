"""Bytes → a clean JSON tree, or ValueError: bounded, without NaN, NUL and lone surrogates, which no database takes."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, cast

_DEEPEST = 60
"""Levels of nesting; an honest answer has about eight."""

_DIRTY = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
"""A JSON escape of NUL or of half a surrogate pair."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(body: bytes) -> object:
    """The JSON document of a body, as dicts, lists, strings, integers, finite floats, booleans and None.

    Bytes that are no UTF-8 become U+FFFD, so that one spoilt title does not cost a whole paid answer. A float beyond the
    range becomes None. Raises ValueError, with a text for people, for everything that is no JSON, for NaN, for integers of more
    digits than Python takes, and for nesting beyond any honest answer.
    """
    if not body.strip():
        raise ValueError("the body is empty")
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    _check_depth(document)
    # Walking every string costs ten times the parsing, and only an escape can bring in what must be cleaned.
    return _clean(document) if _DIRTY.search(text) else document


def clean(text: str) -> str:
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
    if isinstance(node, str):
        return clean(node)
    if isinstance(node, list):
        return [_clean(child) for child in cast("list[object]", node)]
    if isinstance(node, dict):
        return {clean(key): _clean(child) for key, child in cast("dict[str, object]", node).items()}
    return node


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
