"""Small values for tests of the catalog, and queries of the rows that they become."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from archiver.catalog import Catalog
from archiver.model.api_calls import AnswerLocation, Call
from archiver.model.archived import Blob, File, Owner
from archiver.model.identity import Digest, Role, Subject
from archiver.model.upstream import Highlight, HighlightPage, Item, Link, Tray, TrayNumbers, User
from tests.support.databases import NOW

LATER = NOW + timedelta(days=1)
LATEST = NOW + timedelta(days=2)

NATGEO = User("787132", "natgeo", "National Geographic", False, True, None, "natgeo.jpg")
FACTS = TrayNumbers(1_766_242_839, 2)


def highlight(pk: str, title: str | None = "Gift Guide", **more: object) -> Highlight:
    """Return a highlight of natgeo."""
    told: dict[str, object] = {
        "created_at": NOW,
        "numbers": FACTS,
        "is_pinned": False,
        "cover_name": f"{pk}.jpg",
    }
    return Highlight(pk, NATGEO, title, **{**told, **more})  # type: ignore[arg-type]


def tray(*highlights: Highlight | str, user: User | None = NATGEO) -> Tray:
    """Return a tray with these highlights, or with plain ones that have these pks."""
    return Tray(user, tuple(highlight(h) if isinstance(h, str) else h for h in highlights))


def video(pk: str, **more: object) -> Item:
    """Return a video item of natgeo, with both of its links."""
    links = tuple(
        Link(role, f"https://scontent.cdninstagram.com/{pk}.{role}") for role in (Role.THUMBNAIL, Role.VIDEO)
    )
    told: dict[str, object] = {
        "user_pk": NATGEO.pk,
        "code": f"C{pk}",
        "taken_at": NOW,
        "media_type": 2,
        "links": links,
    }
    return Item(pk, **{**told, **more})  # type: ignore[arg-type]


def page(pk: str, *items: Item | str, **more: object) -> HighlightPage:
    """Return the page of a highlight with these items, or with plain ones that have these pks."""
    return HighlightPage(highlight(pk, **more), tuple(video(i) if isinstance(i, str) else i for i in items))  # type: ignore[arg-type]


def digest(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def file_of(pk: str, role: Role = Role.VIDEO, content: str = "", name: str = "a.mp4") -> File:
    """Return a File of an item (or of a highlight or user, by its role) whose bytes are ``content``."""
    subject = {Role.COVER: Subject.HIGHLIGHT, Role.AVATAR: Subject.USER}.get(role, Subject.ITEM)
    blob = Blob(digest(content or f"{pk} {role}"), 1000, "video/mp4", 720, 1280)
    return File(Owner(subject, pk), role, blob, f"https://scontent.cdninstagram.com/v/{name}")


def call(units: int = 1, subject: str = "1", path: str = "/v1/highlight/by/url") -> Call:
    return Call(path, (), subject, units)


def stored_answer(text: str = "answer", segment: str = "2026/03/1-a.warc.gz") -> AnswerLocation:
    return AnswerLocation(segment, 10, 200, digest(text))


def rows(catalog: Catalog, sql: str) -> list[tuple[object, ...]]:
    """Return the rows of a query as ``archiver query`` would."""
    return list(catalog.run_query(sql, rows=1000, seconds=10).rows)


def change_rows(catalog: Catalog) -> list[tuple[object, ...]]:
    """Return all changes in order: (subject, subject_pk, field, old, new)."""
    return rows(catalog, "SELECT subject, subject_pk, field, old, new FROM changes ORDER BY id")
