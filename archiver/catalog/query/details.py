"""Details of one account, highlight or item: how much it has, its names, and which answers it came from."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from archiver.catalog.sql import Query
from archiver.model.api_calls import AnswerLocation
from archiver.model.archived import ContentSize, DatedUsername, NameChange, Provenance
from archiver.model.identity import Digest, Pk, Subject

_BLOBS_OF_HIGHLIGHTS = """
    SELECT files.highlight_pk, files.sha256 FROM files JOIN highlights ON highlights.pk = files.highlight_pk
    WHERE highlights.user_pk = :user
    UNION
    SELECT member.highlight_pk, files.sha256 FROM highlight_items AS member
    JOIN highlights ON highlights.pk = member.highlight_pk JOIN files ON files.item_pk = member.item_pk
    WHERE highlights.user_pk = :user
"""
_SUMS = """
    count(*) FILTER (WHERE blobs.lost_at IS NULL) AS blobs,
    CAST(coalesce(sum(blobs.size) FILTER (WHERE blobs.lost_at IS NULL), 0) AS BIGINT) AS bytes,
    count(blobs.lost_at) AS lost
"""
_CONTENT_OF_HIGHLIGHTS = Query(
    f"""
    SELECT pk, coalesce(shown.items, 0), coalesce(shown.gone, 0), coalesce(held.blobs, 0),
        coalesce(held.bytes, 0), coalesce(held.lost, 0)
    FROM highlights
    LEFT JOIN (
        SELECT member.highlight_pk, count(*) AS items,
            count(coalesce(member.gone_at, highlights.gone_at)) AS gone
        FROM highlight_items AS member JOIN highlights ON highlights.pk = member.highlight_pk
        WHERE highlights.user_pk = :user GROUP BY member.highlight_pk
    ) AS shown ON shown.highlight_pk = pk
    LEFT JOIN (
        SELECT own.highlight_pk, {_SUMS} FROM ({_BLOBS_OF_HIGHLIGHTS}) AS own
        JOIN blobs ON blobs.sha256 = own.sha256 GROUP BY own.highlight_pk
    ) AS held ON held.highlight_pk = pk
    WHERE user_pk = :user AND (shown.highlight_pk IS NOT NULL OR held.highlight_pk IS NOT NULL)
    """,
    lambda pk, *sizes: (Pk(pk), ContentSize(*sizes)),
)
_CONTENT = Query(
    f"""
    SELECT shown.items, shown.gone, held.blobs, held.bytes, held.lost
    FROM (
        SELECT count(*) AS items, count(CASE WHEN present = 0 THEN 1 END) AS gone FROM (
            SELECT count(*) - count(coalesce(member.gone_at, highlights.gone_at)) AS present
            FROM highlight_items AS member JOIN highlights ON highlights.pk = member.highlight_pk
            WHERE highlights.user_pk = :user GROUP BY member.item_pk
        ) AS each_item
    ) AS shown,
    (
        SELECT {_SUMS} FROM blobs JOIN (
            SELECT sha256 FROM files WHERE user_pk = :user
            UNION SELECT sha256 FROM ({_BLOBS_OF_HIGHLIGHTS}) AS of_highlights
        ) AS own ON own.sha256 = blobs.sha256
    ) AS held
    """,
    ContentSize,
)
_USERNAMES = Query(
    """
    SELECT username, first_seen_at, last_seen_at FROM usernames WHERE user_pk = :user
    ORDER BY last_seen_at DESC, first_seen_at DESC
    """,
    DatedUsername,
)
_NAME_CHANGES = Query(
    """
    SELECT at, field, old, new FROM changes
    WHERE subject = :subject AND subject_pk = :pk AND field IN ('username', 'full_name', 'title')
    ORDER BY id DESC
    """,
    NameChange,
)
_PROVENANCE = Query(
    """
    SELECT answers.id, run_id, path, segment, "offset", length, sha256, lost_at IS NOT NULL AS is_lost
    FROM answers JOIN api_calls ON api_calls.id = answers.api_call_id WHERE answers.id IN :ids
    """,
    lambda answer_id, run_id, path, segment, offset, length, sha256, is_lost: Provenance(
        answer_id, run_id, path, AnswerLocation(segment, offset, length, Digest(sha256)), is_lost
    ),
)
_ITEMS_BY_CODE = Query("SELECT pk FROM items WHERE code = :code ORDER BY pk", Pk)


def extents(connection: Connection, user_pk: Pk) -> dict[Pk, ContentSize]:
    """Return the content size of each highlight of an account, covers included; empty ones are left out."""
    return dict(_CONTENT_OF_HIGHLIGHTS.all(connection, user=user_pk))


def extent(connection: Connection, user_pk: Pk) -> ContentSize:
    """Return the content size of an account.

    An item in several of its highlights counts once, and is gone when none of them shows it any more.
    """
    return _CONTENT.one(connection, user=user_pk)


def names(connection: Connection, user_pk: Pk) -> tuple[DatedUsername, ...]:
    """Return the usernames of an account, the latest first."""
    return tuple(_USERNAMES.all(connection, user=user_pk))


def renamings(connection: Connection, subject: Subject, pk: Pk) -> tuple[NameChange, ...]:
    """Return the changes of a subject's names, the latest first."""
    return tuple(_NAME_CHANGES.all(connection, subject=subject, pk=pk))


def provenance(connection: Connection, answer_ids: Collection[int]) -> dict[int, Provenance]:
    """Return where these answers are stored, except those dropped (``keep_answers = "fetched"``)."""
    found = _PROVENANCE.all(connection, ids=list(answer_ids))
    return {provenance.answer_id: provenance for provenance in found}


def pks_by_code(connection: Connection, code: str) -> tuple[Pk, ...]:
    """Return the items that have this code: one, unless upstream contradicts itself."""
    return tuple(_ITEMS_BY_CODE.all(connection, code=code))
