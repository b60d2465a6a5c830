"""Where a report goes. The address may hold a token or a password: it never prints itself. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from archiver.addresses import is_link_local
from archiver.report.letter import Undelivered

_WEB = frozenset({"http", "https"})


class Address:
    """A URL of the configuration. ``str`` and ``repr`` show its scheme, and its host where that is one: in ``slack://TOKEN/...`` the
    token stands in the host's place. It cannot be pickled."""

    __slots__ = ("_url", "key", "may_be_link_local")

    def __init__(self, url: str, key: str, *, may_be_link_local: bool = False) -> None:
        """``key``: that of the configuration which named it. ``may_be_link_local``: see
        ``require_not_link_local``."""
        self._url = url
        self.key = key
        self.may_be_link_local = may_be_link_local

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
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        return Address(url, self.key, may_be_link_local=self.may_be_link_local)

    def require_not_link_local(self, address: str) -> None:
        """Raise Undelivered if the IP ``address`` that this URL's host means is link-local, unless the
        configuration allows that.

        There a cloud serves the credentials of its machines: whoever can set the name could have them asked
        for.
        """
        if is_link_local(address) and not self.may_be_link_local:
            raise Undelivered(
                f"its host is at {address}, a link-local address",
                f"check {self.key}; report.allow_link_local = true permits it",
            )

    def __str__(self) -> str:
        host = urlsplit(self._url).hostname if self.is_web else None
        return f"{self.scheme}://{host or '…'}"

    def __repr__(self) -> str:
        return f"Address({self})"

    def __reduce__(self) -> str:
        raise TypeError("an Address is not to be pickled")
