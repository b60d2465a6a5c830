"""What an answer means, by its status and its body.

The tables have one line for each kind of error that was seen (HIKERAPI.md, "Error bodies").
"""

from __future__ import annotations

import re

from archiver import retry
from archiver.hiker import endpoints
from archiver.hiker.wire.json_document import Document, clean_text
from archiver.model.api_calls import Answer, CallOutcome, Meaning
from archiver.signed_url import excerpt

_BY_TYPE = {
    "InsufficientFunds": Meaning.OUT_OF_UNITS,
    "PrivateAccount": Meaning.PRIVATE,
    "EndpointDeprecated": Meaning.RETIRED,
    "ValidationError": Meaning.INVALID,
    "NoFreeAccounts": Meaning.TRANSIENT,  # the vendor's own accounts are busy; units are left
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
    410: Meaning.NOT_FOUND,  # unless the type says that the endpoint is retired
    422: Meaning.INVALID,
    425: Meaning.TRANSIENT,
    429: Meaning.RATE_LIMITED,
    430: Meaning.TRANSIENT,  # the vendor lists it as not charged, without explanation
}
# Statuses that mean the same with any body, like every 3xx and 5xx.
_STATUS_DECIDES = frozenset({401, 402, 407, 408, 429})

_NEVER_BILLED = frozenset({Meaning.KEY_REJECTED, Meaning.OUT_OF_UNITS})
_CLOUDFLARE = re.compile(rb"error code: 1\d{3}\b")


def parse_outcome(document: Document) -> CallOutcome:
    """Return the meaning of an answer, what it cost, and a message for people. Never raises.

    An error 401 or 402 in a body with status 200 costs nothing: there was no account to charge. A page from
    an intermediate proxy counts as charged if its status says so, to be on the safe side.
    """
    answer, tree, fault = document.answer, document.tree, document.fault
    meaning = _meaning(answer, tree, fault)
    if meaning is Meaning.OK:
        return CallOutcome(meaning, _units(answer, meaning))
    return CallOutcome(
        meaning,
        _units(answer, meaning),
        _detail(answer, tree, fault),
        retry.parse_retry_after(answer.header("retry-after"), answer.finished_at),
    )


def means_no_highlights(tree: object) -> bool:
    """Return whether an error says that there are no highlights, which is a valid answer about a tray."""
    return isinstance(tree, dict) and tree.get("exc_type") == "HighlightNotFound"


def _meaning(answer: Answer, tree: object, fault: str) -> Meaning:
    status = answer.status
    if 300 <= status < 400:
        return Meaning.REDIRECTED
    if status >= 500 or status < 200:
        return Meaning.TRANSIENT
    if status in _STATUS_DECIDES:
        return _BY_STATUS[status]
    if fault and _is_page(answer):
        return Meaning.BLOCKED
    error = _as_error(tree)
    named = _stated_meaning(error) if error is not None else None
    if means_no_highlights(error) and answer.call.path in endpoints.WHOLE_TRAYS:
        return Meaning.OK
    if named is not None:
        return named
    if status >= 300:
        return _BY_STATUS.get(status, Meaning.INVALID)
    # An unknown error in an answer that was charged: another attempt would only be charged again.
    return Meaning.OK if error is None and isinstance(tree, (dict, list)) else Meaning.MALFORMED


def _as_error(tree: object) -> dict[str, object] | None:
    """Return the tree if it is an error.

    An error has ``exc_type``, ``"state": false``, or a ``detail`` but no pk.
    """
    if not isinstance(tree, dict):
        return None
    is_error = (
        tree.get("exc_type") is not None
        or tree.get("state") is False
        or ("detail" in tree and "pk" not in tree)
    )
    return tree if is_error else None


def _stated_meaning(error: dict[str, object]) -> Meaning | None:
    """Return the meaning that an error states by its type, or by one of two sentences without a type."""
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
    """Return whether a body that is not JSON was written for a browser, or by Cloudflare."""
    head = answer.body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    kind = (answer.header("content-type") or "").lower()
    return head.startswith(b"<") or "html" in kind or _CLOUDFLARE.search(head) is not None


def _units(answer: Answer, meaning: Meaning) -> int:
    if meaning in _NEVER_BILLED:
        return 0
    return endpoints.settled_units(answer.call, answer.status, answer.header("x-hiker-info"))


def _detail(answer: Answer, tree: object, fault: str) -> str:
    if 300 <= answer.status < 400:
        return excerpt(f"{answer.status}: a redirect, which is not followed")
    if fault and _is_page(answer):
        return excerpt(f"{answer.status}: received a web page instead of JSON: {_head(answer)}")
    if fault:
        return excerpt(f"{answer.status}: {fault}: {_head(answer)}")
    error = tree if isinstance(tree, dict) else {}
    parts = (error.get("exc_type"), _sentence(error.get("detail")), _sentence(error.get("error")))
    text = ": ".join(str(part) for part in parts if part)
    return excerpt(f"{answer.status}: {text or _head(answer)}")


def _sentence(detail: object) -> str:
    """Return ``detail`` as text: it may also be a list of objects with ``msg`` and ``loc`` (422)."""
    if isinstance(detail, list):
        return "; ".join(_sentence(part) for part in detail[:5])
    if isinstance(detail, dict):
        location = detail.get("loc")
        where = ".".join(map(str, location)) if isinstance(location, list) else ""
        return f"{where} {detail.get('msg') or detail.get('error') or ''}".strip()
    return detail if isinstance(detail, str) else ""


def _head(answer: Answer) -> str:
    return clean_text(answer.body[:1_000].decode("utf-8", "replace"))
