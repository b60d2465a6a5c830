"""The gaps: what the archive lacks, and why, account by account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby, islice

from archiver.catalog import Catalog
from archiver.catalog.query import gaps
from archiver.model.archived import Gap, KeptAccount
from archiver.model.identity import Pk, Subject, is_pk, utcnow
from archiver.pages import html_pages, page_text
from archiver.pages.view_model import GapLine, GapsOfAccount, SubjectLink
from archiver.web import page_parts
from archiver.web.page_parts import Page, PageRequest
from archiver.wording import describe_gap, describe_reason, next_try, since_when

MAX_ITEMS = 8_000
"""A page is about accounts with at most so many items, or one account: to find a gap, each item is read."""

MAX_GAPS = 300
"""How many gaps a page shows."""


def show_gaps(catalog: Catalog, request: PageRequest) -> Page | None:
    """Return the gaps of some accounts, by pk; None if there are no such accounts.

    ``after`` in the query continues after an account, ``account`` shows one; both are pks.
    """
    after, account = request.query.get("after", ""), request.query.get("account")
    if not all(is_pk(pk) for pk in (after, account) if pk):
        return None
    with catalog.snapshot() as snapshot:
        pks = (account,) if account else snapshot.read(gaps.next_accounts, after, MAX_ITEMS)
        accounts = page_parts.read_accounts(snapshot, pks)
        if (account or after) and not accounts:
            return None
        found = list(
            islice(snapshot.stream(gaps.gaps_of, pks, with_targets=not (account or after)), MAX_GAPS + 1)
        )
        following = pks[-1] if not account and pks and snapshot.read(gaps.next_accounts, pks[-1], 0) else None
    values = {
        "accounts": _by_account(found[:MAX_GAPS], accounts, utcnow()),
        "is_cut": len(found) > MAX_GAPS,
        "is_part": bool(account or after or following),
        "limit": MAX_GAPS,
        "following": following,
    }
    return Page(html_pages.archive_page("gaps", **values).encode())


def _by_account(
    found: Sequence[Gap], accounts: Mapping[Pk, KeptAccount], now: datetime
) -> list[GapsOfAccount]:
    entries = []
    for (pk, username), group in groupby(found, key=lambda gap: (gap.user_pk, gap.username)):
        account = accounts.get(pk or "")
        name = page_text.shorten(username or "") or "Unknown account"
        link = page_parts.account_link(account) if account is not None else SubjectLink(name)
        entries.append(GapsOfAccount(link, tuple(_line(gap, account, now) for gap in group)))
    return entries


def _line(gap: Gap, account: KeptAccount | None, now: datetime) -> GapLine:
    highlight = _highlight_link(gap, account)
    counted = f": {gap.present:,} of {gap.counted:,} items" if gap.present is not None else ""
    return GapLine(
        describe_gap(gap) + (_joint(gap) if highlight is not None else ""),
        highlight,
        describe_reason(gap.subject, gap.reason) + counted + since_when(gap),
        gap.attempts,
        next_try(gap, now),
    )


def _joint(gap: Gap) -> str:
    """Return the word between what is missing and the highlight; none if that is the highlight itself."""
    if gap.subject is Subject.ITEM:
        return " in"
    return " of" if gap.role is not None else ""


def _highlight_link(gap: Gap, account: KeptAccount | None) -> SubjectLink | None:
    """Return the highlight of a gap as a link to the missing item in it."""
    if gap.highlight_pk is None or account is None:
        return None
    place = f"#i{gap.subject_pk}" if gap.subject is Subject.ITEM else ""
    name = page_text.shorten(gap.title or "") or "Untitled"
    return SubjectLink(name, f"{page_parts.account_href(account)}{gap.highlight_pk}.html{place}")
