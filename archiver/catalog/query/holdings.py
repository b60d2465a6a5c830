"""What is stored for items: their files and blobs, and the answers that were paid for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from archiver.catalog.query.account_state import loss_to_confirm
from archiver.catalog.sql import Query
from archiver.model.api_calls import AnswerLocation, StoredPage
from archiver.model.archived import StoredBlob
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.upstream import TrayNumbers

_IN_PAGE = 1000
_LOST = "SELECT sha256 FROM blobs WHERE lost_at IS NOT NULL"
_ROLES = Query(
    f"""
    SELECT item_pk, role FROM files WHERE item_pk IN :pks AND sha256 NOT IN ({_LOST})
        AND source IS NULL -- if is_downloaded
    """,
    lambda item_pk, role: (item_pk, Role(role)),
)
_IS_LOST = Query("SELECT lost_at IS NOT NULL AS is_lost FROM blobs WHERE sha256 = :digest", bool)
_MEMBERS = Query(
    "SELECT item_pk FROM highlight_items WHERE highlight_pk = :pk AND gone_at IS NULL ORDER BY position", Pk
)
_LOSS = Query(
    "SELECT shrunk_to, shrunk_run_id FROM highlights WHERE pk = :pk",
    lambda shrunk_to, shrunk_run_id: (shrunk_to, shrunk_run_id),
)
_PLACES = Query(
    """
    SELECT files.sha256, files.user_pk, users.username, NULL AS pk, NULL AS title
    FROM files JOIN users ON users.pk = files.user_pk WHERE files.sha256 IN :digests
    UNION ALL
    SELECT files.sha256, users.pk, users.username, highlights.pk, highlights.title
    FROM files JOIN highlights ON highlights.pk = files.highlight_pk
    JOIN users ON users.pk = highlights.user_pk WHERE files.sha256 IN :digests
    UNION ALL
    SELECT files.sha256, users.pk, users.username, highlights.pk, highlights.title
    FROM files JOIN highlight_items AS member ON member.item_pk = files.item_pk
    JOIN highlights ON highlights.pk = member.highlight_pk
    JOIN users ON users.pk = highlights.user_pk WHERE files.sha256 IN :digests
    ORDER BY 1, 3, 5, 4
    """,
    lambda sha256, user_pk, username, pk, title: (
        Digest(sha256),
        (username or user_pk) + ("" if pk is None else f", {title or f'highlight {pk}'}"),
    ),
)
_FILES_OF_ITEMS = "SELECT sha256 FROM files JOIN highlight_items AS member ON member.item_pk = files.item_pk"
_DIGESTS_OF_USER = Query(
    f"""
    SELECT DISTINCT sha256 FROM (
        SELECT sha256 FROM files WHERE user_pk = :pk
        UNION ALL
        SELECT sha256 FROM files JOIN highlights ON highlights.pk = highlight_pk
        WHERE highlights.user_pk = :pk
        UNION ALL -- By the highlight: an item may name another owner than the account that shows it.
        {_FILES_OF_ITEMS} JOIN highlights ON highlights.pk = member.highlight_pk
        WHERE highlights.user_pk = :pk
    ) AS named
    WHERE sha256 NOT IN ({_LOST})
        -- An expression: no database starts from all blobs of the archive that begin with these digits.
        AND substr(sha256, 1, 1) IN :digits -- if digits
    """,
    Digest,
)
_DIGESTS_OF_HIGHLIGHT = Query(
    f"""
    SELECT DISTINCT sha256 FROM (
        SELECT sha256 FROM files WHERE highlight_pk = :pk
        UNION ALL
        {_FILES_OF_ITEMS} WHERE member.highlight_pk = :pk
    ) AS named
    WHERE sha256 NOT IN ({_LOST})
    """,
    Digest,
)
_PAID = Query(  # the last by the order of arrival, whatever a clock said
    """
    SELECT answers.id, segment, "offset", length, sha256, latest_reel_media, media_count, finished_at, run_id
    FROM answers JOIN api_calls ON api_calls.id = api_call_id
    WHERE subject = :pk AND path = :path AND status = 200 ORDER BY run_id DESC, answers.id DESC LIMIT 1
    """,
    lambda answer_id, segment, offset, length, sha256, latest, count, finished_at, run_id: StoredPage(
        answer_id,
        AnswerLocation(segment, offset, length, Digest(sha256)),
        TrayNumbers(latest, count),
        finished_at,
        run_id,
    ),
)
_NOT_LOST = Query(
    "SELECT sha256 FROM blobs WHERE lost_at IS NULL AND sha256 > :last ORDER BY sha256 LIMIT :limit", Digest
)


def _with_owners(blobs: str) -> Query[tuple[Any, ...]]:
    """Return the query for these blobs, each once for every file and every adopted file with its bytes."""
    return Query(
        f"""
        SELECT page.sha256, page.size, page.lost_at, page.verified_at,
            files.user_pk, files.highlight_pk, files.item_pk, files.role,
            adopted.item_pk, adopted.role, adopted.source, adopted.username
        FROM ({blobs}) AS page
        LEFT JOIN files ON files.sha256 = page.sha256 LEFT JOIN adopted ON adopted.sha256 = page.sha256
        ORDER BY page.sha256, files.id
        """,
        lambda *columns: columns,
    )


_BLOBS = _with_owners("SELECT * FROM blobs WHERE sha256 > :last ORDER BY sha256 LIMIT :limit")
_NAMED_BLOBS = _with_owners("SELECT * FROM blobs WHERE sha256 IN :digests")


def stored_roles(
    connection: Connection, item_pks: Sequence[Pk], *, with_adopted: bool = True
) -> frozenset[tuple[Pk, Role]]:
    """Return the (item, role) pairs that have a stored file whose bytes are not known to be lost.

    ``with_adopted``: whether a file that another tool downloaded counts.
    """
    return frozenset(_ROLES.all_of(connection, "pks", item_pks, is_downloaded=None if with_adopted else True))


def digests_of_account(
    connection: Connection, user_pk: Pk, first_digits: str | None = None
) -> tuple[Digest, ...]:
    """Return the blobs of an account (avatar, covers, items of its highlights) not known to be lost.

    ``first_digits``: only the digests that begin with one of these hexadecimal digits; None: all.
    """
    return tuple(_DIGESTS_OF_USER.all(connection, pk=user_pk, digits=first_digits))


def digests_of_highlight(connection: Connection, highlight_pk: Pk) -> tuple[Digest, ...]:
    """Return all blobs of a highlight (covers, items that are or were in it) not known to be lost."""
    return tuple(_DIGESTS_OF_HIGHLIGHT.all(connection, pk=highlight_pk))


def members(connection: Connection, highlight_pk: Pk) -> tuple[Pk, ...]:
    """Return the items that are in a highlight now, in its order."""
    return tuple(_MEMBERS.all(connection, pk=highlight_pk))


class PageBefore(Struct, frozen=True):
    """The items of a highlight by the pages recorded so far, and the fingerprint of a loss to confirm."""

    items: tuple[Pk, ...]
    shrunk_to: str | None


def page_before(connection: Connection, highlight_pk: Pk, run_id: int) -> PageBefore:
    """Return what decides whether items that the next page lacks are gone.

    ``run_id``: as in ``loss_to_confirm``.
    """
    loss = _LOSS.first(connection, pk=highlight_pk)
    shrunk_to = loss_to_confirm(*loss, run_id) if loss is not None else None
    return PageBefore(members(connection, highlight_pk), shrunk_to)


def paid_highlight(connection: Connection, highlight_pk: Pk, path: str) -> StoredPage | None:
    """Return the last good stored answer about a highlight, with the tray numbers at the time of the call.

    ``path`` is that of the call; only the package ``hiker`` knows paths.
    """
    return _PAID.first(connection, pk=highlight_pk, path=path)


def is_lost(connection: Connection, digest: Digest) -> bool | None:
    """Return whether a blob is recorded as lost; None if it has no row."""
    return _IS_LOST.first(connection, digest=digest)


def digests_after(connection: Connection, last: Digest | None) -> list[Digest]:
    """Return the next blobs that are not known to be lost, in ascending order; for ``Catalog.read_pages``."""
    return _NOT_LOST.all(connection, last=last or "", limit=_IN_PAGE)


def blobs_after(connection: Connection, last: StoredBlob | None) -> list[StoredBlob]:
    """Return the next blobs with their owners, in ascending order; for ``Catalog.read_pages``."""
    return _stored_blobs(_BLOBS.all(connection, last="" if last is None else last.sha256, limit=_IN_PAGE))


def blobs(connection: Connection, digests: Sequence[Digest]) -> dict[Digest, StoredBlob]:
    """Return those of these blobs that have a row, at most 1,000, with their owners."""
    return {blob.sha256: blob for blob in _stored_blobs(_NAMED_BLOBS.all(connection, digests=digests))}


def places(connection: Connection, digests: Sequence[Digest]) -> dict[Digest, tuple[str, ...]]:
    """Return the account, or the account and the highlight, that each of these blobs belongs to, as text."""
    found: dict[Digest, list[str]] = {}
    for digest, name in _PLACES.all_of(connection, "digests", digests):
        found.setdefault(digest, []).append(name)
    return {digest: tuple(dict.fromkeys(names)) for digest, names in found.items()}


def _stored_blobs(rows: Iterable[tuple[Any, ...]]) -> list[StoredBlob]:
    found = []
    for (sha256, size, lost_at, verified_at), group in groupby(rows, key=itemgetter(0, 1, 2, 3)):
        owners = dict.fromkeys(owner for row in group for owner in _owners(*row[4:]))
        found.append(StoredBlob(Digest(sha256), size, lost_at, verified_at, tuple(owners)))
    return found


def _owners(
    user_pk: Pk | None,
    highlight_pk: Pk | None,
    item_pk: Pk | None,
    role: str | None,
    awaited_pk: Pk | None,
    awaited_role: str | None,
    source: str | None,
    username: str | None,
) -> Iterator[str]:
    owners = ((Subject.USER, user_pk), (Subject.HIGHLIGHT, highlight_pk), (Subject.ITEM, item_pk))
    for subject, pk in owners:
        if pk is not None:
            yield f"{subject} {pk} {role}"
    if awaited_pk is not None:
        folder = f" of {username}" if username else ""
        if awaited_role == Role.METADATA:
            yield f"what {source} says of item {awaited_pk}{folder}"
        else:
            yield f"waits for item {awaited_pk} {awaited_role}, from {source}{folder}"
