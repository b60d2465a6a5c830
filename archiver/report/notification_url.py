"""The URL that a report or a ping goes to. It never prints its secrets."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from archiver.ip_addresses import is_link_local

_WEB = frozenset({"http", "https"})


class NotDelivered(Exception):
    """A report or ping was not delivered. ``str()`` says why, without the URL; ``hint`` is the next step."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class NotificationUrl:
    """A URL of the configuration that may contain a token or a password. It cannot be pickled.

    ``str`` and ``repr`` show the scheme, and the host of a web address. Other schemes show no host:
    in ``slack://TOKEN/...`` it is the token.
    """

    __slots__ = ("_may_be_link_local", "_url", "key")

    def __init__(self, url: str, key: str, *, may_be_link_local: bool = False) -> None:
        """Hold ``url``, the value of the configuration key ``key``."""
        self._url = url
        self.key = key
        self._may_be_link_local = may_be_link_local

    @property
    def scheme(self) -> str:
        """What precedes ``://``, in lower case."""
        return self._url.partition("://")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether the scheme is http or https. All others are sent by Apprise."""
        return self.scheme in _WEB

    def reveal(self) -> str:
        """Return the URL itself, for the code that sends and nothing else."""
        return self._url

    def add_path(self, name: str) -> NotificationUrl:
        """Return this URL with ``/name`` appended to its path: the name says what a ping means."""
        parts = urlsplit(self._url)
        path = f"{parts.path.rstrip('/')}/{name}"
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        return NotificationUrl(url, self.key, may_be_link_local=self._may_be_link_local)

    def require_not_link_local(self, address: str) -> None:
        """Raise NotDelivered if ``address``, the host's IP address, is link-local and that is not allowed.

        At a link-local address, clouds serve the credentials of their machines. Without this check, anyone
        who can set the URL could have them requested.
        """
        if is_link_local(address) and not self._may_be_link_local:
            raise NotDelivered(
                f"its host is at {address}, a link-local address",
                f"check {self.key}; report.allow_link_local = true permits it",
            )

    def __str__(self) -> str:
        host = urlsplit(self._url).hostname if self.is_web else None
        return f"{self.scheme}://{host or '…'}"

    def __repr__(self) -> str:
        return f"NotificationUrl({self})"

    def __reduce__(self) -> str:
        raise TypeError("a NotificationUrl cannot be pickled")
