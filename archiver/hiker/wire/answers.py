"""Whole answers, one function for each kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from archiver.errors import AnswerMalformed
from archiver.hiker.wire import json_document
from archiver.hiker.wire.items import item_of
from archiver.hiker.wire.owners import highlight_of, richer, user_of
from archiver.hiker.wire.shapes import (
    ENTRIES_MAX,
    Entries,
    WireBalance,
    WireHighlight,
    WireItem,
    WireReelPage,
    WireReels,
    WireTrayList,
    WireTrayPage,
    read,
)
from archiver.hiker.wire.values import pk, shop_id
from archiver.hiker.wire.verdicts import says_no_highlights
from archiver.model.billing import Answer
from archiver.model.identity import Pk
from archiver.model.upstream import (
    Balance,
    Highlight,
    HighlightPage,
    Item,
    RejectedEntry,
    Tray,
    TrayPage,
    User,
)
from archiver.signed_url import excerpt

_NO_PK = "it has no pk of digits"
_TOO_MANY = f"the list has more than {ENTRIES_MAX:,} entries: the rest was not read"
_RATE_MAX = 10_000


def parse_tray(answer: Answer, user_pk: Pk | None = None, *, username: str | None = None) -> Tray:
    """Return a user's list of highlights, asked for by ``user_pk`` or by ``username``.

    An account asked for by pk may have any name, since accounts are renamed. One asked for by name must have
    that name, where the answer states one: ``Tray.user.username`` is None where it does not, and then the
    account itself must be asked.

    Raises AnswerMalformed if it is no list, if an entry belongs to another user than asked for or than the
    entry before it, or if it was asked for by name and no entry says whose it is.
    """
    raw = _document(answer)
    if says_no_highlights(raw):
        return Tray(None, ())
    if not isinstance(raw, list):
        _malformed(answer, "no list of highlights")
    found = _tray(answer, raw, user_pk, username)
    if username is not None and raw and found.user is None:
        _malformed(answer, "a list of highlights that does not say whose they are")
    return found


def parse_tray_page(answer: Answer, user_pk: Pk) -> TrayPage:
    """One page of the paged tray (``/v2``) of the user that it was asked for. Raises AnswerMalformed as ``parse_tray``."""
    raw = _document(answer)
    shape = read(WireTrayPage, raw)
    listed = read(WireTrayList, shape.response) if shape is not None else None
    if shape is None or listed is None or listed.tray is None:
        _malformed(answer, "no page of highlights")
    if shape.next_page_id is None and isinstance(raw, dict) and raw.get("next_page_id") is not None:
        _malformed(
            answer, "a next page that cannot be asked for"
        )  # taken for the last one, it would hide the rest
    return TrayPage(_tray(answer, listed.tray, user_pk), str(shape.next_page_id or "") or None)


def join_pages(pages: Sequence[Tray]) -> Tray:
    """The pages of one tray as one: a highlight that stands on two of them counts once, the owner is the richest seen."""
    owner: User | None = None
    highlights: dict[Pk, Highlight] = {}
    for page in pages:
        if page.user is not None:
            owner = richer(owner, page.user)
        for highlight in page.highlights:
            highlights.setdefault(highlight.pk, highlight)
    return Tray(
        owner,
        tuple(highlights.values()),
        tuple(rejected for page in pages for rejected in page.rejected),
        tuple(dict.fromkeys(one for page in pages for one in page.unsupported)),
    )


def parse_highlight_page(answer: Answer, asked: Pk | None = None) -> HighlightPage:
    """One highlight with its items. ``asked``: the pk it was asked for by, where that is known.

    Raises AnswerMalformed if it is no highlight with an owner and a list of items, or another one than asked for.
    """
    raw = _reel(_document(answer))
    shape = read(WireHighlight, raw)
    if shape is None:
        _malformed(answer, "no highlight")
    found = _highlight(raw, None)
    if isinstance(found, str):
        _malformed(answer, f"{found}, which is no highlight of stories")
    if isinstance(found, RejectedEntry):
        _malformed(answer, f"no highlight: {found.detail}")
    if asked is not None and found.pk != asked:
        _malformed(answer, f"highlight {found.pk} instead of {asked}")
    if shape.items is None:
        _malformed(answer, f"highlight {found.pk} without a list of items")
    items: dict[Pk, Item] = {}
    rejected: list[RejectedEntry] = []
    for entry in shape.items[:ENTRIES_MAX]:
        item = _item(entry)
        if isinstance(item, RejectedEntry):
            rejected.append(item)
        else:
            items.setdefault(item.pk, item)
    repeated = min(len(shape.items), ENTRIES_MAX) - len(items) - len(rejected)
    return HighlightPage(found, tuple(items.values()), (*rejected, *_excess(shape.items)), repeated)


def parse_user(answer: Answer, asked: Pk | None = None, *, username: str | None = None) -> User:
    """Return one account, asked for by its pk or by ``username``.

    Raises AnswerMalformed if it has no pk, another pk than asked for, or not the name it was asked for by.
    """
    found = user_of(_document(answer))
    if found is None:
        _malformed(answer, "no account")
    if asked is not None and found.pk != asked:
        _malformed(answer, f"account {found.pk} instead of {asked}")
    if username is not None:
        _require_name(answer, found, username)
    return found


def parse_balance(answer: Answer) -> Balance:
    """Units left and calls per second. Raises AnswerMalformed if it does not state the units."""
    shape = read(WireBalance, _document(answer))
    if shape is None or shape.requests is None:
        _malformed(answer, "no balance")
    rate = int(shape.rate) if shape.rate is not None and 1 <= shape.rate <= _RATE_MAX else None
    return Balance(shape.requests, rate)


def _tray(answer: Answer, entries: Entries, user_pk: Pk | None, username: str | None = None) -> Tray:
    owner = _owner(answer, entries, user_pk, username)
    fallback = owner or (User(user_pk) if user_pk is not None else None)
    highlights: dict[Pk, Highlight] = {}
    rejected: list[RejectedEntry] = []
    unsupported: list[str] = []
    for entry in entries[:ENTRIES_MAX]:
        found = _highlight(entry, fallback)
        if isinstance(found, str):
            unsupported.append(found)
        elif isinstance(found, RejectedEntry):
            rejected.append(found)
        else:
            highlights.setdefault(found.pk, found)
    return Tray(owner, tuple(highlights.values()), (*rejected, *_excess(entries)), tuple(unsupported))


def _require_name(answer: Answer, found: User, username: str) -> None:
    """Raise AnswerMalformed unless the account has this name, in upper or lower case.

    Usernames are ASCII. Other letters become the same in lower case (the Kelvin sign a k), but name somebody else.
    """
    if found.username is None:
        _malformed(answer, f"account {found.pk} without a name, asked for {username}")
    if not found.username.isascii() or found.username.lower() != username.lower():
        _malformed(answer, f"account {found.pk} ({found.username}), asked for {username}")


def _document(answer: Answer) -> object:
    try:
        return json_document.parse_json(answer.body)
    except ValueError as error:
        _malformed(answer, f"no usable JSON ({error})")


def _malformed(answer: Answer, what: str) -> NoReturn:
    # Never chained: a JSON error carries the whole body, signed URLs and all.
    raise AnswerMalformed(excerpt(f"{answer.call.path} answered {what}")) from None


def _owner(answer: Answer, entries: Entries, user_pk: Pk | None, username: str | None) -> User | None:
    """Return the richest view of the one user whom all entries agree on, by pk and by the name that was asked for."""
    owner: User | None = None
    for raw in entries[:ENTRIES_MAX]:
        shape = read(WireHighlight, raw)
        view = user_of(shape.user) if shape is not None else None
        if view is None:
            continue
        expected = user_pk or (owner.pk if owner is not None else view.pk)
        if view.pk != expected:
            _malformed(answer, f"highlights of user {view.pk} among those of {expected}")
        if username is not None and view.username is not None:
            _require_name(answer, view, username)
        owner = richer(owner, view)
    return owner


def _reel(raw: object) -> object:
    """The highlight in the envelope of ``/v2/highlight/by/id``; anything else as it is."""
    envelope = read(WireReelPage, raw)
    listed = read(WireReels, envelope.response) if envelope is not None else None
    reels = list((listed.reels or {}).values()) if listed is not None else []
    return reels[0] if len(reels) == 1 else raw


def _highlight(raw: object, fallback: User | None) -> Highlight | RejectedEntry | str:
    """A highlight, why it is none, or the id of one of a kind that nothing fetches."""
    shape = read(WireHighlight, raw)
    if shape is None:
        return RejectedEntry("", "it is no object")
    other = shop_id(shape.pk) or shop_id(shape.id)
    if other is not None:
        return other
    highlight_pk = pk(shape.pk)
    if highlight_pk is None:
        return RejectedEntry("", _NO_PK)
    owner = user_of(shape.user) or fallback
    if owner is None:
        return RejectedEntry(highlight_pk, "it does not say whose it is")
    return highlight_of(shape, highlight_pk, owner)


def _item(raw: object) -> Item | RejectedEntry:
    shape = read(WireItem, raw)
    if shape is None:
        return RejectedEntry("", "it is no object")
    item_pk = pk(shape.pk)
    return item_of(shape, item_pk) if item_pk is not None else RejectedEntry("", _NO_PK)


def _excess(entries: Entries) -> Iterator[RejectedEntry]:
    if len(entries) > ENTRIES_MAX:
        yield RejectedEntry("", _TOO_MANY, len(entries) - ENTRIES_MAX)
