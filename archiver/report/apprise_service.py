"""Sends to URLs that are not web addresses (ntfy, mail, Slack, …) with the package Apprise.

Apprise uses requests, which uses the proxies in the environment. Here it follows no redirects and stores
nothing on disk. Its log is silenced, as it contains whole URLs.
"""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from archiver.errors import install_command
from archiver.report.notification_url import NotDelivered, NotificationUrl

if TYPE_CHECKING:
    from apprise import Apprise

_SILENCED_LOGGERS = ("apprise", "requests", "urllib3", "charset_normalizer")


def check_url(to: NotificationUrl) -> None:
    """Raise NotDelivered if Apprise is not installed or cannot use the URL. Send nothing."""
    _open_service(to)


def send(to: NotificationUrl, title: str, text: str) -> None:
    """Send title and text once. Raise NotDelivered if that fails."""
    service = _open_service(to)
    _require_no_link_local_host(to, service)
    if not service.notify(title=title, body=text):
        raise NotDelivered(
            f"the {to.scheme}:// service refused the report",
            f"check {to.key}; for details: apprise -vv -b test 'URL'",
        )


def _open_service(to: NotificationUrl) -> Apprise:
    for name in _SILENCED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports modules that Python has deprecated, in add() too
        try:
            from apprise import Apprise, AppriseAsset
        except ImportError:
            raise NotDelivered(
                f"{to.scheme}:// needs the package Apprise", f"install it: {install_command('apprise')}"
            ) from None
        service = Apprise(asset=AppriseAsset(async_mode=False, http_redirects=False))
        is_usable = service.add(to.reveal())
    if not is_usable:
        raise NotDelivered(
            f"Apprise cannot use this {to.scheme}:// address",
            f"compare {to.key} with the services that Apprise documents",
        )
    return service


def _require_no_link_local_host(to: NotificationUrl, service: Apprise) -> None:
    """Raise NotDelivered if the host of the URL, or the mail server in its query, is link-local.

    For most services the host of the URL is a token, which must not be looked up.
    """
    for plugin in service:
        templates: Iterable[str] = plugin.templates
        hosts = [plugin.host] if any("{host}" in template for template in templates) else []
        for host in filter(None, (*hosts, getattr(plugin, "smtp_host", None))):
            with suppress(OSError, UnicodeError):  # the service itself reports an unknown name
                for entry in socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM):
                    to.require_not_link_local(str(entry[4][0]))
