"""HikerAPI, as far as highlights need it: its endpoints, their prices, and the errors that have been seen."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from archiver.sandbox import api_json
from archiver.sandbox.api_json import Urls
from archiver.sandbox.http_server import HttpReply, HttpRequest, RequestSubject, StandInSettings
from archiver.sandbox.world import World
from archiver.sandbox.world_objects import Json, SandboxAccount, SandboxHighlight

Params = Mapping[str, str]

_ON = {"on", "true", "1", "yes"}
_OFF = {"off", "false", "0", "no"}
_PAGE = re.compile(r"https?://(?:www\.)?instagram\.com/stories/highlights/(\d+)/?(?:\?.*)?")
_SHARE = re.compile(r"https?://(?:www\.)?instagram\.com/s/([A-Za-z0-9_-]+=*)/?(?:\?.*)?")
_JSON = {"content-type": "application/json"}
_CHARGED = {200, 400, 403, 404}  # 401, 402, 408, 410, 422, 429 and 5xx are free
_DEFAULT_RATE = 15  # what /sys/balance states when no limit is set
_DOLLARS = 0.00046


class ApiRefusal(Exception):
    """An error answer. ``is_free``: it is not billed, whatever its status."""

    def __init__(
        self, status: int, body: Json, headers: Mapping[str, str] | None = None, *, is_free: bool = False
    ) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}
        self.is_free = is_free

    def reply(self) -> HttpReply:
        if isinstance(self.body, str):
            return HttpReply(self.status, self.body.encode(), {"content-type": "text/plain", **self.headers})
        body = json.dumps(self.body, ensure_ascii=False).encode()
        return HttpReply(self.status, body, {**_JSON, **self.headers})


@dataclass(frozen=True, slots=True)
class ApiParameters:
    """A call's parameters after they were checked. Only those of its endpoint are set."""

    pk: str = ""
    username: str = ""
    highlight: str = ""
    force: bool = False
    offset: int = 0
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """One endpoint: its nominal price, how it reads parameters, and its answer. Both raise ``ApiRefusal``."""

    units: int
    read: Callable[[Params], ApiParameters]
    answer: Callable[[World, ApiParameters, Urls], Json]
    is_forceable: bool = False


def _malformed_parameter(name: str, message: str, kind: str) -> ApiRefusal:
    return ApiRefusal(422, {"detail": [{"loc": ["query", name], "msg": message, "type": kind}]})


def _require(params: Params, name: str) -> str:
    if name not in params:
        raise _malformed_parameter(name, "field required", "value_error.missing")
    return params[name]


def _pk(params: Params, name: str) -> str:
    value = _require(params, name)
    if not (value.isascii() and value.isdigit()):
        raise _malformed_parameter(name, "value is not a valid integer", "type_error.integer")
    return value


def _force(params: Params) -> bool:
    value = params.get("force", "off")
    if value.lower() not in _ON | _OFF:
        raise _malformed_parameter("force", "value could not be parsed to a boolean", "type_error.bool")
    return value.lower() in _ON


def _amount(params: Params) -> int | None:
    """Return how many entries to show at most; None (no limit) for 0 and for anything but a number."""
    value = params.get("amount", "")
    return int(value) or None if value.isascii() and value.isdigit() and len(value) < 10 else None


def _offset(params: Params) -> int:
    value = params.get("page_id", "")
    if not value:
        return 0
    try:
        name, _, offset = base64.urlsafe_b64decode(value).decode().partition(":")
        if name == "tray":
            return int(offset)
    except (binascii.Error, ValueError):
        pass  # refused below, like any other text that is not a page id
    raise _malformed_parameter("page_id", "value is not a valid page id", "value_error")


def _page_id(offset: int) -> str:
    return base64.urlsafe_b64encode(f"tray:{offset}".encode()).decode()


def _read_account(params: Params, *, pk: str = "") -> ApiParameters:
    """Read which account a call is about: by the parameter ``pk``, or by username if that is empty."""
    if pk:
        return ApiParameters(pk=_pk(params, pk))
    return ApiParameters(username=_require(params, "username"))


def _read_tray(params: Params, *, pk: str = "") -> ApiParameters:
    account = _read_account(params, pk=pk)
    return ApiParameters(account.pk, account.username, force=_force(params), amount=_amount(params))


def _read_tray_page(params: Params, *, pk: str = "") -> ApiParameters:
    account = _read_account(params, pk=pk)
    return ApiParameters(account.pk, account.username, force=_force(params), offset=_offset(params))


def _read_highlight(pk: str) -> ApiParameters:
    if not pk:
        raise ApiRefusal(400, {"detail": "Not a highlight", "exc_type": "ValidationError"})
    return ApiParameters(highlight=pk)


def _url_pk(url: str) -> str:
    """Return the pk in the URL of a highlight's page, or ''."""
    found = _PAGE.fullmatch(url)
    return found[1] if found else ""


