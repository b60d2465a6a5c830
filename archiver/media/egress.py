"""Who may be reached: the names. Whether their addresses may be is ``dial``'s question. Pure.

A hostile answer chooses the URLs, so a host is allowed by its exact labels, never by a substring.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import idna

from archiver.errors import DownloadFailed, Reason
from archiver.media.addresses import is_loopback

MAX_URL = 8192
"""Characters: real signed URLs are under 1,000."""

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Place:
    """A checked URL, taken apart. ``host`` is ASCII, in lower case; ``target`` is path and query as they were written."""

    scheme: str
    host: str
    port: int
    target: str
    loopback: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may share a connection."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Egress:
    """The hosts that a download may go to.

    ``allowed_hosts``: names, and ``*.`` patterns that match every name below, at any depth, but not the name itself. Only https on
    port 443. A loopback host (127.0.0.0/8, ::1, localhost) counts only if it is listed itself; to it http and any port are allowed.
    Raises ValueError for a pattern that names nothing.
    """

    def __init__(self, allowed_hosts: tuple[str, ...]) -> None:
        exact = {_ascii(pattern) for pattern in allowed_hosts if not pattern.startswith("*.")}
        self._exact = frozenset(exact)
        self._suffixes = tuple(f".{_ascii(p[2:])}" for p in allowed_hosts if p.startswith("*."))

    def check(self, url: str) -> Place:
        """The URL taken apart. Raises DownloadFailed(REFUSED) for one that must not be asked; its message holds no query."""
        if len(url) > MAX_URL:
            raise _refused(f"the URL has {len(url)} characters, over {MAX_URL}")
        if _FORBIDDEN.search(url):
            raise _refused("the URL holds a space, a backslash or a control character")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _refused("the URL cannot be read") from None
        if "@" in parts.netloc:
            raise _refused("the URL names a user")
        try:
            host = _ascii(parts.hostname or "")
        except ValueError:
            raise _refused("the URL's host is no host name") from None
        loopback = is_loopback(host) or host == "localhost"
        self._allow(host, loopback)
        if not loopback and (parts.scheme != "https" or port not in (None, 443)):
            raise _refused(f"only https on port 443 is allowed to {host}")
        if parts.scheme not in ("https", "http"):
            raise _refused(f"only http and https are allowed to {host}")
        path = parts.path or "/"
        target = quote(f"{path}?{parts.query}" if parts.query else path, _PRINTABLE, errors="replace")
        default = 443 if parts.scheme == "https" else 80
        return Place(parts.scheme, host, default if port is None else port, target, loopback)

    def _allow(self, host: str, loopback: bool) -> None:
        if host in self._exact or (not loopback and host.endswith(self._suffixes)):
            return
        raise _refused(f"{host} is not among the allowed hosts")


def _ascii(host: str) -> str:
    """The host as DNS knows it: IDNA 2008 for letters beyond ASCII. Raises ValueError (idna's own error is one)."""
    host = host.lower()
    if ":" in host and is_loopback(host):
        return "::1"
    if not host.isascii():
        host = idna.encode(host).decode("ascii").lower()
    if _HOST.fullmatch(host) is None:
        raise ValueError("not a host name")
    return host


def _refused(message: str) -> DownloadFailed:
    return DownloadFailed(Reason.REFUSED, message)
