"""Bytes → a clean JSON tree, or ValueError: bounded, without NaN, NUL and lone surrogates, which no database takes."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, cast

_DEEPEST = 60
"""Levels of nesting; an honest answer has about eight."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(body: bytes) -> object:
    """The JSON document of a body, as dicts, lists, strings, integers, finite floats, booleans and None.

    Bytes that are no UTF-8 become U+FFFD, so that one spoilt title does not cost a whole paid answer. A float beyond the
    range becomes None. Raises ValueError, with a text for people, for everything that is no JSON, for NaN, for integers of more
    digits than Python takes, and for nesting beyond any honest answer.
    """
    if not body.strip():
        raise ValueError("the body is empty")
    try:
        return _clean(json.loads(body.decode("utf-8", "replace"), parse_constant=_refuse), 0)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def clean(text: str) -> str:
    """``text`` without NUL, lone surrogates replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text.replace("\x00", ""))


def _clean(node: object, depth: int) -> object:
    if depth > _DEEPEST:
        raise ValueError("the JSON is nested too deeply")
    if isinstance(node, str):
        return clean(node)
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, list):
        return [_clean(child, depth + 1) for child in cast("list[object]", node)]
    if isinstance(node, dict):
        return {
            clean(key): _clean(child, depth + 1) for key, child in cast("dict[str, object]", node).items()
        }
    return node


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
