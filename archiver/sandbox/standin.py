"""The stand-in for HikerAPI and Instagram's CDN: three listeners on loopback, a world behind them, and a log of what was asked."""

from __future__ import annotations

import json
import secrets
from types import TracebackType

from archiver.sandbox.api import Api
from archiver.sandbox.cdn import Cdn
from archiver.sandbox.exchange import Exchange, Service
from archiver.sandbox.faults import Faults
from archiver.sandbox.log import Log
from archiver.sandbox.render import Urls
from archiver.sandbox.server import Server
from archiver.sandbox.settings import Settings
from archiver.sandbox.wire import Pace, Reply, Request, Wire
from archiver.sandbox.world import World

_CONTROL = "/_standin/"


class StandIn:
    """Serves a world between ``start`` and ``close``, or as a context manager.

    ``base_url``: of the API. ``cdn_hosts``: the two addresses (``host:port``) between which signed URLs change. ``key``: the only
    ``x-access-key`` accepted. ``world``, ``settings``, ``faults`` and ``balance`` may be changed at any time; ``requests`` is the log.
    ``GET /_standin/counts`` and ``POST /_standin/reset`` on the API show and reset the log from another process: free, without a key.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        key: str | None = None,
        balance: int = 1_000_000,
        port: int = 0,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.faults = Faults()
        self.requests = Log()
        self.base_url = ""
        self.cdn_hosts: tuple[str, str] = ("", "")
        self._port = port
        self._server = Server()
        self._cdn: Cdn | None = None
        self._api = Api(
            world if world is not None else World.seed(),
            self.settings,
            key or f"standin-{secrets.token_hex(16)}",
            balance,
            self._urls,
        )

    @property
    def world(self) -> World:
        """What is shown. May be set."""
        return self._api.world

    @world.setter
    def world(self, world: World) -> None:
        self._api.world = world

    @property
    def key(self) -> str:
        """The only ``x-access-key`` accepted. May be set."""
        return self._api.key

    @key.setter
    def key(self, key: str) -> None:
        self._api.key = key

    @property
    def balance(self) -> int:
        """Units left. May be set."""
        return self._api.balance

    @balance.setter
    def balance(self, units: int) -> None:
        self._api.balance = units

    @property
    def units(self) -> int:
        """The units billed since the start or the last reset of the log."""
        return self.requests.units

    def start(self) -> StandIn:
        """Listens from now on, and returns itself. Raises ``OSError`` if the asked port is taken."""
        api_socket, api_address = self._server.listen(self._port)
        one, one_address = self._server.listen()
        two, two_address = self._server.listen()
        self._cdn = cdn = Cdn((one_address, two_address), self.settings)
        self.base_url = f"http://{api_address}"
        self.cdn_hosts = (one_address, two_address)
        self._server.start(
            {
                api_socket: ("api", lambda wire: self._serve(wire, self._api)),
                one: ("cdn", lambda wire: self._serve(wire, cdn)),
                two: ("cdn", lambda wire: self._serve(wire, cdn)),
            }
        )
        return self

    def close(self) -> None:
        """Ends all connections; the log and the balance stay readable."""
        self.faults.clear()
        self._server.close()

    def __enter__(self) -> StandIn:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self, wire: Wire, service: Service) -> None:
        while wire.open and (request := wire.read()) is not None:
            if request.listener == "api" and request.path.startswith(_CONTROL):
                reply = self._control(request)
                wire.send(reply.head() + reply.body)
                continue
            subject = service.subject(request)
            exchange = Exchange(request, subject, wire, service, self.requests, self._pace(request))
            fault = self.faults.take(request, subject)
            try:
                if fault is None:
                    exchange.deliver()
                else:
                    fault.apply(exchange)
            finally:
                exchange.record(0)
            if request.headers.get("connection", "").lower() == "close":
                return

    def _urls(self) -> Urls:
        if self._cdn is None:
            raise RuntimeError("the stand-in has not been started")
        return self._cdn.urls()

    def _pace(self, request: Request) -> Pace:
        return self.settings.pace if request.listener == "cdn" else Pace(self.settings.latency)

    def _control(self, request: Request) -> Reply:
        asked = (request.method, request.path.removeprefix(_CONTROL))
        if asked == ("POST", "reset"):
            self.requests.reset()
        elif asked != ("GET", "counts"):
            return Reply(404, b"Not Found", {"content-type": "text/plain"})
        counts = {**self.requests.counts(), "balance": self.balance}
        return Reply(200, json.dumps(counts).encode(), {"content-type": "application/json"})
