"""How the server is reached, and the rules that keep it from being reached by others unnoticed."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from msgspec import Struct

from archiver.errors import UsageError
from archiver.hosts import is_loopback

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class ServeOptions(Struct, frozen=True):
    """Where to listen, and who may connect.

    ``uds``: a Unix socket, instead of ``host`` and ``port``; port 0 is any free one. ``allow_hosts``: more
    host names that requests may use. ``proxies``: the only addresses that may connect.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    proxies: tuple[str, ...] = ()

    @property
    def has_tls(self) -> bool:
        """Whether the server itself speaks TLS."""
        return self.tls_cert is not None

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it over TLS: a proxy must speak it to them."""
        return self.has_tls or self.uds is not None or bool(self.proxies)

    def peers(self) -> frozenset[IPv4Address | IPv6Address]:
        """Return the addresses of ``proxies``. Raises UsageError if one is not an address."""
        try:
            return frozenset(map(ip_address, self.proxies))
        except ValueError as exc:
            raise UsageError(f"--behind-proxy: {exc}", "give the proxy's IP address") from None

    def check(self) -> None:
        """Raise UsageError if others could look without a token, or read one on the network."""
        self.peers()
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key belong together", "give both")
        if self.uds is not None and self.proxies:
            raise UsageError(
                "--behind-proxy names an address, and a Unix socket has none", "leave out --behind-proxy"
            )
        is_private = self.uds is None and not self.proxies and is_on_this_machine(self.host)
        if is_private:
            return
        missing: list[tuple[str, str]] = []
        if self.token_file is None:
            missing.append(("the pages need a login", "--token-file FILE"))
        if not self.is_secure:
            missing.append(
                (
                    "the token would cross the network in the clear",
                    "--tls-cert FILE --tls-key FILE or --behind-proxy ADDRESS",
                )
            )
        if not self.allowed_hosts() - set(_LOOPBACK_NAMES):
            missing.append(
                (
                    "no host name but those of this machine is allowed",
                    "--allow-host NAME",
                )
            )
        if missing:
            where = self.host if self.uds is None else f"the socket {self.uds}"
            problems, options = zip(*missing, strict=True)
            raise UsageError(
                f"others can reach {where}: {'; '.join(problems)}",
                f"add {', and '.join(options)}; or listen on 127.0.0.1, for this machine alone",
            )

    def name_address(self, address: str) -> str:
        """Return an address on which is listened; named by ``allow_hosts`` if it is no host."""
        scheme, _, rest = address.partition("://")
        host, _, port = rest.rpartition(":")
        if not self.allow_hosts or not host or not ip_address(host.strip("[]")).is_unspecified:
            return address
        return f"{scheme}://{_host(self.allow_hosts[0])}:{port}"

    def allowed_hosts(self) -> frozenset[str]:
        """Return the host names that requests may use, in lower case and without ports.

        Raises UsageError for something else than a name or an address.
        """
        hosts = {*_LOOPBACK_NAMES, *(_host(text) for text in self.allow_hosts)}
        if self.uds is None:
            try:
                address = ip_address(self.host)
            except ValueError:
                hosts.add(self.host.lower())
            else:
                if not address.is_unspecified:
                    hosts.add(f"[{address}]" if address.version == 6 else str(address))
        return frozenset(hosts)


def is_on_this_machine(host: str) -> bool:
    """Return whether only this machine reaches what listens on ``host``, by all addresses that it has."""
    if is_loopback(host):
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    return all(is_loopback(str(address[0])) for *_, address in found)


def _host(text: str) -> str:
    name = text.strip().lower()
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        if not name or not all(c.isascii() and (c.isalnum() or c in "-._") for c in name):
            raise UsageError(
                f"--allow-host {text}: not a host name", "give it without scheme, port and path"
            ) from None
        return name
    return f"[{address}]" if address.version == 6 else str(address)
