"""Every call that the program makes, with its path, its parameters and its price in units.

Nothing here sends a call. Pure.

No other module names a path of the API. Sources: HIKERAPI.md, "The endpoints" and "Billing and limits".
``/v1/highlight/by/id`` is deprecated and has no function here.
"""

from __future__ import annotations

import re

from archiver.model.api_calls import Call
from archiver.model.identity import Pk
from archiver.model.values import replace

TRAY, PAGED_TRAY = "/v1/user/highlights", "/v2/user/highlights"
"""The tray in one answer, which may be cut off after a first page of unknown size, or page by page."""

TRAY_BY_NAME = "/v1/user/highlights/by/username"
USER, USER_BY_NAME = "/v1/user/by/id", "/v1/user/by/username"
HIGHLIGHT = "/v1/highlight/by/url"
BALANCE = "/sys/balance"

WHOLE_TRAYS = frozenset({TRAY, TRAY_BY_NAME})
"""The calls that return the tray in one answer."""

BY_NAME = frozenset({TRAY_BY_NAME, USER_BY_NAME})
"""The calls that name the account by its username, which is their subject."""

HIGHLIGHT_UNITS = 1
"""The price of one highlight with all its items."""

_CHARGED = frozenset({200, 400, 403, 404})
_INFO = re.compile(r'\breqs(?:"\s*:|\s*=)\s*([0-9]{1,4})(?![0-9.])')


def tray_call(user_pk: Pk, *, privacy_check: bool = False) -> Call:
    """Return the call for a user's tray by pk: 1 unit, or 2 with the account's privacy check."""
    return Call(TRAY, (("user_id", user_pk), *_force(privacy_check)), user_pk, 2 if privacy_check else 1)


def tray_by_name_call(username: str, *, privacy_check: bool = False) -> Call:
    """Return the call for a user's tray by name: 2 units, or 3 with the account's privacy check."""
    params = (("username", username), *_force(privacy_check))
    return Call(TRAY_BY_NAME, params, username, 3 if privacy_check else 2)


def tray_page_call(user_pk: Pk, page_id: str | None = None, *, privacy_check: bool = False) -> Call:
    """Return the call for one page of a user's tray, the first if ``page_id`` is None.

    Each costs what ``tray_call`` costs.
    """
    page = (("page_id", page_id),) if page_id is not None else ()
    return Call(
        PAGED_TRAY, (("user_id", user_pk), *page, *_force(privacy_check)), user_pk, 2 if privacy_check else 1
    )


def next_page_call(first_page: Call, page_id: str) -> Call:
    """Return the call for another page of the tray whose first page is ``first_page``."""
    (user, *rest) = first_page.params
    return replace(first_page, params=(user, ("page_id", page_id), *rest))


def highlight_call(highlight_pk: Pk) -> Call:
    """Return the call for one highlight with all its items: ``HIGHLIGHT_UNITS``."""
    url = f"https://www.instagram.com/stories/highlights/{highlight_pk}/"
    return Call(HIGHLIGHT, (("url", url),), highlight_pk, HIGHLIGHT_UNITS)


def user_call(user_pk: Pk) -> Call:
    """Return the call for an account by pk: 1 unit."""
    return Call(USER, (("id", user_pk),), user_pk, 1)


def user_by_name_call(username: str) -> Call:
    """Return the call for an account by its current name: 1 unit."""
    return Call(USER_BY_NAME, (("username", username),), username, 1)


def balance_call() -> Call:
    """Return the call for the units left and the calls per second that are allowed: free."""
    return Call(BALANCE, (), "", 0)


def settled_units(call: Call, status: int, hiker_info: str | None = None) -> int:
    """Return what an answered call cost: 200, 400, 403 and 404 are charged, everything else is free.

    ``hiker_info`` is the answer's ``x-hiker-info`` header: its number is the price of a charged answer. It is
    nominal and comes with a 5xx too, so it never makes a free answer cost anything. If it cannot be read, the
    price of the call is used.
    """
    if status not in _CHARGED:
        return 0
    stated = parse_hiker_info(hiker_info)
    return call.units if stated is None else stated


def unanswered_units(call: Call, *, was_sent: bool) -> int:
    """Return the units to count for a call that got no answer.

    They are its price if any byte was sent, since it may have been charged; otherwise 0.
    """
    return call.units if was_sent else 0


def parse_hiker_info(value: str | None) -> int | None:
    """Return the units that ``x-hiker-info`` states, as ``{"reqs": 1}`` or ``reqs=1`` (older documents).

    Return None for anything else.
    """
    found = _INFO.search(value) if value is not None else None
    return int(found[1]) if found else None


def _force(privacy_check: bool) -> tuple[tuple[str, str], ...]:
    return () if privacy_check else (("force", "on"),)
