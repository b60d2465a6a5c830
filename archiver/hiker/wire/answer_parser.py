"""Parsers with one function for each kind of answer, which returns an object of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from archiver import signed_url
from archiver.errors import AnswerMalformed
from archiver.hiker.wire.call_outcomes import means_no_highlights
from archiver.hiker.wire.json_document import Document
from archiver.hiker.wire.shapes import (
    ENTRIES_MAX,
    Entries,
    WireBalance,
    WireCover,
    WireHighlight,
    WirePicture,
    WirePictures,
    WireReelPage,
    WireReels,
    WireTrayList,
    WireTrayPage,
    WireUser,
    make_link,
    read_nonempty,
    read_object,
    read_objects,
    read_pk,
    read_shop_id,
    read_text,
    read_time,
)
from archiver.hiker.wire.story_items import NO_PK, NOT_AN_OBJECT, to_item
from archiver.model.identity import Pk, Role
from archiver.model.upstream import (
    Balance,
    Highlight,
    HighlightPage,
    Item,
    Link,
    RejectedEntry,
    Tray,
    TrayNumbers,
    TrayPage,
    User,
)
from archiver.signed_url import excerpt

_TOO_MANY = f"the list has more than {ENTRIES_MAX:,} entries: the rest was not read"
_RATE_MAX = 10_000


def parse_tray(document: Document, user_pk: Pk | None = None, *, username: str | None = None) -> Tray:
    """Return a user's list of highlights. The call named the user by ``user_pk`` or by ``username``.

    An account that was requested by pk may have any name, as accounts are renamed. One requested by name must
    have that name, if the answer states a name. If not, ``Tray.user.username`` is None, and only a call for
    the account itself can tell whose tray it is.

    Raises AnswerMalformed if it is not a list, if an entry belongs to another user than requested or than the
    entry before it, or if a tray that was requested by name does not state its owner.
    """
    raw = _tree(document)
    if means_no_highlights(raw):
        return Tray(None, ())
    if not isinstance(raw, list):
        _malformed_answer(document, "no list of highlights")
    tray = _tray(document, raw, user_pk, username)
    if username is not None and raw and tray.user is None:
        _malformed_answer(document, "a list of highlights that does not state their owner")
    return tray


def parse_tray_page(document: Document, user_pk: Pk) -> TrayPage:
    """Return one page of a user's paged tray (``/v2``). Raises AnswerMalformed as ``parse_tray`` does."""
    raw = _tree(document)
    shape = read_object(WireTrayPage, raw)
    listed = read_object(WireTrayList, shape.response) if shape is not None else None
    if shape is None or listed is None or listed.tray is None:
        _malformed_answer(document, "no page of highlights")
    if shape.next_page_id is None and isinstance(raw, dict) and raw.get("next_page_id") is not None:
        # This page must not be taken for the last one: that would hide the rest.
        _malformed_answer(document, "a next page with an unusable id")
    return TrayPage(_tray(document, listed.tray, user_pk), str(shape.next_page_id or "") or None)


def join_pages(pages: Sequence[Tray]) -> Tray:
    """Return the pages of one tray as one tray.

    A highlight on two pages counts once. The owner is the one with the most facts.
    """
    owner: User | None = None
    highlights: dict[Pk, Highlight] = {}
    for page in pages:
        if page.user is not None:
            owner = _richer_user(owner, page.user)
        for highlight in page.highlights:
            highlights.setdefault(highlight.pk, highlight)
    return Tray(
        owner,
        tuple(highlights.values()),
        tuple(rejected for page in pages for rejected in page.rejected),
        tuple(dict.fromkeys(shop_id for page in pages for shop_id in page.unsupported)),
    )