def _share_code(url: str) -> str:
    found = _SHARE.fullmatch(url)
    return found[1] if found else ""


def _code_pk(code: str) -> str:
    """Return the pk of the highlight that a share code (base64 of ``highlight:<pk>``) names, or ''."""
    code = code.rstrip("=")
    try:
        text = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode()
    except ValueError:
        return ""
    kind, _, pk = text.partition(":")
    return pk if kind == "highlight" and pk.isascii() and pk.isdigit() else ""


def _account(world: World, parameters: ApiParameters) -> SandboxAccount:
    account = world.find_account(pk=parameters.pk, username=parameters.username)
    if account is None:
        raise _unknown_user()
    return account


def _unknown_user() -> ApiRefusal:
    return ApiRefusal(404, {"detail": "Target user not found", "exc_type": "UserNotFound"})


def _private() -> ApiRefusal:
    return ApiRefusal(403, {"detail": "This account is private", "exc_type": "PrivateAccount"})


def _visible(world: World, account: SandboxAccount, parameters: ApiParameters) -> list[SandboxHighlight]:
    """Return the highlights in an account's tray; none if a private account answers with an empty tray."""
    if not account.is_private:
        return account.tray_highlights()
    if not parameters.force or world.private_with_force == "403":
        raise _private()
    if world.private_with_force == "404":
        raise _unknown_user()
    return []


def _tray(world: World, parameters: ApiParameters, urls: Urls) -> Json:
    account = _account(world, parameters)
    shown = _visible(world, account, parameters)[: world.v1_page]
    return [api_json.tray_entry(account, highlight, urls) for highlight in shown[: parameters.amount]]


def _tray_page(world: World, parameters: ApiParameters, urls: Urls) -> Json:
    """Return one page of the tray. ``amount`` is ignored here, as the vendor's documentation says."""
    account = _account(world, parameters)
    shown = _visible(world, account, parameters)
    end = parameters.offset + world.v2_page
    entries: list[Json] = [
        api_json.raw_tray_entry(account, highlight, urls, prefixed=world.v2_prefixed)
        for highlight in shown[parameters.offset : end]
    ]
    return {"response": {"tray": entries}, "next_page_id": _page_id(end) if end < len(shown) else None}


def _profile(world: World, parameters: ApiParameters, urls: Urls) -> Json:
    return api_json.profile(_account(world, parameters), urls)


def _raw_profile(world: World, parameters: ApiParameters, urls: Urls) -> Json:
    return api_json.raw_profile(_account(world, parameters), urls)


def _open_highlight(world: World, parameters: ApiParameters) -> tuple[SandboxAccount, SandboxHighlight]:
    found = world.find_page(parameters.highlight)
    if found is None:
        raise ApiRefusal(404, {"detail": "Highlight not found", "exc_type": "HighlightNotFound"})
    if found[0].is_private:
        raise _private()
    return found


def _highlight(world: World, parameters: ApiParameters, urls: Urls) -> Json:
    return api_json.page(*_open_highlight(world, parameters), urls)


def _raw_highlight(world: World, parameters: ApiParameters, urls: Urls) -> Json:
    return api_json.raw_page(*_open_highlight(world, parameters), urls)


def _share(_world: World, parameters: ApiParameters, _urls: Urls) -> Json:
    """Return the highlight that the code names. Like upstream, do not check whether it exists."""
    return {"pk": parameters.highlight, "type": "highlight"}


def _shared_reel(_world: World, _asked: ApiParameters, _urls: Urls) -> Json:
    raise ApiRefusal(404, {"detail": "Media not found", "exc_type": "MediaNotFound"})  # no world has reels


def _refuse_retired(_world: World, _asked: ApiParameters, _urls: Urls) -> Json:
    raise ApiRefusal(410, {"detail": "This endpoint is deprecated", "exc_type": "EndpointDeprecated"})


def _read_share_url(params: Params) -> ApiParameters:
    return _read_highlight(_code_pk(_share_code(_require(params, "url"))))


def _read_anything(_params: Params) -> ApiParameters:
    return ApiParameters()


_BY_ID = partial(_read_account, pk="id")

