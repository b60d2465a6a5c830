"""What is stored for items: their files and blobs, and the answers that were paid for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Row, Select, bindparam, func, null, select, union_all

from archiver.catalog import tables
from archiver.catalog.query.account_state import loss_to_confirm
from archiver.model.api_calls import AnswerLocation, StoredPage
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.upstream import TrayNumbers

_blobs, _files, _adopted = tables.blobs, tables.files, tables.adopted
_highlights, _members = tables.highlights, tables.highlight_items
_calls, _answers, _users = tables.api_calls, tables.answers, tables.users

_AT_ONCE = 1000
_LOST_AT = select(_blobs.c.lost_at).where(_blobs.c.sha256 == bindparam("digest"))
_LOST = select(_blobs.c.sha256).where(_blobs.c.lost_at.is_not(None))
_ROLES_OF_ITEMS = select(_files.c.item_pk, _files.c.role).where(
    _files.c.item_pk.in_(bindparam("pks", expanding=True)), _files.c.sha256.not_in(_LOST)
)
_DOWNLOADED_ROLES = _ROLES_OF_ITEMS.where(_files.c.source.is_(None))
_MEMBERS = (
    select(_members.c.item_pk)
    .where(_members.c.highlight_pk == bindparam("pk"), _members.c.gone_at.is_(None))
    .order_by(_members.c.position)
)
_LOSS = select(_highlights.c.shrunk_to, _highlights.c.shrunk_run_id).where(
    _highlights.c.pk == bindparam("pk")
)


_OF_DIGESTS = _files.c.sha256.in_(bindparam("digests", expanding=True))
_OF_HIGHLIGHT = (
    _files.c.sha256,
    _highlights.c.user_pk,
    _users.c.username,
    _highlights.c.pk,
    _highlights.c.title,
)
_PLACES = union_all(
    select(_files.c.sha256, _files.c.user_pk, _users.c.username, null().label("pk"), null().label("title"))
    .join(_users, _users.c.pk == _files.c.user_pk)
    .where(_OF_DIGESTS),
    select(*_OF_HIGHLIGHT)
    .select_from(_files)
    .join(_highlights, _highlights.c.pk == _files.c.highlight_pk)
    .join(_users, _users.c.pk == _highlights.c.user_pk)
    .where(_OF_DIGESTS),
    select(*_OF_HIGHLIGHT)
    .select_from(_files)
    .join(_members, _members.c.item_pk == _files.c.item_pk)
    .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
    .join(_users, _users.c.pk == _highlights.c.user_pk)
    .where(_OF_DIGESTS),
).order_by("sha256", "username", "title", "pk")


def _digests(*selects: Select[Any]) -> Select[Any]:
    """Select the blobs that these selects name, each once, without lost ones."""
    named = union_all(*selects).subquery()
    return select(named.c.sha256).where(named.c.sha256.not_in(_LOST)).distinct()


_OF_MEMBERS = select(_files.c.sha256).join(_members, _members.c.item_pk == _files.c.item_pk)
_DIGESTS_OF_USER = _digests(
    select(_files.c.sha256).where(_files.c.user_pk == bindparam("pk")),
    select(_files.c.sha256)
    .join(_highlights, _highlights.c.pk == _files.c.highlight_pk)
    .where(_highlights.c.user_pk == bindparam("pk")),
    # By the highlight: an item may name another owner than the account that shows it.
    _OF_MEMBERS.join(_highlights, _highlights.c.pk == _members.c.highlight_pk).where(
        _highlights.c.user_pk == bindparam("pk")
    ),
)
# A condition on an expression: no database starts from all blobs of the archive that begin with these digits.
_SHARE_OF_USER = _DIGESTS_OF_USER.where(
    func.substr(_DIGESTS_OF_USER.selected_columns.sha256, 1, 1).in_(bindparam("digits", expanding=True))
)
_DIGESTS_OF_HIGHLIGHT = _digests(
    select(_files.c.sha256).where(_files.c.highlight_pk == bindparam("pk")),
    _OF_MEMBERS.where(_members.c.highlight_pk == bindparam("pk")),
)
_PAID = (
    select(_answers, _calls.c.finished_at, _calls.c.run_id)
    .join(_calls, _calls.c.id == _answers.c.api_call_id)
    .where(_calls.c.subject == bindparam("pk"), _calls.c.path == bindparam("path"), _calls.c.status == 200)
    .order_by(_calls.c.run_id.desc(), _answers.c.id.desc())  # the order of arrival, whatever a clock said
    .limit(1)
)
_AFTER = _blobs.c.sha256 > bindparam("last")
_NOT_LOST = (
    select(_blobs.c.sha256)
    .where(_blobs.c.lost_at.is_(None), _AFTER)
    .order_by(_blobs.c.sha256)
    .limit(_AT_ONCE)
)


def _with_owners(blobs: Select[Any]) -> Select[Any]:
    """Select these blobs, each once for every file and every adopted file with its bytes."""
    page = blobs.subquery()
    return (
        select(page, _files.c.user_pk, _files.c.highlight_pk, _files.c.item_pk, _files.c.role)
        .add_columns(
            _adopted.c.item_pk.label("awaited_pk"),
            _adopted.c.role.label("awaited_role"),
            _adopted.c.source,
            _adopted.c.username,
        )
        .outerjoin(_files, _files.c.sha256 == page.c.sha256)
        .outerjoin(_adopted, _adopted.c.sha256 == page.c.sha256)
        .order_by(page.c.sha256, _files.c.id)
    )


_BLOBS = _with_owners(select(_blobs).where(_AFTER).order_by(_blobs.c.sha256).limit(_AT_ONCE))
_NAMED_BLOBS = _with_owners(select(_blobs).where(_blobs.c.sha256.in_(bindparam("digests", expanding=True))))


def stored_roles(
    connection: Connection, item_pks: Sequence[Pk], *, with_adopted: bool = True
) -> frozenset[tuple[Pk, Role]]:
    """Return the (item, role) pairs that have a stored file whose bytes are not known to be lost.

    ``with_adopted``: whether a file that another tool downloaded counts.
    """
    query = _ROLES_OF_ITEMS if with_adopted else _DOWNLOADED_ROLES
    found: set[tuple[Pk, Role]] = set()
    for start in range(0, len(item_pks), _AT_ONCE):
        rows = connection.execute(query, {"pks": list(item_pks[start : start + _AT_ONCE])})
        found.update((row.item_pk, Role(row.role)) for row in rows)
    return frozenset(found)


def digests_of_account(
    connection: Connection, user_pk: Pk, first_digits: str | None = None
) -> tuple[Digest, ...]:
    """Return the blobs of an account (avatar, covers, items of its highlights) not known to be lost.

    ``first_digits``: only the digests that begin with one of these hexadecimal digits; None: all.
    """
    if first_digits is None:
        return tuple(map(Digest, connection.scalars(_DIGESTS_OF_USER, {"pk": user_pk})))
    share = {"pk": user_pk, "digits": list(first_digits)}
    return tuple(map(Digest, connection.scalars(_SHARE_OF_USER, share)))


def digests_of_highlight(connection: Connection, highlight_pk: Pk) -> tuple[Digest, ...]:
    """Return all blobs of a highlight (covers, items that are or were in it) not known to be lost."""
    return tuple(map(Digest, connection.scalars(_DIGESTS_OF_HIGHLIGHT, {"pk": highlight_pk})))


def members(connection: Connection, highlight_pk: Pk) -> tuple[Pk, ...]:
    """Return the items that are in a highlight now, in its order."""
    return tuple(connection.scalars(_MEMBERS, {"pk": highlight_pk}))


class PageBefore(Struct, frozen=True):
    """The items of a highlight by the pages recorded so far, and the fingerprint of a loss to confirm."""

    items: tuple[Pk, ...]
    shrunk_to: str | None


def page_before(connection: Connection, highlight_pk: Pk, run_id: int) -> PageBefore:
    """Return what decides whether items that the next page lacks are gone.

    ``run_id``: as in ``loss_to_confirm``.
    """
    row = connection.execute(_LOSS, {"pk": highlight_pk}).mappings().first()
    shrunk_to = loss_to_confirm(row, run_id) if row is not None else None
    return PageBefore(members(connection, highlight_pk), shrunk_to)


def paid_highlight(connection: Connection, highlight_pk: Pk, path: str) -> StoredPage | None:
    """Return the last good stored answer about a highlight, with the tray numbers at the time of the call.

    ``path`` is that of the call; only the package ``hiker`` knows paths.
    """
    row = connection.execute(_PAID, {"pk": highlight_pk, "path": path}).first()
    if row is None:
        return None
    location = AnswerLocation(row.segment, row.offset, row.length, Digest(row.sha256))
    numbers = TrayNumbers(row.latest_reel_media, row.media_count)
    return StoredPage(row.id, location, numbers, row.finished_at, row.run_id)


def is_lost(connection: Connection, digest: Digest) -> bool | None:
    """Return whether a blob is recorded as lost; None if it has no row."""
    row = connection.execute(_LOST_AT, {"digest": digest}).first()
    return None if row is None else row.lost_at is not None


def digests_after(connection: Connection, last: Digest | None) -> list[Digest]:
    """Return the next blobs that are not known to be lost, in ascending order; for ``Catalog.read_pages``."""
    return list(map(Digest, connection.scalars(_NOT_LOST, {"last": last or ""})))


def blobs_after(connection: Connection, last: StoredBlob | None) -> list[StoredBlob]:
    """Return the next blobs with their owners, in ascending order; for ``Catalog.read_pages``."""
    rows = connection.execute(_BLOBS, {"last": "" if last is None else last.sha256})
    return [_blob(list(group)) for _, group in groupby(rows, key=lambda row: str(row.sha256))]


def blobs(connection: Connection, digests: Sequence[Digest]) -> dict[Digest, StoredBlob]:
    """Return those of these blobs that have a row, at most 1,000, with their owners."""
    rows = connection.execute(_NAMED_BLOBS, {"digests": list(digests)})
    found = (_blob(list(group)) for _, group in groupby(rows, key=lambda row: str(row.sha256)))
    return {blob.sha256: blob for blob in found}


def places(connection: Connection, digests: Sequence[Digest]) -> dict[Digest, tuple[str, ...]]:
    """Return the account, or the account and the highlight, that each of these blobs belongs to, as text."""
    found: dict[Digest, list[str]] = {}
    for start in range(0, len(digests), _AT_ONCE):
        for row in connection.execute(_PLACES, {"digests": digests[start : start + _AT_ONCE]}):
            title = "" if row.pk is None else f", {row.title or f'highlight {row.pk}'}"
            found.setdefault(Digest(row.sha256), []).append(f"{row.username or row.user_pk}{title}")
    return {digest: tuple(dict.fromkeys(names)) for digest, names in found.items()}


def _blob(rows: Sequence[Row[Any]]) -> StoredBlob:
    first = rows[0]
    owners = tuple(dict.fromkeys(owner for row in rows for owner in _owners(row)))
    return StoredBlob(Digest(first.sha256), first.size, first.lost_at, first.verified_at, owners)


def _owners(row: Row[Any]) -> Iterator[str]:
    if row.role is not None:
        yield _owner(row)
    if row.awaited_pk is not None:
        folder = f" of {row.username}" if row.username else ""
        if row.awaited_role == Role.METADATA:
            yield f"what {row.source} says of item {row.awaited_pk}{folder}"
            return
        yield f"waits for item {row.awaited_pk} {row.awaited_role}, from {row.source}{folder}"


def _owner(row: Row[Any]) -> str:
    owners = ((Subject.USER, row.user_pk), (Subject.HIGHLIGHT, row.highlight_pk), (Subject.ITEM, row.item_pk))
    subject, pk = next((subject, pk) for subject, pk in owners if pk is not None)
    return f"{subject} {pk} {row.role}"
