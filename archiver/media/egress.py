"""Which URLs may be downloaded. Pure.

The URLs come from answers, which may be hostile: a host is allowed by its exact labels, never by a substring.
``direct_transport`` checks every address that a host resolves to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import SplitResult, quote, urlsplit

import idna
from msgspec import Struct

from archiver.errors import ConfigError, DownloadFailed, Reason
from archiver.hosts import is_host_name, is_loopback, is_reserved, is_this_machine

MAX_URL = 8192
"""Characters: real signed URLs are under 1,000."""

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
# Addresses that some resolvers understand, but ``ip_address`` does not: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMBER = re.compile(r"(?!\d{1,3}(\.\d{1,3}){3}\Z)([a-z0-9-]+\.)*(0x[0-9a-f]*|\d+)|0\d+(\.\d+){3}")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_DEFAULT_PORTS = {"https": 443, "http": 80}


class CheckedUrl(Struct, frozen=True):
    """The parts of a checked URL: ``host`` in lower-case ASCII, ``target`` (path and query) as written."""

    scheme: str
    host: str
    port: int
    target: str
    is_loopback: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port. Requests to the same origin may share a connection."""
        return f"{self.scheme}://{self._bracketed_host}:{self.port}"

    @property
    def host_header(self) -> str:
        """The value of the Host header. It has a port only if that is not the default of the scheme."""
        is_default = self.port == _DEFAULT_PORTS[self.scheme]
        return self._bracketed_host if is_default else f"{self._bracketed_host}:{self.port}"

    @property
    def _bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class Egress:
    """The hosts that downloads may go to.

    ``allowed_hosts``: names, and patterns such as ``*.example.com``, which match every name below it but not
    ``example.com`` itself. Only https on port 443 is allowed. A loopback host (127.0.0.0/8, ::1, localhost)
    must be listed by its own name; it may also use http and any port. Raises ValueError for an invalid
    pattern.
    """

    def __init__(self, allowed_hosts: tuple[str, ...]) -> None:
        exact = {_ascii(pattern) for pattern in allowed_hosts if not pattern.startswith("*.")}
        self._exact = frozenset(exact)
        self._suffixes = tuple(f".{_ascii(p[2:])}" for p in allowed_hosts if p.startswith("*."))
        # The files of an account come from few hosts. A refusal raises, and is not cached.
        self._check_origin = lru_cache(maxsize=1024)(self._decide_origin)

    def check(self, url: str) -> CheckedUrl:
        """Return the parts of a URL that may be downloaded.

        Raises DownloadFailed, whose message never contains the query: REFUSED for a malformed or unsafe URL,
        HOST_NOT_ALLOWED for one that only the list of hosts forbids.
        """
        parts, port = _split(url)
        host, is_local = self._check_origin(parts.scheme, parts.hostname or "", port)
        path = parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        if not target.isascii():
            target = quote(target, _PRINTABLE, errors="replace")
        if port is None:
            port = _DEFAULT_PORTS[parts.scheme]
        return CheckedUrl(parts.scheme, host, port, target, is_local)

    def _decide_origin(self, scheme: str, hostname: str, port: int | None) -> tuple[str, bool]:
        """Return the host in the form of ``CheckedUrl``, and whether it is a loopback one."""
        try:
            host = _ascii(hostname)
        except ValueError:
            raise _refusal("the host of the URL is not a host name") from None
        is_local = is_this_machine(host)
        if not is_local and (scheme != "https" or port not in (None, 443)):
            raise _refusal(f"only https on port 443 is allowed to {host}")
        if scheme not in _DEFAULT_PORTS:
            raise _refusal(f"only http and https are allowed to {host}")
        if not is_local and (is_reserved(host) or _NUMBER.fullmatch(host)):
            raise _refusal(f"{host} is not an address on the public internet")
        if not self.allows(host):
            raise DownloadFailed(
                Reason.HOST_NOT_ALLOWED, f"host {host} is not in download.allowed_hosts", host=host
            )
        return host, is_local

    def allows(self, host: str) -> bool:
        """Return whether downloads may go to this host, which is in the form of ``CheckedUrl.host``."""
        return host in self._exact or (not is_this_machine(host) and host.endswith(self._suffixes))


class DownloadRules(Struct, frozen=True):
    """What the settings allow: the hosts that downloads may go to, and the largest file in bytes."""

    egress: Egress
    max_file_size: int

    @classmethod
    def of(cls, allowed_hosts: Sequence[str], max_file_size: int) -> DownloadRules:
        """Return the rules of these settings. Raises ConfigError for an invalid host pattern."""
        try:
            return cls(Egress(tuple(allowed_hosts)), max_file_size)
        except ValueError as exc:
            raise ConfigError(
                "download.allowed_hosts has an entry that is neither a host name nor a pattern",
                "write a name such as cdn.example or a pattern such as *.cdninstagram.com",
            ) from exc

    def allows(self, host: str | None, size: int | None) -> bool:
        """Return whether a file that a setting refused is allowed now.

        ``host`` or ``size`` (bytes) is what the setting refused; the other is None.
        """
        if host is not None:
            return self.egress.allows(host)
        return size is not None and size <= self.max_file_size


def _split(url: str) -> tuple[SplitResult, int | None]:
    """Return the parts of a URL, and the port that it states. Raises DownloadFailed (REFUSED)."""
    if len(url) > MAX_URL:
        raise _refusal(f"the URL has {len(url)} characters, over {MAX_URL}")
    if _FORBIDDEN.search(url):
        raise _refusal("the URL contains a space, a backslash or a control character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refusal("the URL is malformed") from None
    if "@" in parts.netloc:
        raise _refusal("the URL contains a username")
    return parts, port


def _ascii(host: str) -> str:
    """Return a host in the form that DNS uses, with IDNA 2008 for letters beyond ASCII. Raises ValueError."""
    host = host.lower()
    if ":" in host and is_loopback(host):
        return "::1"
    if not host.isascii():
        host = idna.encode(host).decode("ascii").lower()  # its own error is a ValueError
    if not is_host_name(host):
        raise ValueError("not a host name")
    return host


def _refusal(message: str) -> DownloadFailed:
    return DownloadFailed(Reason.REFUSED, message)
