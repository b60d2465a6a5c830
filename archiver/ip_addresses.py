"""Which IP addresses are on this machine, and which are link-local. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")
_LINK_LOCAL = (
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::254/128"),  # metadata of Amazon over IPv6
    IPv4Network("100.100.100.200/32"),  # Alibaba
    IPv4Network("192.0.0.192/32"),  # Oracle
)


def is_loopback(text: str) -> bool:
    """Return whether ``text`` is an address of this machine: 127.0.0.0/8 or ::1."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


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
