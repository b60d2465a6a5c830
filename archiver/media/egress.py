"""Who may be reached: the names. Whether their addresses may be is ``dial``'s question. Pure.

A hostile answer chooses the URLs, so a host is allowed by its exact labels, never by a substring.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import idna

from archiver.addresses import is_loopback, is_reserved
from archiver.errors import ConfigError, DownloadFailed, Reason

MAX_URL = 8192
"""Characters: real signed URLs are under 1,000."""

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# Addresses that ``ip_address`` does not read and some resolvers do: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMBER = re.compile(r"(?!\d{1,3}(\.\d{1,3}){3}\Z)([a-z0-9-]+\.)*(0x[0-9a-f]*|\d+)|0\d+(\.\d+){3}")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class CheckedUrl:
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

    def check(self, url: str) -> CheckedUrl:
        """Return the URL taken apart.

        Raises DownloadFailed, whose message holds no query: REFUSED for a malformed or unsafe URL, HOST_NOT_ALLOWED
        for one that only the list of hosts forbids.
        """
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
        if not loopback and (parts.scheme != "https" or port not in (None, 443)):
            raise _refused(f"only https on port 443 is allowed to {host}")
        if parts.scheme not in ("https", "http"):
            raise _refused(f"only http and https are allowed to {host}")
        if not loopback and (is_reserved(host) or _NUMBER.fullmatch(host)):
            raise _refused(f"{host} is not an address on the public internet")
        if not self.allows(host):
            raise DownloadFailed(
                Reason.HOST_NOT_ALLOWED, f"host {host} is not in download.allowed_hosts", host=host
            )
        path = parts.path or "/"
        target = quote(f"{path}?{parts.query}" if parts.query else path, _PRINTABLE, errors="replace")
        default = 443 if parts.scheme == "https" else 80
        return CheckedUrl(parts.scheme, host, default if port is None else port, target, loopback)

    def allows(self, host: str) -> bool:
        """Whether a download may go to this host, given in ASCII and lower case as ``Place.host`` is."""
        is_local = is_loopback(host) or host == "localhost"
        return host in self._exact or (not is_local and host.endswith(self._suffixes))


@dataclass(frozen=True, slots=True)
class DownloadRules:
    """What the settings allow to be downloaded: to which hosts, and up to how many bytes."""

    egress: Egress
    max_file_size: int

    @classmethod
    def of(cls, allowed_hosts: Sequence[str], max_file_size: int) -> DownloadRules:
        """Return the rules of these settings. Raises ConfigError for a host pattern that names nothing."""
        try:
            return cls(Egress(tuple(allowed_hosts)), max_file_size)
        except ValueError as exc:
            raise ConfigError(
                "download.allowed_hosts has an entry that is neither a host name nor a pattern",
                "write a name such as cdn.example or a pattern such as *.cdninstagram.com",
            ) from exc

    def allow(self, host: str | None, size: int | None) -> bool:
        """Whether a file that a setting refused is allowed now: ``host`` or ``size`` (bytes) is what was refused."""
        if host is not None:
            return self.egress.allows(host)
        return size is not None and size <= self.max_file_size


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
