"""The heads of requests, and the usual head of an answer, without h11's objects. Pure.

``read_plain_head`` reads only heads of HTTP/1.1 with one Content-Length, no transfer coding, and printable
ASCII. h11 reads any other head. For a small file, h11's objects cost more than its bytes.
"""

from __future__ import annotations

import re

from msgspec import Struct

from archiver.http.sockets import ProtocolViolated

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?"
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([\x20-\x7e]*)")
_FIELD = re.compile(rb"(%s): ?(%s)" % (_TOKEN, _VALUE))
_METHOD, _TARGET, _NAME = re.compile(rb"[A-Z]+"), re.compile(rb"[\x21-\x7e]+"), re.compile(_TOKEN)
_FIELD_VALUE = re.compile(rb"(?:%s)?" % _VALUE)
_LENGTH = re.compile(rb"[0-9]{1,15}")
_BODILESS = frozenset({204, 304})


class ResponseHead(Struct, frozen=True):
    """The head of an answer. The names of ``headers`` are in lower case."""

    status_code: int
    reason: bytes
    headers: Headers
    is_http_1_1: bool

    def stated_length(self) -> int | None:
        """Return the stated length of the body (RFC 9112, 6.3); None if only its end shows it.

        Contradictory headers were refused when the head was read.
        """
        if self.status_code in _BODILESS:
            return 0
        names = dict(self.headers)
        if b"transfer-encoding" in names or b"content-length" not in names:
            return None
        return int(names[b"content-length"])

    def keeps_alive(self) -> bool:
        """Return whether the connection may serve another request."""
        options = (value.lower() for name, value in self.headers if name == b"connection")
        return self.is_http_1_1 and not any(b"close" in option for option in options)


def encode_request(method: str, target: bytes, headers: Headers) -> bytes:
    """Return a request without a body. Raises ProtocolViolated if any part of it violates HTTP."""
    is_valid = (
        _METHOD.fullmatch(method.encode("ascii", "replace"))
        and _TARGET.fullmatch(target)
        and all(_NAME.fullmatch(name) and _FIELD_VALUE.fullmatch(value) for name, value in headers)
        and sum(name.lower() == b"host" for name, _ in headers) == 1
    )
    if not is_valid:
        raise ProtocolViolated("the request violates HTTP")  # without the headers, which hold the key
    lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), target)]
    lines += [b"%s: %s" % header for header in headers]
    return b"\r\n".join([*lines, b"", b""])


def read_plain_head(received: bytes) -> tuple[ResponseHead, bytes] | None:
    """Return the usual head of an answer, and what follows it; None for any other bytes."""
    head, end, rest = received.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(line)
    if not end or status is None:
        return None
    headers: Headers = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return None
        headers.append((field[1].lower(), field[2]))
    lengths = [value for name, value in headers if name == b"content-length"]
    is_plain = (
        len(lengths) == 1
        and _LENGTH.fullmatch(lengths[0])
        and int(status[1]) not in _BODILESS
        and all(name != b"transfer-encoding" for name, _ in headers)
    )
    return (ResponseHead(int(status[1]), status[2], headers, True), rest) if is_plain else None
