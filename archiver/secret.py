"""A key that never prints itself."""

from __future__ import annotations

import re

from archiver.errors import KeyMissing

_KEY = re.compile(r"[\x21-\x7e]+")
_WORTH_HIDING = 8
"""Characters. What is shorter stands in many a text by chance, and is no key that any vendor gives."""


class Secret:
    """An API key, stripped and checked when it is made; ``repr`` and ``str`` show ``***``; it cannot be pickled.

    Raises KeyMissing, never quoting the text, if what is left after stripping white space is empty or holds anything but
    printable ASCII: such a key would surface in the exception text of the HTTP library that refuses the header.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        stripped = text.strip()
        if not stripped:
            raise KeyMissing("the API key is empty", "set HIKERAPI_TOKEN, or token_file in the configuration")
        if _KEY.fullmatch(stripped) is None:
            raise KeyMissing(
                "the API key holds a character that no key has (a space, a line break or a non-ASCII sign)",
                "copy it again from the vendor's page, in one piece",
            )
        self._text = stripped

    def reveal(self) -> str:
        """The key itself. Only the API client's request line may call this."""
        return self._text

    def hidden_in(self, text: str) -> str:
        """``text`` with ``***`` wherever the key stands in it: for what may quote a request, such as the traceback of a bug."""
        return text.replace(self._text, "***") if len(self._text) >= _WORTH_HIDING else text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not to be pickled")
