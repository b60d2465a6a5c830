"""The endpoints one by one: what each reads from its parameters, and what it answers out of a world."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from archiver.sandbox import render
from archiver.sandbox.render import Urls
from archiver.sandbox.state import State
from archiver.sandbox.things import Account, Highlight, Json
from archiver.sandbox.wire import Reply

Params = Mapping[str, str]

_ON = {"on", "true", "1", "yes"}
_OFF = {"off", "false", "0", "no"}
_PAGE = re.compile(r"https?://(?:www\.)?instagram\.com/stories/highlights/(\d+)/?(?:\?.*)?")
_SHARE = re.compile(r"https?://(?:www\.)?instagram\.com/s/([A-Za-z0-9_-]+=*)/?(?:\?.*)?")


class Refused(Exception):
    """An answer other than what was asked for. ``free``: not billed, whatever its status."""

    def __init__(
        self, status: int, body: Json, headers: Mapping[str, str] | None = None, *, free: bool = False
    ) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.headers = headers or {}
        self.free = free

    def reply(self) -> Reply:
        if isinstance(self.body, str):
            return Reply(self.status, self.body.encode(), {"content-type": "text/plain", **self.headers})
        body = json.dumps(self.body, ensure_ascii=False).encode()
        return Reply(self.status, body, {"content-type": "application/json", **self.headers})


@dataclass(frozen=True, slots=True)
class Ask:
    """A call's parameters, checked. Only those of its endpoint are set."""

    subject: str
    force: bool = False
    offset: int = 0
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: its nominal price, and its two halves. Both raise ``Refused``."""

    units: int
    forceable: bool
    read: Callable[[Params], Ask]
    answer: Callable[[State, Ask, Urls], Json]


def is_on(value: str | None) -> bool:
    """Whether a boolean parameter says yes."""
    return value is not None and value.lower() in _ON


def highlight_pk(url: str) -> str:
    """The pk in a highlight page's URL, or ''."""
    found = _PAGE.fullmatch(url)
    return found[1] if found else ""


def shared_pk(code: str) -> str:
    """The pk of the highlight that a share code names, or '': the code is base64 of ``highlight:<pk>``."""
    code = code.rstrip("=")
    try:
        text = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode()
    except ValueError:
        return ""
    kind, _, pk = text.partition(":")
    return pk if kind == "highlight" and pk.isascii() and pk.isdigit() else ""


def asked_highlight(path: str, params: Params) -> str:
    """The pk of the highlight that a call is about, or ''."""
    if path.endswith("/highlight/by/id"):
        return params.get("id", "")
    url = params.get("url", "")
    return highlight_pk(url) or shared_pk(params.get("code") or _share_code(url))


def _share_code(url: str) -> str:
    found = _SHARE.fullmatch(url)
    return found[1] if found else ""


def _malformed(name: str, message: str, kind: str) -> Refused:
    return Refused(422, {"detail": [{"loc": ["query", name], "msg": message, "type": kind}]})


def _required(params: Params, name: str) -> str:
    if name not in params:
        raise _malformed(name, "field required", "value_error.missing")
    return params[name]


def _pk(params: Params, name: str) -> str:
    value = _required(params, name)
    if not (value.isascii() and value.isdigit()):
        raise _malformed(name, "value is not a valid integer", "type_error.integer")
    return value


def _force(params: Params) -> bool:
    value = params.get("force", "off")
    if value.lower() not in _ON | _OFF:
        raise _malformed("force", "value could not be parsed to a boolean", "type_error.bool")
    return is_on(value)


def _amount(params: Params) -> int | None:
    """How many entries to return at most; None, no limit, for 0 and for what is not a number."""
    value = params.get("amount", "")
    return int(value) or None if value.isascii() and value.isdigit() and len(value) < 10 else None


def _found(account: Account | None) -> Account:
    if account is None:
        raise Refused(404, {"detail": "Target user not found", "exc_type": "UserNotFound"})
    return account


def _private() -> Refused:
    return Refused(403, {"detail": "This account is private", "exc_type": "PrivateAccount"})


def _readable(world: State, account: Account, force: bool) -> bool:
    """Whether its tray is shown; False: as if it were empty."""
    if not account.is_private:
        return True
    if not force or world.private_with_force == "403":
        raise _private()
    if world.private_with_force == "404":
        _found(None)
    return False


def _tray(world: State, account: Account, ask: Ask, urls: Urls) -> Json:
    if not _readable(world, account, ask.force):
        return []
    shown = account.shown()[: world.v1_page]
    return [render.tray_entry(account, h, urls) for h in shown[: ask.amount]]


def _tray_by_pk(world: State, ask: Ask, urls: Urls) -> Json:
    return _tray(world, _found(world.alive(pk=ask.subject)), ask, urls)


def _tray_by_name(world: State, ask: Ask, urls: Urls) -> Json:
    return _tray(world, _found(world.alive(username=ask.subject)), ask, urls)


def _paged_tray_by_pk(world: State, ask: Ask, urls: Urls) -> Json:
    return _paged_tray(world, _found(world.alive(pk=ask.subject)), ask, urls)


def _paged_tray_by_name(world: State, ask: Ask, urls: Urls) -> Json:
    return _paged_tray(world, _found(world.alive(username=ask.subject)), ask, urls)


