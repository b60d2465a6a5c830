"""Answers for the tests of the API parser, made from text, bytes or JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from archiver.hiker import endpoints
from archiver.hiker.wire import Document, read_document
from archiver.model.api_calls import Answer, Call

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FETCH = endpoints.highlight_call("18085475671830440")
LIST = endpoints.tray_call("787132")


def document(body: object, status: int = 200, call: Call = FETCH, **headers: str) -> Document:
    """Return an answer with this body, parsed: bytes unchanged, anything else as JSON.

    In header names ``_`` means ``-``.
    """
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    answer = Answer(call, "https://api.hikerapi.com" + call.path, status, named, raw, NOON, NOON)
    return read_document(answer)


def example(name: str) -> bytes:
    """Return one of the vendor's example answers."""
    return (Path(__file__).parent / "recorded_answers" / f"{name}.json").read_bytes()


def highlight(**fields: object) -> dict[str, object]:
    """Return a small highlight of user 1 as the API writes it, with these fields changed."""
    return {"pk": "17", "user": {"pk": "1", "username": "ann"}, "title": "T", "items": [], **fields}


def item(**fields: object) -> dict[str, object]:
    """Return a small item of user 1, with these fields changed."""
    return {"pk": "99", "id": "99_1", "code": "AbC", "user": {"pk": "1"}, **fields}
