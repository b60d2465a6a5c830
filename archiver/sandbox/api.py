"""HikerAPI as far as highlights go: its endpoints, their prices, and their known refusals."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from archiver.sandbox import endpoints
from archiver.sandbox.endpoints import Refused
from archiver.sandbox.log import Subject
from archiver.sandbox.render import Urls
from archiver.sandbox.settings import Settings
from archiver.sandbox.things import Json
from archiver.sandbox.wire import Reply, Request
from archiver.sandbox.world import World

_JSON = {"content-type": "application/json"}
_CHARGED = {200, 400, 403, 404}  # 401, 402, 408, 410, 422, 429 and 5xx are free
_DEFAULT_RATE = 15  # what /sys/balance states when no limit is set
_DOLLARS = 0.00046


def _json(status: int, value: Json) -> Reply:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Reply(status, text.encode(errors="backslashreplace"), _JSON)  # a lone surrogate as its escape


class Api:
    """Answers requests out of a world, and keeps the account of units. Thread-safe."""

    def __init__(
        self, world: World, settings: Settings, key: str, balance: int, urls: Callable[[], Urls]
    ) -> None:
        self.world = world
        self.key = key
        self.balance = balance
        self._settings = settings
        self._urls = urls
        self._lock = threading.RLock()
        self._recent: deque[float] = deque()

    def subject(self, request: Request) -> Subject:
        """Whose highlights, or which highlight, the request asks for."""
        params = request.params
        if pk := endpoints.asked_highlight(request.path, params):
            found = self.world.page(pk)
            return Subject(user=found[0].pk if found else "", highlight=pk)
        if name := params.get("username"):
            account = self.world.alive(username=name)
            return Subject(user=account.pk if account else "")
        return Subject(user=params.get("user_id") or params.get("id") or "")

    def bill(self, request: Request, status: int) -> int:
        """Takes what an answer of this status costs off the balance, and returns it."""
        units = price(request.path, request.params) if status in _CHARGED else 0
        with self._lock:
            self.balance -= units
        return units

    def answer(self, request: Request) -> tuple[Reply, int]:
        """The reply and the units billed for it."""
        with self._lock:  # from the look at the balance to the bill: two calls never share the last unit
            try:
                reply = _json(200, self._value(request))
            except Refused as refused:
                reply = refused.reply()
                units = 0 if refused.free else self.bill(request, reply.status)
            else:
                units = self.bill(request, 200)
        nominal = price(request.path, request.params)
        if nominal:
            hiker = {"x-hiker-info": json.dumps({"reqs": nominal})}
            reply = Reply(reply.status, reply.body, {**reply.headers, **hiker})
        return reply, units

    def _value(self, request: Request) -> Json:
        self._admit(request)
        if request.path == "/sys/balance":
            rate = self._settings.rate or _DEFAULT_RATE
            amount = round(self.balance * _DOLLARS, 2)
            return {"requests": self.balance, "rate": rate, "currency": "USD", "amount": amount}
        endpoint = endpoints.ENDPOINTS.get(request.path)
        if endpoint is None:
            raise Refused(404, {"detail": "Not Found"}, free=True)
        ask = endpoint.read(request.params)
        if self.balance < price(request.path, request.params):
            body: Json = {
                "state": False,
                "error": "Top up your account at hikerapi.com",
                "exc_type": "InsufficientFunds",
            }
            raise Refused(self._settings.funds_status, body, free=True)
        with self.world.lock:
            return endpoint.answer(self.world, ask, self._urls())

    def _admit(self, request: Request) -> None:
        if not request.headers.get("user-agent"):
            raise Refused(403, "error code: 1010", free=True)
        if request.method != "GET":
            raise Refused(405, {"detail": "Method Not Allowed"}, free=True)
        if request.headers.get("x-access-key") != self.key:
            error = "Unauthorized request: check the x-access-key header"
            raise Refused(401, {"state": False, "error": error})
        self._limit()

    def _limit(self) -> None:
        rate = self._settings.rate
        if rate is None:
            return
        now = time.monotonic()
        with self._lock:
            while self._recent and now - self._recent[0] >= 1:
                self._recent.popleft()
            full = len(self._recent) >= rate
            if not full:
                self._recent.append(now)
        if full:
            wait = self._settings.retry_after
            headers = {} if wait is None else {"retry-after": wait}
            raise Refused(429, {"detail": "Too many requests", "exc_type": "RateLimitExceeded"}, headers)


def price(path: str, params: Mapping[str, str]) -> int:
    """The nominal units of a call, whatever its answer; ``force`` saves one where it skips a check."""
    endpoint = endpoints.ENDPOINTS.get(path)
    if endpoint is None:
        return 0
    return endpoint.units - (1 if endpoint.forceable and endpoints.is_on(params.get("force")) else 0)