def parse_highlight_page(document: Document, expected_pk: Pk | None = None) -> HighlightPage:
    """Return one highlight with its items.

    ``expected_pk``: the pk that was requested, None if it is not known.

    Raises AnswerMalformed if the answer is not a highlight with an owner and a list of items, or if it is a
    different highlight.
    """
    raw = _unwrap_reel(_tree(document))
    shape = read_object(WireHighlight, raw)
    if shape is None:
        _malformed_answer(document, "no highlight")
    highlight = _to_highlight(shape, _to_user(shape.user))
    if isinstance(highlight, str):
        _malformed_answer(document, f"{highlight}, which is not a highlight of stories")
    if isinstance(highlight, RejectedEntry):
        _malformed_answer(document, f"no highlight: {highlight.detail}")
    if expected_pk is not None and highlight.pk != expected_pk:
        _malformed_answer(document, f"highlight {highlight.pk} instead of {expected_pk}")
    if shape.items is None:
        _malformed_answer(document, f"highlight {highlight.pk} without a list of items")
    items: dict[Pk, Item] = {}
    rejected: list[RejectedEntry] = []
    for entry in shape.items[:ENTRIES_MAX]:
        item = to_item(entry)
        if isinstance(item, RejectedEntry):
            rejected.append(item)
        else:
            items.setdefault(item.pk, item)
    repeated = min(len(shape.items), ENTRIES_MAX) - len(items) - len(rejected)
    return HighlightPage(highlight, tuple(items.values()), (*rejected, *_excess(shape.items)), repeated)


def parse_user(document: Document, expected_pk: Pk | None = None, *, username: str | None = None) -> User:
    """Return one account, which the call named by ``expected_pk`` or by ``username``.

    Raises AnswerMalformed if it has no pk, or not the pk or the name that was requested.
    """
    account = _to_user(_tree(document))
    if account is None:
        _malformed_answer(document, "no account")
    if expected_pk is not None and account.pk != expected_pk:
        _malformed_answer(document, f"account {account.pk} instead of {expected_pk}")
    if username is not None:
        _require_name(document, account, username)
    return account


def parse_balance(document: Document) -> Balance:
    """Return the units left and the calls per second. Raises AnswerMalformed if the units are missing."""
    shape = read_object(WireBalance, _tree(document))
    if shape is None or shape.requests is None:
        _malformed_answer(document, "no balance")
    rate = int(shape.rate) if shape.rate is not None and 1 <= shape.rate <= _RATE_MAX else None
    return Balance(shape.requests, rate)


def _tray(document: Document, entries: Entries, user_pk: Pk | None, username: str | None = None) -> Tray:
    shapes = [read_object(WireHighlight, entry) for entry in entries[:ENTRIES_MAX]]
    users = [_to_user(shape.user) if shape is not None else None for shape in shapes]
    owner = _owner(document, users, user_pk, username)
    fallback = owner or (User(user_pk) if user_pk is not None else None)
    highlights: dict[Pk, Highlight] = {}
    rejected: list[RejectedEntry] = []
    unsupported: list[str] = []
    for shape, user in zip(shapes, users, strict=True):
        highlight = _to_highlight(shape, user or fallback)
        if isinstance(highlight, str):
            unsupported.append(highlight)
        elif isinstance(highlight, RejectedEntry):
            rejected.append(highlight)
        else:
            highlights.setdefault(highlight.pk, highlight)
    return Tray(owner, tuple(highlights.values()), (*rejected, *_excess(entries)), tuple(unsupported))


def _require_name(document: Document, account: User, username: str) -> None:
    """Raise AnswerMalformed unless the account has this name, ignoring case.

    Usernames are ASCII. A name with another letter is a different one, even if its lower case is ASCII, as
    that of the Kelvin sign is (k).
    """
    name = account.username
    if name is None:
        _malformed_answer(document, f"account {account.pk} without a name instead of {username}")
    if not name.isascii() or name.lower() != username.lower():
        _malformed_answer(document, f"account {account.pk} ({name}) instead of {username}")


def _tree(document: Document) -> object:
    if document.fault:
        _malformed_answer(document, f"unusable JSON ({document.fault})")
    return document.tree


def _malformed_answer(document: Document, what: str) -> NoReturn:
    # Never chained: the error of a parser may hold the whole body with its signed URLs.
    raise AnswerMalformed(excerpt(f"{document.answer.call.path} returned {what}")) from None


