"""Parse a stored answer according to its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from archiver.hiker import endpoints, wire
from archiver.hiker.wire import Document
from archiver.model.api_calls import Answer, Meaning
from archiver.model.upstream import HighlightPage, Tray, User

Content = Tray | HighlightPage | User

_READERS: Mapping[str, Callable[[Document, str], Content]] = {
    endpoints.TRAY: lambda document, pk: wire.parse_tray(document, pk),
    endpoints.PAGED_TRAY: lambda document, pk: wire.parse_tray_page(document, pk).tray,
    endpoints.TRAY_BY_NAME: lambda document, name: wire.parse_tray(document, username=name),
    endpoints.HIGHLIGHT: lambda document, pk: wire.parse_highlight_page(document, pk),
    endpoints.USER: lambda document, pk: wire.parse_user(document, pk),
    endpoints.USER_BY_NAME: lambda document, name: wire.parse_user(document, username=name),
}


def asked_username(answer: Answer) -> str | None:
    """Return the username by which an account or its tray was requested; None for any other call."""
    return answer.call.subject if answer.call.path in endpoints.BY_NAME else None


def read_content(answer: Answer) -> Content | None:
    """Return the content of an answer; None for an error, and for an endpoint that this version does not use.

    Raises AnswerMalformed if it is not what its endpoint promises.
    """
    read = _READERS.get(answer.call.path)
    if read is None:
        return None
    document = wire.read_document(answer)
    return read(document, answer.call.subject) if wire.parse_outcome(document).meaning is Meaning.OK else None
