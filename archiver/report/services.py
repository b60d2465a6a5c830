"""Every address that is no web address: ntfy, mail, Slack and a hundred others, by the package Apprise (extra ``report``).

Apprise asks through requests, which reads the proxies of the environment. It follows no redirect here, keeps nothing on disk, and its log is
silenced: it writes whole addresses.
"""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from archiver.errors import install_command
from archiver.report.address import Address
from archiver.report.letter import Letter, Undelivered

if TYPE_CHECKING:
    from apprise import Apprise

_TALKATIVE = ("apprise", "requests", "urllib3", "charset_normalizer")


def require(address: Address) -> None:
    """Raises Undelivered where nothing could be sent there: Apprise is not installed, or cannot use the address. Sends nothing."""
    _opened(address)


def notify(address: Address, letter: Letter) -> None:
    """Send title and text once. Raises Undelivered."""
    service = _opened(address)
    _vet(address, service)
    if not service.notify(title=letter.title, body=letter.text):
        raise Undelivered(
            f"the service behind {address.scheme}:// did not take it",
            f"check {address.key}; apprise -vv -b test 'URL' says more",
        )


def _opened(address: Address) -> Apprise:
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it looks for modules that this Python calls old, also when it reads an address
        try:
            from apprise import Apprise, AppriseAsset
        except ImportError:
            raise Undelivered(
                f"{address.scheme}:// needs the package Apprise", f"install it: {install_command('apprise')}"
            ) from None
        service = Apprise(asset=AppriseAsset(async_mode=False, http_redirects=False))
        known = service.add(address.reveal())
    if not known:
        raise Undelivered(
            f"Apprise cannot use this {address.scheme}:// address",
            f"compare {address.key} with the list of services of Apprise",
        )
    return service


def _vet(address: Address, service: Apprise) -> None:
    """Raise Undelivered if the host of the address, or the mail server in its query, is link-local. Of most
    services the host is a token: that is not looked up."""
    for plugin in service:
        templates: Iterable[str] = plugin.templates
        hosts = [plugin.host] if any("{host}" in template for template in templates) else []
        for host in filter(None, (*hosts, getattr(plugin, "smtp_host", None))):
            with suppress(OSError, UnicodeError):  # a name that means nothing is told by the service
                for entry in socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM):
                    address.require_not_link_local(str(entry[4][0]))