def _owner(
    document: Document, users: Sequence[User | None], user_pk: Pk | None, username: str | None
) -> User | None:
    """Return the owner that all entries agree on, from the entry with the most facts about it.

    ``users``: that of each entry; None if it states none. Raises AnswerMalformed if two entries disagree, or
    if the owner is not the one that was requested.
    """
    owner: User | None = None
    for view in users:
        if view is None:
            continue
        expected = user_pk or (owner.pk if owner is not None else view.pk)
        if view.pk != expected:
            _malformed_answer(document, f"highlights of user {view.pk} among those of {expected}")
        if username is not None and view.username is not None:
            _require_name(document, view, username)
        owner = _richer_user(owner, view)
    return owner


def _unwrap_reel(raw: object) -> object:
    """Return the highlight in the envelope of ``/v2/highlight/by/id``; anything else unchanged."""
    envelope = read_object(WireReelPage, raw)
    listed = read_object(WireReels, envelope.response) if envelope is not None else None
    reels = list((listed.reels or {}).values()) if listed is not None else []
    return reels[0] if len(reels) == 1 else raw


def _excess(entries: Entries) -> Iterator[RejectedEntry]:
    if len(entries) > ENTRIES_MAX:
        yield RejectedEntry("", _TOO_MANY, len(entries) - ENTRIES_MAX)


def _to_user(raw: object) -> User | None:
    """Return a user, or None if ``raw`` is not an object with a pk.

    The users inside items have few facts and say ``username: null, full_name: ""``. Without a username, an
    empty name therefore means that none is stated.
    """
    shape = read_object(WireUser, raw)
    user_pk = read_pk(shape.pk) if shape is not None else None
    if shape is None or user_pk is None:
        return None
    username = read_nonempty(shape.username)
    avatar = shape.profile_pic_url_hd or shape.profile_pic_url
    return User(
        pk=user_pk,
        username=username,
        full_name=read_text(shape.full_name) if username else read_nonempty(shape.full_name),
        is_private=shape.is_private,
        is_verified=shape.is_verified,
        avatar=make_link(Role.AVATAR, avatar),
        avatar_name=signed_url.basename(avatar) if avatar else None,
    )


def _richer_user(one: User | None, other: User) -> User:
    """Return the view of a user that has more facts; the first if both have the same number."""
    return one if one is not None and _count_facts(one) >= _count_facts(other) else other


def _count_facts(user: User) -> int:
    facts = (user.username, user.full_name, user.is_private, user.is_verified, user.avatar)
    return sum(fact is not None for fact in facts)


def _to_highlight(shape: WireHighlight | None, owner: User | None) -> Highlight | RejectedEntry | str:
    """Return a highlight without its items, the reason why this is not one, or the id of a shop highlight.

    ``shape``: None if it is not an object.
    """
    if shape is None:
        return RejectedEntry("", NOT_AN_OBJECT)
    shop_id = read_shop_id(shape.pk) or read_shop_id(shape.id)
    if shop_id is not None:
        return shop_id
    highlight_pk = read_pk(shape.pk)
    if highlight_pk is None:
        return RejectedEntry("", NO_PK)
    if owner is None:
        return RejectedEntry(highlight_pk, "it does not state its owner")
    cover = _to_cover(shape.cover_media)
    return Highlight(
        pk=highlight_pk,
        user=owner,
        title=read_text(shape.title),
        created_at=read_time(shape.created_at),
        numbers=TrayNumbers(shape.latest_reel_media, shape.media_count),
        is_pinned=shape.is_pinned_highlight,
        cover=cover,
        cover_name=signed_url.basename(cover.url) if cover is not None else None,
    )


def _to_cover(raw: object) -> Link | None:
    """Return the link of the full picture if there is one: the cropped one has 150 pixels.

    Raw media list theirs as candidates, best first.
    """
    shape = read_object(WireCover, raw)
    if shape is None:
        return None
    candidates = read_object(WirePictures, shape.image_versions2)
    pictures = (
        read_object(WirePicture, shape.full_image_version),
        read_object(WirePicture, shape.cropped_image_version),
        *read_objects(WirePicture, candidates.candidates if candidates is not None else None),
    )
    url = next((picture.url for picture in pictures if picture is not None and picture.url is not None), None)
    return make_link(Role.COVER, url)
