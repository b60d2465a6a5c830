"""What a search finds: documents from the index of either database, best first, with their names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection

from archiver.catalog.search import search_index, tokenizer
from archiver.catalog.search.query_parser import FIELDS, SearchQuery
from archiver.catalog.search.search_index import DocumentSource
from archiver.catalog.sql import Query
from archiver.model.identity import Pk, Subject
from archiver.model.query_results import Dated, Hit, Kind, Said

_MAX_RANKED = 1_000
"""How many of the documents that match in one field are sorted by date: those that were recorded last."""
_BATCH = 100

_ITEM_KINDS = frozenset({Kind.ITEM, Kind.PHOTO, Kind.VIDEO})


class _Document(NamedTuple):
    subject: str
    subject_pk: Pk
    at: datetime


class _Names(NamedTuple):
    """What a hit shows of an account, a highlight or an item."""

    pk: Pk
    user_pk: Pk | None
    username: str | None
    highlight_pk: Pk | None
    title: str | None
    code: str | None
    media_type: int | None
    dated: str
    is_gone: bool
    source: str | None


# ``since`` and the highlights narrow what matches before the last ones are taken, which are then sorted.
_MATCHING = """
    SELECT subject, subject_pk, at FROM (
        SELECT id, subject, subject_pk, at FROM {source}
            AND (subject = 'highlight' AND subject_pk IN :highlight_pks -- if highlight_pks
                OR subject = 'item' AND subject_pk IN ( -- if highlight_pks
                    SELECT item_pk FROM highlight_items -- if highlight_pks
                    WHERE highlight_pk IN :highlight_pks -- if highlight_pks
                )) -- if highlight_pks
            AND at >= :since -- if since
        ORDER BY {order}
        LIMIT :limit -- if limit
    ) AS matching
    ORDER BY at DESC, subject, subject_pk DESC
