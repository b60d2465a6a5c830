"""Parse a stored answer according to its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from archiver.hiker import endpoints, wire
from archiver.model.api_calls import Answer, Meaning
from archiver.model.upstream import HighlightPage, Tray, User

Content = Tray | HighlightPage | User

_READERS: Mapping[str, Callable[[Answer], Content]] = {
    endpoints.TRAY: lambda answer: wire.parse_tray(answer, answer.call.subject),
    endpoints.PAGED_TRAY: lambda answer: wire.parse_tray_page(answer, answer.call.subject).tray,
    endpoints.TRAY_BY_NAME: lambda answer: wire.parse_tray(answer, username=answer.call.subject),
    endpoints.HIGHLIGHT: lambda answer: wire.parse_highlight_page(answer, answer.call.subject),
    endpoints.USER: lambda answer: wire.parse_user(answer, answer.call.subject),
    endpoints.USER_BY_NAME: lambda answer: wire.parse_user(answer, username=answer.call.subject),
}


def asked_username(answer: Answer) -> str | None:
    """Return the username by which an account or its tray was requested; None for any other call."""
    return answer.call.subject if answer.call.path in endpoints.BY_NAME else None


def read_content(answer: Answer) -> Content | None:
    """Return the content of an answer; None for an error, and for an endpoint that this version does not use.

    Raises AnswerMalformed if it is not what its endpoint promises.
    """
    read = _READERS.get(answer.call.path)
    if read is None or wire.parse_verdict(answer).meaning is not Meaning.OK:
        return None
    return read(answer)
