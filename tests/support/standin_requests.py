"""Requests to the stand-in over plain sockets, without the program's clients and their libraries."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.support.standin.faulty_standin import FaultyStandIn

NATGEO = "787132"
SALWAAA = "75885841119"
GIFTS, BOOKS, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"
ME = "18085475671830440"


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # JSON of whatever shape the answer has
        return json.loads(self.body)


def get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> HttpAnswer:
    """Send one request on a new connection."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", headers=dict(headers or {}))
        answer = connection.getresponse()
        return HttpAnswer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def ask(
    upstream: FaultyStandIn, path: str, headers: Mapping[str, str] | None = None, /, **params: str
) -> HttpAnswer:
    """Call the API with key and user agent, unless ``headers`` differs."""
    default = {"x-access-key": upstream.key, "user-agent": "test"}
    return get(f"{upstream.base_url}{path}?{urlencode(params)}", default if headers is None else headers)


def tray(upstream: FaultyStandIn, pk: str = NATGEO) -> Any:
    """Return the v1 tray of an account."""
    return ask(upstream, "/v1/user/highlights", user_id=pk, force="on").json


def page(upstream: FaultyStandIn, pk: str = GIFTS) -> Any:
    """Return a highlight's page."""
    url = f"https://www.instagram.com/stories/highlights/{pk}/"
    return ask(upstream, "/v1/highlight/by/url", url=url).json


def send_raw(upstream: FaultyStandIn, url: str, patience: float = 5) -> tuple[bytes, str]:
    """All that comes over the wire, and how it ended: ``end``, ``reset``, ``endless`` or, for so many
    seconds, ``silence``.
    """
    parts = urlsplit(url)
    host, port = parts.netloc.split(":")
    request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nhost: {parts.netloc}\r\nuser-agent: test\r\n"
    request += f"x-access-key: {upstream.key}\r\n" if url.startswith(upstream.base_url) else ""
    received = b""
    with socket.create_connection((host, int(port)), timeout=patience) as sock:
        sock.sendall(f"{request}\r\n".encode())
        try:
            while data := sock.recv(65_536):
                received += data
                if len(received) > 3_000_000:
                    return received, "endless"
        except ConnectionResetError:
            return received, "reset"
        except TimeoutError:
            return received, "silence"
    return received, "end"


def connect(address: str) -> socket.socket:
    """Connect to a listener's ``host:port``."""
    host, _, port = address.partition(":")
    return socket.create_connection((host, int(port)), timeout=5)
