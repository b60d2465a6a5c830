"""Where a report goes. The address may hold a token or a password: it never prints itself. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

_WEB = frozenset({"http", "https"})


class Address:
    """A URL of the configuration. ``str`` and ``repr`` show its scheme, and its host where that is one: in ``slack://TOKEN/...`` the
    token stands in the host's place. It cannot be pickled."""

    __slots__ = ("_url", "key")

    def __init__(self, url: str, key: str) -> None:
        """``key``: that of the configuration which named it."""
        self._url = url
        self.key = key

    @property
    def scheme(self) -> str:
        """What stands before ``://``, in lower case."""
        return self._url.partition("://")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether it is http or https: asked by our own client."""
        return self.scheme in _WEB

    def reveal(self) -> str:
        """The URL itself. Only who sends may call this."""
        return self._url

    def below(self, name: str) -> Address:
        """The same address with ``/name`` behind its path: how a monitor is told what the ping means."""
        parts = urlsplit(self._url)
        path = f"{parts.path.rstrip('/')}/{name}"
        return Address(urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")), self.key)

    def __str__(self) -> str:
        host = urlsplit(self._url).hostname if self.is_web else None
        return f"{self.scheme}://{host or '…'}"

    def __repr__(self) -> str:
        return f"Address({self})"

    def __reduce__(self) -> str:
        raise TypeError("an Address is not to be pickled")
