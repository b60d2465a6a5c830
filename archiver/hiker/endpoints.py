"""Every call that the program makes, with its price in units. Pure.

Sources: HIKERAPI.md, "The endpoints" and "Billing and limits". ``/v1/highlight/by/id`` is deprecated and has
no constructor here.
"""

from __future__ import annotations

import re

from archiver.model.billing import Call
from archiver.model.identity import Pk

TRAY, PAGED_TRAY = "/v1/user/highlights", "/v2/user/highlights"
"""The tray in one answer, which may be cut at a first page of unknown size; and page by page."""

_TRAY_BY_NAME = "/v1/user/highlights/by/username"

WHOLE_TRAYS = frozenset({TRAY, _TRAY_BY_NAME})
"""The calls that are answered with a tray in one answer."""

_CHARGED = frozenset({200, 400, 403, 404})
_INFO = re.compile(r'\breqs(?:"\s*:|\s*=)\s*([0-9]{1,4})(?![0-9.])')


def list_highlights(user_pk: Pk, *, privacy_check: bool = False) -> Call:
    """A user's tray by pk: 1 unit, or 2 with the account's privacy check (``privacy_check``)."""
    return Call(TRAY, (("user_id", user_pk), *_force(privacy_check)), user_pk, 2 if privacy_check else 1)


def list_highlights_by_username(username: str, *, privacy_check: bool = False) -> Call:
    """A user's tray by name, for whom no pk is known: 2 units, or 3 with the account's privacy check."""
    params = (("username", username), *_force(privacy_check))
    return Call(_TRAY_BY_NAME, params, username, 3 if privacy_check else 2)


def list_highlights_page(user_pk: Pk, page_id: str | None = None, *, privacy_check: bool = False) -> Call:
    """One page of a user's paged tray, the first without ``page_id``: the price of ``list_highlights`` for each."""
    page = (("page_id", page_id),) if page_id is not None else ()
    return Call(
        PAGED_TRAY, (("user_id", user_pk), *page, *_force(privacy_check)), user_pk, 2 if privacy_check else 1
    )


def fetch_highlight(highlight_pk: Pk) -> Call:
    """One highlight with all its items: 1 unit."""
    url = f"https://www.instagram.com/stories/highlights/{highlight_pk}/"
    return Call("/v1/highlight/by/url", (("url", url),), highlight_pk, 1)


def fetch_user(user_pk: Pk) -> Call:
    """One account by pk: 1 unit."""
    return Call("/v1/user/by/id", (("id", user_pk),), user_pk, 1)


def fetch_user_by_username(username: str) -> Call:
    """One account by its current name: 1 unit."""
    return Call("/v1/user/by/username", (("username", username),), username, 1)


def balance() -> Call:
    """Units left and calls per second: free."""
    return Call("/sys/balance", (), "", 0)


def settled_units(call: Call, status: int, hiker_info: str | None = None) -> int:
    """What an answered call cost: 200, 400, 403 and 404 are charged, everything else is free.

    ``hiker_info`` is the answer's ``x-hiker-info`` header: its number is the price of a charged answer. It is
    nominal and comes with a 5xx too, so that it never makes a free answer cost anything; where it says
    nothing readable the tariff stands.
    """
    if status not in _CHARGED:
        return 0
    stated = parse_hiker_info(hiker_info)
    return call.units if stated is None else stated


def lost_units(call: Call, *, sent: bool) -> int:
    """What a call without an answer counts as: its nominal price once any byte was sent, since nobody can know; else 0."""
    return call.units if sent else 0


def parse_hiker_info(value: str | None) -> int | None:
    """The units that ``x-hiker-info`` states, as ``{"reqs": 1}`` or, in older documents, ``reqs=1``. None for anything else."""
    found = _INFO.search(value) if value is not None else None
    return int(found[1]) if found else None


def _force(privacy_check: bool) -> tuple[tuple[str, str], ...]:
    return () if privacy_check else (("force", "on"),)
