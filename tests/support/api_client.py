"""API clients for tests, servers that answer or hang up, and all text that could leak from a failed call."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import ClassVar

import httpx
import pytest
from respx.mocks import AbstractRequestMocker

from archiver.errors import CallFailed
from archiver.hiker import endpoints
from archiver.hiker.client import HikerClient
from archiver.secret import Secret
from tests.support.scripted_server import Act, Connection, scripted_server


class ApiMocker(AbstractRequestMocker):
    """Lets respx answer in place of the client's own transport, which is none of httpx's:
    ``respx.mock(using="api")``.
    """

    name = "api"
    targets: ClassVar[list[str]] = ["archiver.hiker.deadline_transport.DeadlineTransport"]
    target_methods: ClassVar[list[str]] = ["handle_request"]

    @classmethod
    def to_httpx_request(cls, **kwargs: httpx.Request) -> httpx.Request:
        """The request as the transport got it."""
        return kwargs["request"]

    @classmethod
    def from_sync_httpx_response(
        cls, httpx_response: httpx.Response, *_: object, **__: object
    ) -> httpx.Response:
        """The answer as a stream that nobody has read yet."""
        stream = httpx.ByteStream(httpx_response.content)
        return httpx.Response(httpx_response.status_code, headers=httpx_response.headers, stream=stream)


KEY = "canary-7f3a-never-shown"
API = "https://api.hikerapi.com"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CALL = endpoints.highlight_call("18085475671830440")


@contextmanager
def client(base_url: str = API, timeout: float = 5.0) -> Iterator[HikerClient]:
    made = HikerClient(Secret(KEY), base_url=base_url, timeout=timeout, clock=lambda: NOON)
    try:
        yield made
    finally:
        made.close()


def answers_once(connection: Connection) -> None:
    """Answer one request with an empty object, and close."""
    connection.request()
    connection.answer(b"{}")


def hangs_up(connection: Connection) -> None:
    """Read one request and close without an answer."""
    connection.request()


def failed_call(*acts: Act, timeout: float = 5.0) -> CallFailed:
    """Return how one call fails if the server does this."""
    with (
        scripted_server(*acts) as server,
        client(server.url, timeout) as hiker,
        pytest.raises(CallFailed) as caught,
    ):
        hiker.send(CALL)
    return caught.value


def everything(error: BaseException) -> str:
    """Return all that a tool could print of an exception: with local variables, causes and contexts."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    chained = [repr(e) for e in (error.__cause__, error.__context__) if e is not None]
    return "".join([*told.format(), repr(error), *map(str, error.args), *chained])