"""
_DOCUMENTS = Query(
    {
        "sqlite": _MATCHING.format(
            source="search_index JOIN search_documents ON id = search_index.rowid"
            " WHERE search_index MATCH :expression",
            order="search_index.rowid DESC",
        ),
        # By an expression: PostgreSQL would read documents in the order of the column until enough match.
        "postgresql": _MATCHING.format(
            source="search_documents WHERE words @@ CAST(:expression AS TSQUERY)", order="id + 0 DESC"
        ),
    },
    _Document,
)
_OWNERS = Query("SELECT DISTINCT user_pk FROM highlights WHERE pk IN :pks", Pk)
_COUNT_STALE = Query("SELECT count(*) FROM search_documents WHERE at IS NULL", int)
_NAMES = {
    Subject.USER: Query(
        """
        SELECT pk, pk AS user_pk, username, NULL AS highlight_pk, NULL AS title, NULL AS code,
            NULL AS media_type, 'first_seen_at' AS dated, gone_at IS NOT NULL AS is_gone, NULL AS source
        FROM users WHERE pk IN :pks
        """,
        _Names,
    ),
    Subject.HIGHLIGHT: Query(
        """
        SELECT highlights.pk, highlights.user_pk, username, highlights.pk AS highlight_pk, title,
            NULL AS code, NULL AS media_type,
            CASE WHEN created_at IS NOT NULL THEN 'created_at' ELSE 'first_seen_at' END AS dated,
            highlights.gone_at IS NOT NULL AS is_gone, source
        FROM highlights LEFT JOIN users ON users.pk = highlights.user_pk WHERE highlights.pk IN :pks
        """,
        _Names,
    ),
    # An item is shown with one of its highlights: one that still shows it, if there is one.
    Subject.ITEM: Query(
        """
        SELECT items.pk, coalesce(highlights.user_pk, items.user_pk) AS user_pk, username,
            highlights.pk AS highlight_pk, title, code, media_type,
            CASE WHEN taken_at IS NOT NULL THEN 'taken_at' ELSE 'first_seen_at' END AS dated,
            member.gone_at IS NOT NULL OR highlights.gone_at IS NOT NULL AS is_gone, items.source
        FROM items
        LEFT JOIN highlights ON highlights.pk = (
            SELECT other.highlight_pk FROM highlight_items AS other
            JOIN highlights AS other_highlight ON other_highlight.pk = other.highlight_pk
            WHERE other.item_pk = items.pk
            ORDER BY other.gone_at IS NOT NULL, other_highlight.gone_at IS NOT NULL, other.highlight_pk
            LIMIT 1
        )
        LEFT JOIN highlight_items AS member
            ON member.highlight_pk = highlights.pk AND member.item_pk = items.pk
        LEFT JOIN users ON users.pk = coalesce(highlights.user_pk, items.user_pk)
        WHERE items.pk IN :pks
        """,
        _Names,
    ),
}


def hits(
    connection: Connection,
    query: SearchQuery,
    *,
    user_pks: Collection[Pk] = (),
    highlight_pks: Collection[Pk] = (),
    kinds: Collection[Kind] = (),
    since: datetime | None = None,
    limit: int | None = None,
    skip: int = 0,
) -> Iterator[Hit]:
    """Yield what matches the query, at most ``limit``, within these accounts, highlights and kinds.

    ``since``: made since then, or first seen, if the time it was made is unknown. Matches of names come
    first, then of hashtags and places, of mentions, of links, and of several of these together; the newest
    first within each. ``skip``: leave out so many of the first. With a limit, only the 1,000 last recorded
    matches of each group are sorted like this. Streamed: read it with ``Catalog.stream``.
    """
    if (
        highlight_pks and not user_pks
    ):  # the index can filter by account, which leaves fewer documents to check
        user_pks = _OWNERS.all(connection, pks=highlight_pks)
    up_to = None if limit is None else skip + limit
    matching = _matching_documents(connection, query, user_pks, highlight_pks, kinds, since, up_to)
    documents = islice(matching, skip, None)
    left = limit
    while batch := list(islice(documents, _BATCH if left is None else min(_BATCH, left))):
        hits = _read_hits(connection, query, batch)
        yield from hits
        left = None if left is None else left - len(hits)


def count_stale(connection: Connection) -> int:
    """Return how many documents another program has made stale.

    They are found again after our next transaction.
    """
    return _COUNT_STALE.one(connection)


def _matching_documents(
    connection: Connection,
    query: SearchQuery,
    user_pks: Collection[Pk],
    highlight_pks: Collection[Pk],
    kinds: Collection[Kind],
    since: datetime | None,
    limit: int | None,
) -> Iterator[_Document]:
    filters = [
        [search_index.kind_filter(kind) for kind in sorted(set(kinds))],
        [search_index.owner_filter(pk) for pk in sorted(set(user_pks))],
    ]
    narrowing = {
        "highlight_pks": highlight_pks,
        "since": since,
        "limit": None if limit is None else max(_MAX_RANKED, limit),
    }
    filters = [words for words in filters if words]
    for expression in _expressions(query, kinds, filters, connection.dialect.name):
        yield from _DOCUMENTS.iterate(connection, expression=expression, **narrowing)


def _expressions(
    query: SearchQuery, kinds: Collection[Kind], filters: Sequence[Sequence[str]], database: str
) -> Iterator[str]:
    """Yield the expressions to match one after the other, best first. No document matches two of them."""
    if not kinds or not _ITEM_KINDS.issuperset(kinds):
        yield query.match_field(FIELDS[0], filters, database)
    if not kinds or not _ITEM_KINDS.isdisjoint(kinds):
        yield from (query.match_field(field, filters, database) for field in FIELDS[1:])
        if (several := query.match_several_fields(filters, database)) is not None:
            yield several


def _read_hits(connection: Connection, query: SearchQuery, documents: Sequence[_Document]) -> list[Hit]:
    """Return the hits of these documents, except those whose rows have changed and no longer match."""
    sources: dict[tuple[str, Pk], DocumentSource] = {}
    names: dict[tuple[str, Pk], _Names] = {}
    for subject in sorted({Subject(row.subject) for row in documents}):
        pks = [row.subject_pk for row in documents if row.subject == subject]
        subject_sources = search_index.read_sources(connection, subject, pks)
        sources |= {(subject, pk): source for pk, source in subject_sources.items()}
        names |= {(subject, row.pk): row for row in _NAMES[subject].all(connection, pks=pks)}
    hits = []
    for row in documents:
        key = row.subject, row.subject_pk
        if key in sources and key in names and (matches := _matching_texts(query, sources[key].texts)):
            hits.append(_hit(Subject(row.subject), row.at, names[key], matches))
    return hits


def _matching_texts(query: SearchQuery, texts: Iterable[Said]) -> tuple[Said, ...]:
    """Return the texts that contain a phrase of the query; () unless one of each group is in one of them."""
    words = [(text, tokenizer.tokenize(search_index.searchable_text(text))) for text in texts]
    by_group = [
        [text for text, its_words in words if any(phrase.is_in(its_words) for phrase in group)]
        for group in query.groups
    ]
    return tuple(dict.fromkeys(text for matches in by_group for text in matches)) if all(by_group) else ()


def _hit(subject: Subject, at: datetime, names: _Names, matches: tuple[Said, ...]) -> Hit:
    kind = {Subject.USER: Kind.ACCOUNT, Subject.HIGHLIGHT: Kind.HIGHLIGHT}.get(subject, Kind.ITEM)
    if kind is Kind.ITEM:
        kind = search_index.MEDIA_KINDS.get(names.media_type, kind)
    return Hit(
        subject,
        names.pk,
        kind,
        at,
        Dated(names.dated),
        names.user_pk,
        names.username,
        names.highlight_pk,
        names.title,
        names.code,
        names.is_gone,
        matches,
        names.source,
    )
