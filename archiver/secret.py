"""The API key, as a value that is never printed."""

from __future__ import annotations

import re

from archiver.errors import KeyMissing

_KEY = re.compile(r"[\x21-\x7e]+")
_WORTH_HIDING = 8
"""Characters. A shorter text occurs in others by chance, and no vendor gives such a key."""


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
                "the API key has a character that no key has (a space, a line break or a non-ASCII sign)",
                "copy it again from the vendor's page, in one piece",
            )
        self._text = stripped

    def reveal(self) -> str:
        """Return the key itself. Only the API client may call this, for the header of its requests."""
        return self._text

    def redact(self, text: str) -> str:
        """Return a text with ``***`` in place of the key, such as a traceback that quotes a request."""
        return text.replace(self._text, "***") if len(self._text) >= _WORTH_HIDING else text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret must not be pickled")
