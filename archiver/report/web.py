"""One POST to an http or https address.

No redirect is followed: a body must not travel to a host that nobody named. Of the answer only the status is looked at. An https address
is reached as ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` say, with the certificates of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``, as the API
is; a plain http one never through a proxy, which would read what is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx

import archiver
from archiver.report.address import Address
from archiver.report.letter import Undelivered


def post(address: Address, body: bytes, content_type: str, *, seconds: float) -> None:
    """Send the body once. Raises Undelivered unless the answer is a success. ``seconds`` are those of each step, not of all."""
    for name in ("httpx", "httpcore"):  # at INFO and DEBUG they log whole URLs
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"user-agent": f"archiver/{archiver.__version__}", "content-type": content_type}
    try:
        with (
            httpx.Client(
                trust_env=address.scheme == "https", follow_redirects=False, timeout=seconds, headers=headers
            ) as client,
            client.stream(
                "POST", address.reveal(), content=body, extensions={"trace": _vetting(address)}
            ) as answer,
        ):
            status = answer.status_code
    except httpx.TimeoutException:
        raise Undelivered(f"no answer within {seconds:g} seconds", f"check {address.key}") from None
    except httpx.TransportError as error:
        why = "no connection" if isinstance(error, httpx.NetworkError) else type(error).__name__
        raise Undelivered(why, f"check {address.key}, and that this machine reaches its host") from None
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # Their texts may quote the address. A proxy of a kind that needs a package more is an ImportError.
        raise Undelivered(
            f"it cannot be used ({type(error).__name__})",
            f"check {address.key}, and HTTPS_PROXY and SSL_CERT_FILE if they are set",
        ) from None
    if 300 <= status < 400:
        raise Undelivered(
            f"it answered {status}, and no redirect is followed",
            f"write the final address into {address.key}",
        )
    if not 200 <= status < 300:
        raise Undelivered(f"it answered {status}", f"check {address.key}")


def _vetting(address: Address) -> Callable[[str, dict[str, Any]], None]:
    """Return what httpcore calls at each step: it ends a connection to a link-local address before anything
    is sent on it.

    The peer of the socket is looked at, not the name: a name server cannot show one address here and another
    one there.
    """

    def vet(step: str, info: dict[str, Any]) -> None:
        if step != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        try:
            address.require_not_link_local(str(stream.get_extra_info("server_addr")[0]))
        except Undelivered:
            stream.close()
            raise

    return vet
