"""One POST to an http or https address.

No redirect is followed: the body must not go to a host that is not configured. Only the status of the answer
is read. For https, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``
apply, as they do for the API. Plain http never goes through a proxy, which could read the body.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx

import archiver
from archiver.report.notification_url import NotDelivered, NotificationUrl


def post(to: NotificationUrl, body: bytes, content_type: str, *, seconds: float) -> None:
    """Send the body once; ``seconds`` limits each step. Raise NotDelivered unless the status is a success."""
    for name in ("httpx", "httpcore"):  # at INFO and DEBUG they log whole URLs
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"user-agent": f"archiver/{archiver.__version__}", "content-type": content_type}
    extensions = {"trace": _refuse_link_local_peer(to)}
    use_proxy = to.scheme == "https"
    try:
        with (
            httpx.Client(
                trust_env=use_proxy, follow_redirects=False, timeout=seconds, headers=headers
            ) as client,
            client.stream("POST", to.reveal(), content=body, extensions=extensions) as answer,
        ):
            status = answer.status_code
    except httpx.TimeoutException:
        raise NotDelivered(f"no answer within {seconds:g} seconds", f"check {to.key}") from None
    except httpx.TransportError as error:
        why = "no connection" if isinstance(error, httpx.NetworkError) else type(error).__name__
        raise NotDelivered(why, f"check {to.key}, and that this machine can reach its host") from None
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # The error text may quote the URL. ImportError: the proxy is of a kind that needs another package.
        raise NotDelivered(
            f"it cannot be used ({type(error).__name__})",
            f"check {to.key}, and HTTPS_PROXY and SSL_CERT_FILE if they are set",
        ) from None
    if 300 <= status < 400:
        raise NotDelivered(
            f"it answered {status}, and redirects are not followed", f"set {to.key} to the final address"
        )
    if not 200 <= status < 300:
        raise NotDelivered(f"it answered {status}", f"check {to.key}")


def _refuse_link_local_peer(to: NotificationUrl) -> Callable[[str, dict[str, Any]], None]:
    """Return a trace function for httpcore that closes a connection to a link-local address before use.

    It checks the peer of the socket, not the name, because a second lookup may give another address.
    """

    def check_peer(step: str, info: dict[str, Any]) -> None:
        if step != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        try:
            to.require_not_link_local(str(stream.get_extra_info("server_addr")[0]))
        except NotDelivered:
            stream.close()
            raise

    return check_peer