ENDPOINTS = {
    "/v1/user/highlights": ApiEndpoint(2, partial(_read_tray, pk="user_id"), _tray, True),
    "/v1/user/highlights/by/username": ApiEndpoint(3, _read_tray, _tray, True),
    "/v2/user/highlights": ApiEndpoint(2, partial(_read_tray_page, pk="user_id"), _tray_page, True),
    "/v2/user/highlights/by/username": ApiEndpoint(3, _read_tray_page, _tray_page, True),
    "/v1/user/by/id": ApiEndpoint(1, _BY_ID, _profile),
    "/v1/user/by/username": ApiEndpoint(1, _read_account, _profile),
    "/v2/user/by/id": ApiEndpoint(1, _BY_ID, _raw_profile),
    "/v2/user/by/username": ApiEndpoint(1, _read_account, _raw_profile),
    "/v1/highlight/by/url": ApiEndpoint(
        1, lambda params: _read_highlight(_url_pk(_require(params, "url"))), _highlight
    ),
    "/v1/highlight/by/id": ApiEndpoint(1, _read_anything, _refuse_retired),
    "/v2/highlight/by/id": ApiEndpoint(
        1, lambda params: ApiParameters(highlight=_pk(params, "id")), _raw_highlight
    ),
    "/v1/share/by/code": ApiEndpoint(
        1, lambda params: _read_highlight(_code_pk(_require(params, "code"))), _share
    ),
    "/v1/share/by/url": ApiEndpoint(1, _read_share_url, _share),
    "/v1/share/reel/by/url": ApiEndpoint(
        1, lambda params: ApiParameters(highlight=_require(params, "url")), _shared_reel
    ),
}


def price(path: str, params: Params) -> int:
    """Return the nominal units of a call, whatever its answer. ``force`` skips a check and saves its unit."""
    endpoint = ENDPOINTS.get(path)
    if endpoint is None:
        return 0
    return endpoint.units - (1 if endpoint.is_forceable and params.get("force", "").lower() in _ON else 0)


def _json(status: int, value: Json) -> HttpReply:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return HttpReply(status, text.encode(errors="backslashreplace"), _JSON)  # a lone surrogate as its escape


def _highlight_pk(path: str, params: Params) -> str:
    """Return the pk of the highlight that a call is about, or ''."""
    if path.endswith("/highlight/by/id"):
        return params.get("id", "")
    url = params.get("url", "")
    return _url_pk(url) or _code_pk(params.get("code") or _share_code(url))


class HikerApi:
    """Answers requests from a world, and counts the units. Thread-safe."""

    def __init__(
        self, world: World, settings: StandInSettings, key: str, balance: int, urls: Callable[[], Urls]
    ) -> None:
        self.world = world
        self.key = key
        self.balance = balance
        self._settings = settings
        self._urls = urls
        self._lock = threading.RLock()
        self._recent: deque[float] = deque()

    def subject(self, request: HttpRequest) -> RequestSubject:
        """Return the account or highlight that a request is about."""
        params = request.params
        if pk := _highlight_pk(request.path, params):
            found = self.world.find_page(pk)
            return RequestSubject(user=found[0].pk if found else "", highlight=pk)
        if name := params.get("username"):
            account = self.world.find_account(username=name)
            return RequestSubject(user=account.pk if account else "")
        return RequestSubject(user=params.get("user_id") or params.get("id") or "")

    def bill(self, request: HttpRequest, status: int) -> int:
        """Subtract the cost of an answer with this status from the balance, and return it."""
        units = price(request.path, request.params) if status in _CHARGED else 0
        with self._lock:
            self.balance -= units
        return units

    def answer(self, request: HttpRequest) -> tuple[HttpReply, int]:
        """Return the reply to a request, and the units billed for it."""
        with self._lock:  # from check to bill, so that two calls never share the last unit
            try:
                reply = _json(200, self._value(request))
            except ApiRefusal as refusal:
                reply = refusal.reply()
                units = 0 if refusal.is_free else self.bill(request, reply.status)
            else:
                units = self.bill(request, 200)
        nominal = price(request.path, request.params)
        if nominal:
            hiker = {"x-hiker-info": json.dumps({"reqs": nominal})}
            reply = HttpReply(reply.status, reply.body, {**reply.headers, **hiker})
        return reply, units

    def _value(self, request: HttpRequest) -> Json:
        self._admit(request)
        if request.path == "/sys/balance":
            rate = self._settings.rate or _DEFAULT_RATE
            amount = round(self.balance * _DOLLARS, 2)
            return {"requests": self.balance, "rate": rate, "currency": "USD", "amount": amount}
        endpoint = ENDPOINTS.get(request.path)
        if endpoint is None:
            raise ApiRefusal(404, {"detail": "Not Found"}, is_free=True)
        parameters = endpoint.read(request.params)
        if self.balance < price(request.path, request.params):
            body: Json = {
                "state": False,
                "error": "Top up your account at hikerapi.com",
                "exc_type": "InsufficientFunds",
            }
            raise ApiRefusal(self._settings.funds_status, body, is_free=True)
        with self.world.lock:
            return endpoint.answer(self.world, parameters, self._urls())

    def _admit(self, request: HttpRequest) -> None:
        if not request.headers.get("user-agent"):
            raise ApiRefusal(403, "error code: 1010", is_free=True)
        if request.method != "GET":
            raise ApiRefusal(405, {"detail": "Method Not Allowed"}, is_free=True)
        if request.headers.get("x-access-key") != self.key:
            error = "Unauthorized request: check the x-access-key header"
            raise ApiRefusal(401, {"state": False, "error": error})
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
            raise ApiRefusal(429, {"detail": "Too many requests", "exc_type": "RateLimitExceeded"}, headers)
