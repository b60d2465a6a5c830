"""Which host names and IP addresses there are: on this machine, on the public internet, link-local. Pure.

For the public internet, ``ipaddress.is_global`` is not enough: it accepts multicast, NAT64 and 6to4, which
may hide a private address, and its answers differ between versions of Python. Sources: the IANA
special-purpose registries (RFC 6890 and its updates), RFC 3056, 4380, 6052, 9637.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LINK_LOCAL = (
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::254/128"),  # metadata of Amazon over IPv6
    IPv4Network("100.100.100.200/32"),  # Alibaba
    IPv4Network("192.0.0.192/32"),  # Oracle
)
_V4_REFUSED = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# The only allocated part: IPv4-mapped, NAT64, ULA, link-local and multicast addresses are outside it.
_V6_UNICAST = IPv6Network("2000::/3")
_V6_REFUSED = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)


def is_host_name(text: str) -> bool:
    """Return whether ``text`` is a host name in lower-case ASCII, as DNS has it, or an IPv4 address."""
    return _NAME.fullmatch(text) is not None


def is_this_machine(host: str) -> bool:
    """Return whether a host names this machine: localhost, 127.0.0.0/8 or ::1."""
    return host == "localhost" or is_loopback(host)


def is_loopback(text: str) -> bool:
    """Return whether ``text`` is an address of this machine: 127.0.0.0/8 or ::1."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


def is_public(text: str) -> bool:
    """Return whether ``text`` is an address on the public internet; False if it is not an address."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if address.version == 4:
        return not any(address in network for network in _V4_REFUSED)
    if address.scope_id is not None or address not in _V6_UNICAST:
        return False
    return not any(address in network for network in _V6_REFUSED)


def is_reserved(text: str) -> bool:
    """Return whether ``text`` is an address outside the public internet; False for a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return not is_public(text)


def is_link_local(text: str) -> bool:
    """Return whether ``text`` is link-local, or another address at which a cloud serves metadata.

    At such an address, a cloud gives its machines their credentials. IPv4 addresses embedded in IPv6 ones
    count too. False if ``text`` is not an address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = _embedded_ipv4(address) or IPv6Address(int(address))  # without its scope
    return any(address in network for network in _LINK_LOCAL if network.version == address.version)


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address embedded in an IPv6 one; None if there is none."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
