"""Users and highlights, as answers show them."""

from __future__ import annotations

from archiver import signed_url
from archiver.hiker.wire.shapes import (
    WireCover,
    WireHighlight,
    WirePicture,
    WirePictures,
    WireUser,
    read,
    read_all,
)
from archiver.hiker.wire.values import link, moment, pk, said, text
from archiver.model.identity import Role
from archiver.model.upstream import Highlight, Link, TrayFacts, User


def user_of(raw: object) -> User | None:
    """A User, or None if there is none or it has no pk.

    The poorer users of items say ``username: null, full_name: ""``: without a username an empty name is not said.
    """
    shape = read(WireUser, raw)
    user_pk = pk(shape.pk) if shape is not None else None
    if shape is None or user_pk is None:
        return None
    username = said(shape.username)
    avatar = shape.profile_pic_url_hd or shape.profile_pic_url
    return User(
        pk=user_pk,
        username=username,
        full_name=text(shape.full_name) if username else said(shape.full_name),
        is_private=shape.is_private,
        is_verified=shape.is_verified,
        avatar=link(Role.AVATAR, avatar),
        avatar_name=signed_url.basename(avatar) if avatar else None,
    )


def richer(one: User | None, other: User) -> User:
    """Of two views of the same user the one that says more; the first if they say equally much."""
    return one if one is not None and _said(one) >= _said(other) else other


def highlight_of(shape: WireHighlight, highlight_pk: str, owner: User) -> Highlight:
    """A Highlight without its items."""
    cover = _cover(shape.cover_media)
    return Highlight(
        pk=highlight_pk,
        user=owner,
        title=text(shape.title),
        created_at=moment(shape.created_at),
        facts=TrayFacts(shape.latest_reel_media, shape.media_count),
        is_pinned=shape.is_pinned_highlight,
        cover=cover,
        cover_name=signed_url.basename(cover.url) if cover is not None else None,
    )


def _cover(raw: object) -> Link | None:
    """The full picture where there is one: the cropped one has 150 pixels. Raw media offer theirs as candidates, the best first."""
    shape = read(WireCover, raw)
    if shape is None:
        return None
    candidates = read(WirePictures, shape.image_versions2)
    pictures = (
        read(WirePicture, shape.full_image_version),
        read(WirePicture, shape.cropped_image_version),
        *read_all(WirePicture, candidates.candidates if candidates is not None else None),
    )
    return next((link(Role.COVER, p.url) for p in pictures if p is not None and p.url is not None), None)


def _said(user: User) -> int:
    views = (user.username, user.full_name, user.is_private, user.is_verified, user.avatar)
    return sum(view is not None for view in views)
