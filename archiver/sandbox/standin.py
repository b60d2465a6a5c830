"""The stand-in for HikerAPI and Instagram's CDN: loopback listeners, a world, and a log of the requests."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from archiver.sandbox.api_json import Urls
from archiver.sandbox.fake_cdn import FakeCdn
from archiver.sandbox.hikerapi import HikerApi
from archiver.sandbox.http_server import (
    HttpReply,
    HttpRequest,
    LoggedRequest,
    LoopbackServer,
    Pace,
    RequestLog,
    RequestSubject,
    ServerConnection,
    StandInSettings,
)
from archiver.sandbox.world import World

_CONTROL = "/_standin/"
_JOINED = 1 << 16  # up to this size another packet costs more than another copy


class Service(Protocol):
    """What a listener serves: the API or the CDN."""

    def subject(self, request: HttpRequest) -> RequestSubject: ...
    def bill(self, request: HttpRequest, status: int) -> int: ...
    def answer(self, request: HttpRequest) -> tuple[HttpReply, int]: ...


class Exchange:
    """One request on one connection, and its true answer.

    The request is logged once, before the first byte of the answer leaves: a client that has its answer finds
    the request in the log.
    """

    def __init__(
        self,
        request: HttpRequest,
        connection: ServerConnection,
        service: Service,
        log: RequestLog,
        pace: Pace,
    ) -> None:
        self.request = request
        self.connection = connection
        self.service = service
        self.subject = service.subject(request)
        self.units = 0
        self._log = log
        self._pace = pace
        self._arrived_at = datetime.now(UTC)
        self._reply: HttpReply | None = None
        self._is_logged = False

    def reply(self) -> HttpReply:
        """Return the true answer. The first call makes and bills it."""
        if self._reply is None:
            self._reply, self.units = self.service.answer(self.request)
        return self._reply

    def record(self, status: int) -> None:
        """Log the request with this status. Later calls do nothing."""
        if not self._is_logged:
            self._is_logged = True
            request, seen = self.request, (self.subject, status, self.units, self._arrived_at)
            self._log.append(
                LoggedRequest(
                    request.listener,
                    request.method,
                    request.path,
                    request.query,
                    request.headers,
                    request.params,
                    request.address,
                    *seen,
                )
            )

    def deliver(self, reply: HttpReply | None = None, pace: Pace | None = None) -> None:
        """Send a whole answer; by default the true one, at the pace of the listener."""
        reply = reply or self.reply()
        pace = pace or self._pace
        self.connection.wait(pace.first_byte_delay)
        self.record(reply.status)
        body = b"" if self.request.method == "HEAD" else reply.body
        if len(body) > _JOINED:
            self.connection.send(reply.head())
            self.connection.send(body, pace)
        else:
            self.connection.send(reply.head() + body, pace)


class StandIn:
    """Serves a world between ``start`` and ``close``, or as a context manager.

    ``base_url``: of the API. ``cdn_hosts``: the two addresses (``host:port``) in signed URLs. ``key``: the
    only ``x-access-key`` that is accepted. ``world``, ``settings``, ``key`` and ``balance`` (units left) may
    be changed at any time. ``requests`` is the log. From another process, ``GET /_standin/counts`` and ``POST
    /_standin/reset`` on the API show and reset the log, free and without a key.

    To answer differently from upstream, override ``answer`` in a subclass.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        key: str | None = None,
        balance: int = 1_000_000,
        port: int = 0,
        cdn_origin: str | None = None,
        settings: StandInSettings | None = None,
    ) -> None:
        """``cdn_origin``: another server of the files (``https://host:port``), which all links name."""
        self.settings = settings or StandInSettings()
        self.requests = RequestLog()
        self.base_url = ""
        self.cdn_hosts: tuple[str, str] = ("", "")
        self._port = port
        self._cdn_origin = cdn_origin
        self._server = LoopbackServer()
        self._cdn: FakeCdn | None = None
        self._api = HikerApi(
            world if world is not None else World.seed(),
            self.settings,
            key or f"standin-{secrets.token_hex(16)}",
            balance,
            self._urls,
        )

    @property
    def world(self) -> World:
        return self._api.world

    @world.setter
    def world(self, world: World) -> None:
        self._api.world = world

    @property
    def key(self) -> str:
        return self._api.key

    @key.setter
    def key(self, key: str) -> None:
        self._api.key = key

    @property
    def balance(self) -> int:
        return self._api.balance

    @balance.setter
    def balance(self, units: int) -> None:
        self._api.balance = units

    @property
    def units(self) -> int:
        """The units billed since the start or the last reset of the log."""
        return self.requests.units

    def start(self) -> Self:
        """Listen, and return self. Raises ``OSError`` if the port is taken."""
        api_socket, api_address = self._server.listen(self._port)
        one, one_address = self._server.listen()
        two, two_address = self._server.listen()
        origins = (f"http://{one_address}", f"http://{two_address}")
        self._cdn = cdn = FakeCdn((self._cdn_origin,) if self._cdn_origin else origins, self.settings)
        self.base_url = f"http://{api_address}"
        self.cdn_hosts = (one_address, two_address)
        self._server.start(
            {
                api_socket: ("api", lambda connection: self._serve(connection, self._api)),
                one: ("cdn", lambda connection: self._serve(connection, cdn)),
                two: ("cdn", lambda connection: self._serve(connection, cdn)),
            }
        )
        return self

    def close(self) -> None:
        """End all connections. The log and the balance can still be read."""
        self._server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, exchange: Exchange) -> None:
        """Answer one request."""
        exchange.deliver()

    def _serve(self, connection: ServerConnection, service: Service) -> None:
        while connection.is_open and (request := connection.read()) is not None:
            if request.listener == "api" and request.path.startswith(_CONTROL):
                reply = self._control(request)
                connection.send(reply.head() + reply.body)
                continue
            exchange = Exchange(request, connection, service, self.requests, self._pace(request))
            try:
                self.answer(exchange)
            finally:
                exchange.record(0)
            if request.headers.get("connection", "").lower() == "close":
                return

    def _urls(self) -> Urls:
        if self._cdn is None:
            raise RuntimeError("the stand-in has not been started")
        return self._cdn.urls()

    def _pace(self, request: HttpRequest) -> Pace:
        return self.settings.pace if request.listener == "cdn" else Pace(self.settings.latency)

    def _control(self, request: HttpRequest) -> HttpReply:
        route = (request.method, request.path.removeprefix(_CONTROL))
        if route == ("POST", "reset"):
            self.requests.reset()
        elif route != ("GET", "counts"):
            return HttpReply(404, b"Not Found", {"content-type": "text/plain"})
        counts = {**self.requests.counts(), "balance": self.balance}
        return HttpReply(200, json.dumps(counts).encode(), {"content-type": "application/json"})
