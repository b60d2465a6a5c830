"""What an Answer means, by its status and its body. A table, so that a new kind of error is one line (HIKERAPI.md, "Error bodies")."""

from __future__ import annotations

import re

from archiver import retry
from archiver.hiker import endpoints
from archiver.hiker.wire import json_document
from archiver.model.billing import Answer, Meaning, Verdict
from archiver.signed_url import excerpt

_BY_TYPE = {
    "InsufficientFunds": Meaning.OUT_OF_UNITS,
    "PrivateAccount": Meaning.PRIVATE,
    "EndpointDeprecated": Meaning.RETIRED,
    "ValidationError": Meaning.INVALID,
    "NoFreeAccounts": Meaning.TRANSIENT,  # the vendor's own accounts are busy; seen while units were left
    "InstagramServerError": Meaning.TRANSIENT,
    "InternalError": Meaning.TRANSIENT,
    "InstagramGatewayError": Meaning.TRANSIENT,
    "InstagramRateLimitError": Meaning.TRANSIENT,
}
_BY_STATUS = {
    400: Meaning.INVALID,
    401: Meaning.KEY_REJECTED,
    402: Meaning.OUT_OF_UNITS,
    403: Meaning.REFUSED,
    404: Meaning.NOT_FOUND,
    405: Meaning.INVALID,
    407: Meaning.BLOCKED,
    408: Meaning.TRANSIENT,
    410: Meaning.NOT_FOUND,  # a retired endpoint says so by its type: that is no fact about one highlight
    422: Meaning.INVALID,
    425: Meaning.TRANSIENT,
    429: Meaning.RATE_LIMITED,
    430: Meaning.TRANSIENT,  # in the vendor's list of answers that are not charged, without an explanation
}
_FIRM = frozenset({401, 402, 407, 408, 429})
"""Statuses that mean the same whatever body comes with them, as every 3xx and 5xx does."""

_NEVER_BILLED = frozenset({Meaning.KEY_REJECTED, Meaning.OUT_OF_UNITS})
_CLOUDFLARE = re.compile(rb"error code: 1\d{3}\b")


def parse_verdict(answer: Answer) -> Verdict:
    """The meaning of an Answer, what it cost, and a text for people. Never raises.

    A 402 or 401 in a body with status 200 costs nothing: there was no account to bill. A page of a proxy in between is settled by
    its status, on the safe side.
    """
    tree, fault = _read(answer.body)
    meaning = _meaning(answer, tree, fault)
    if meaning is Meaning.OK:
        return Verdict(meaning, _units(answer, meaning))
    return Verdict(
        meaning,
        _units(answer, meaning),
        _detail(answer, tree, fault),
        retry.parse_retry_after(answer.header("retry-after"), answer.finished_at),
    )


def says_no_highlights(tree: object) -> bool:
    """Whether an error says that there are no highlights: where those of a user were asked for, that is no
    error."""
    return isinstance(tree, dict) and tree.get("exc_type") == "HighlightNotFound"


def _read(body: bytes) -> tuple[object, str]:
    """The document, or None and what is wrong with it."""
    try:
        return json_document.parse_json(body), ""
    except ValueError as error:
        return None, str(error)


def _meaning(answer: Answer, tree: object, fault: str) -> Meaning:
    status = answer.status
    if 300 <= status < 400:
        return Meaning.REDIRECTED
    if status >= 500 or status < 200:
        return Meaning.TRANSIENT
    if status in _FIRM:
        return _BY_STATUS[status]
    if fault and _is_page(answer):
        return Meaning.BLOCKED
    error = _as_error(tree)
    named = _named(error) if error is not None else None
    if says_no_highlights(error) and answer.call.path in endpoints.WHOLE_TRAYS:
        return Meaning.OK
    if named is not None:
        return named
    if status >= 300:
        return _BY_STATUS.get(status, Meaning.INVALID)
    # An error that nobody knows, in an answer that was billed: asking again would only be billed again.
    return Meaning.OK if error is None and isinstance(tree, (dict, list)) else Meaning.MALFORMED


def _as_error(tree: object) -> dict[str, object] | None:
    """The tree if it is an error object: it carries ``exc_type``, ``"state": false``, or a ``detail`` and no pk."""
    if not isinstance(tree, dict):
        return None
    is_error = (
        tree.get("exc_type") is not None
        or tree.get("state") is False
        or ("detail" in tree and "pk" not in tree)
    )
    return tree if is_error else None


def _named(error: dict[str, object]) -> Meaning | None:
    """The meaning that an error body states by its type, or by the two sentences that come without one."""
    kind = error.get("exc_type")
    if isinstance(kind, str):
        if kind in _BY_TYPE:
            return _BY_TYPE[kind]
        if kind.endswith("NotFound"):
            return Meaning.NOT_FOUND
    sentence = str(error.get("error", "")).lower()
    if sentence.startswith("top up"):
        return Meaning.OUT_OF_UNITS
    if sentence.startswith("unauthorized request"):
        return Meaning.KEY_REJECTED
    return None


def _is_page(answer: Answer) -> bool:
    """Whether a body that is no JSON was written for a browser, or by Cloudflare."""
    head = answer.body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    kind = (answer.header("content-type") or "").lower()
    return head.startswith(b"<") or "html" in kind or _CLOUDFLARE.search(head) is not None


def _units(answer: Answer, meaning: Meaning) -> int:
    if meaning in _NEVER_BILLED:
        return 0
    return endpoints.settled_units(answer.call, answer.status, answer.header("x-hiker-info"))


def _detail(answer: Answer, tree: object, fault: str) -> str:
    if 300 <= answer.status < 400:
        return excerpt(f"{answer.status}: it redirects elsewhere, which is not followed")
    if fault and _is_page(answer):
        return excerpt(f"{answer.status}: got a page, not JSON: {_head(answer)}")
    if fault:
        return excerpt(f"{answer.status}: {fault}: {_head(answer)}")
    told = tree if isinstance(tree, dict) else {}
    parts = (told.get("exc_type"), _sentence(told.get("detail")), _sentence(told.get("error")))
    said = ": ".join(str(part) for part in parts if part)
    return excerpt(f"{answer.status}: {said or _head(answer)}")


def _sentence(told: object) -> str:
    """``detail`` may be a text, or a list of objects with ``msg`` and ``loc`` (422)."""
    if isinstance(told, list):
        return "; ".join(_sentence(part) for part in told[:5])
    if isinstance(told, dict):
        place = told.get("loc")
        where = ".".join(map(str, place)) if isinstance(place, list) else ""
        return f"{where} {told.get('msg') or told.get('error') or ''}".strip()
    return told if isinstance(told, str) else ""


def _head(answer: Answer) -> str:
    return json_document.clean_text(answer.body[:1_000].decode("utf-8", "replace"))