def _paged_tray(world: State, account: Account, ask: Ask, urls: Urls) -> Json:
    """One page of the tray. ``amount`` is ignored here, as the vendor's documentation says."""
    shown = account.shown() if _readable(world, account, ask.force) else []
    end = ask.offset + world.v2_page
    entries: list[Json] = [
        render.raw_tray_entry(account, h, urls, prefixed=world.v2_prefixed) for h in shown[ask.offset : end]
    ]
    return {"response": {"tray": entries}, "next_page_id": _page_id(end) if end < len(shown) else None}


def _page_id(offset: int) -> str:
    return base64.urlsafe_b64encode(f"tray:{offset}".encode()).decode()


def _offset(params: Params) -> int:
    value = params.get("page_id", "")
    if not value:
        return 0
    try:
        name, _, offset = base64.urlsafe_b64decode(value).decode().partition(":")
        if name == "tray":
            return int(offset)
    except (binascii.Error, ValueError):
        pass  # refused below, like any other text that is no page id
    raise _malformed("page_id", "value is not a valid page id", "value_error")


def _user_by_pk(world: State, ask: Ask, urls: Urls) -> Json:
    return render.profile(_found(world.alive(pk=ask.subject)), urls)


def _user_by_name(world: State, ask: Ask, urls: Urls) -> Json:
    return render.profile(_found(world.alive(username=ask.subject)), urls)


def _raw_user_by_pk(world: State, ask: Ask, urls: Urls) -> Json:
    return render.raw_profile(_found(world.alive(pk=ask.subject)), urls)


def _raw_user_by_name(world: State, ask: Ask, urls: Urls) -> Json:
    return render.raw_profile(_found(world.alive(username=ask.subject)), urls)


def _highlight_url(params: Params) -> Ask:
    return _named(highlight_pk(_required(params, "url")))


def _named(pk: str) -> Ask:
    if not pk:
        raise Refused(400, {"detail": "Not a highlight", "exc_type": "ValidationError"})
    return Ask(pk)


def _open_highlight(world: State, ask: Ask) -> tuple[Account, Highlight]:
    """The highlight that is asked for, and its owner."""
    found = world.page(ask.subject)
    if found is None:
        raise Refused(404, {"detail": "Highlight not found", "exc_type": "HighlightNotFound"})
    account, highlight = found
    if account.is_private:
        raise _private()
    return account, highlight


def _highlight(world: State, ask: Ask, urls: Urls) -> Json:
    return render.page(*_open_highlight(world, ask), urls)


def _raw_highlight(world: State, ask: Ask, urls: Urls) -> Json:
    return render.raw_page(*_open_highlight(world, ask), urls)


def _share(_world: State, ask: Ask, _urls: Urls) -> Json:
    """The code alone says which highlight it names: whether that exists is not looked at."""
    return {"pk": ask.subject, "type": "highlight"}


def _shared_reel(_world: State, _ask: Ask, _urls: Urls) -> Json:
    raise Refused(404, {"detail": "Media not found", "exc_type": "MediaNotFound"})  # no reels in any world


def _retired(_world: State, _ask: Ask, _urls: Urls) -> Json:
    raise Refused(410, {"detail": "This endpoint is deprecated", "exc_type": "EndpointDeprecated"})


ENDPOINTS = {
    "/v1/user/highlights": Endpoint(
        2, True, lambda p: Ask(_pk(p, "user_id"), _force(p), amount=_amount(p)), _tray_by_pk
    ),
    "/v1/user/highlights/by/username": Endpoint(
        3, True, lambda p: Ask(_required(p, "username"), _force(p), amount=_amount(p)), _tray_by_name
    ),
    "/v2/user/highlights": Endpoint(
        2, True, lambda p: Ask(_pk(p, "user_id"), _force(p), _offset(p)), _paged_tray_by_pk
    ),
    "/v2/user/highlights/by/username": Endpoint(
        3, True, lambda p: Ask(_required(p, "username"), _force(p), _offset(p)), _paged_tray_by_name
    ),
    "/v1/user/by/id": Endpoint(1, False, lambda p: Ask(_pk(p, "id")), _user_by_pk),
    "/v1/user/by/username": Endpoint(1, False, lambda p: Ask(_required(p, "username")), _user_by_name),
    "/v2/user/by/id": Endpoint(1, False, lambda p: Ask(_pk(p, "id")), _raw_user_by_pk),
    "/v2/user/by/username": Endpoint(1, False, lambda p: Ask(_required(p, "username")), _raw_user_by_name),
    "/v1/highlight/by/url": Endpoint(1, False, _highlight_url, _highlight),
    "/v1/highlight/by/id": Endpoint(1, False, lambda _: Ask(""), _retired),
    "/v2/highlight/by/id": Endpoint(1, False, lambda p: Ask(_pk(p, "id")), _raw_highlight),
    "/v1/share/by/code": Endpoint(1, False, lambda p: _named(shared_pk(_required(p, "code"))), _share),
    "/v1/share/by/url": Endpoint(
        1, False, lambda p: _named(shared_pk(_share_code(_required(p, "url")))), _share
    ),
    "/v1/share/reel/by/url": Endpoint(1, False, lambda p: Ask(_required(p, "url")), _shared_reel),
}
