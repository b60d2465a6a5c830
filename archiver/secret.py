"""The API key, as a value that is never printed."""

from __future__ import annotations

import re

from archiver.errors import KeyMissing

_KEY = re.compile(r"[\x21-\x7e]+")
_MIN_REDACTED = 8
"""Characters. A shorter text occurs in other texts by chance, and no vendor issues such a key."""


class Secret:
    """An API key, without white space around it. ``repr`` and ``str`` show ``***``; it cannot be pickled.

    Raises KeyMissing, which never quotes the text, if it is empty or contains anything but printable ASCII:
    the HTTP library would quote such a key in the error that refuses the header.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        stripped = text.strip()
        if not stripped:
            raise KeyMissing("the API key is empty", "set HIKERAPI_TOKEN, or token_file in the configuration")
        if _KEY.fullmatch(stripped) is None:
            raise KeyMissing(
                "the API key contains an invalid character (a space, a line break or a non-ASCII character)",
                "copy it again from the vendor's page, in one piece",
            )
        self._text = stripped

    def reveal(self) -> str:
        """Return the key itself. Only the API client may call this, for the header of its requests."""
        return self._text

    def redact(self, text: str) -> str:
        """Return ``text``, such as a traceback that quotes a request, with ``***`` in place of the key."""
        return text.replace(self._text, "***") if len(self._text) >= _MIN_REDACTED else text

    def redact_bytes(self, content: bytes) -> bytes:
        """Return ``content`` with ``***`` in place of the key, as ``redact`` does."""
        key = self._text.encode("ascii")
        return content.replace(key, b"***") if len(key) >= _MIN_REDACTED else content

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret must not be pickled")
