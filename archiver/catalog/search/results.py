"""What a search finds: documents from the index of either database, best first, with their names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import TSQUERY

from archiver.catalog import tables
from archiver.catalog.search import search_index, tokenizer
from archiver.catalog.search.query_parser import FIELDS, MatchExpressions, SearchQuery
from archiver.catalog.search.search_index import DocumentSource
from archiver.model.identity import Pk, Subject
from archiver.model.search_hits import Dated, Hit, Kind, Said

_MAX_RANKED = 1_000
"""How many of the documents that match in one field are sorted by date: those that were recorded last."""
_BATCH = 100

_documents, _users, _highlights = tables.search_documents, tables.users, tables.highlights
_items, _members = tables.items, tables.highlight_items
_index = table("search_index", column("rowid"))
_ITEM_KINDS = frozenset({Kind.ITEM, Kind.PHOTO, Kind.VIDEO})
_PKS: Any = bindparam("pks", expanding=True)

_COLUMNS = (_documents.c.id, _documents.c.subject, _documents.c.subject_pk, _documents.c.at)
_MATCHING = {
    "sqlite": select(*_COLUMNS)
    .join_from(_index, _documents, _documents.c.id == _index.c.rowid)
    .where(literal_column("search_index").op("MATCH")(bindparam("expression")))
    .order_by(_index.c.rowid.desc()),
    "postgresql": select(*_COLUMNS)
    .where(literal_column("search_documents.words").op("@@")(cast(bindparam("expression"), TSQUERY)))
    # By an expression: PostgreSQL would read documents in the order of the column until enough match.
    .order_by((_documents.c.id + 0).desc()),
}
# An item is shown with one of its highlights: one that still shows it, if there is one.
_other, _other_highlight = _members.alias(), _highlights.alias()
_HOME = (
    select(_other.c.highlight_pk)
    .join(_other_highlight, _other_highlight.c.pk == _other.c.highlight_pk)
    .where(_other.c.item_pk == _items.c.pk)
    .order_by(_other.c.gone_at.is_not(None), _other_highlight.c.gone_at.is_not(None), _other.c.highlight_pk)
    .limit(1)
    .correlate(_items)
    .scalar_subquery()
)
_NAMES: dict[Subject, Select[Any]] = {
    Subject.USER: select(
        _users.c.pk,
        _users.c.pk.label("user_pk"),
        _users.c.username,
        literal(Dated.FIRST_SEEN.value).label("dated"),
        _users.c.gone_at.is_not(None).label("gone"),
    ).where(_users.c.pk.in_(_PKS)),
    Subject.HIGHLIGHT: select(
        _highlights.c.pk,
        _highlights.c.user_pk,
        _users.c.username,
        _highlights.c.pk.label("highlight_pk"),
        _highlights.c.title,
        case((_highlights.c.created_at.is_not(None), Dated.CREATED), else_=Dated.FIRST_SEEN).label("dated"),
        _highlights.c.gone_at.is_not(None).label("gone"),
        _highlights.c.source,
    )
    .outerjoin(_users, _users.c.pk == _highlights.c.user_pk)
    .where(_highlights.c.pk.in_(_PKS)),
    Subject.ITEM: select(
        _items.c.pk,
        func.coalesce(_highlights.c.user_pk, _items.c.user_pk).label("user_pk"),
        _users.c.username,
        _highlights.c.pk.label("highlight_pk"),
        _highlights.c.title,
        _items.c.code,
        _items.c.media_type,
        case((_items.c.taken_at.is_not(None), Dated.TAKEN), else_=Dated.FIRST_SEEN).label("dated"),
        or_(_members.c.gone_at.is_not(None), _highlights.c.gone_at.is_not(None)).label("gone"),
        _items.c.source,
    )
    .select_from(_items)
    .outerjoin(_highlights, _highlights.c.pk == _HOME)
    .outerjoin(_members, and_(_members.c.highlight_pk == _highlights.c.pk, _members.c.item_pk == _items.c.pk))
    .outerjoin(_users, _users.c.pk == func.coalesce(_highlights.c.user_pk, _items.c.user_pk))
    .where(_items.c.pk.in_(_PKS)),
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
        owners = select(_highlights.c.user_pk).where(_highlights.c.pk.in_(highlight_pks)).distinct()
        user_pks = connection.scalars(owners).all()
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
    return connection.scalar(select(func.count()).where(_documents.c.at.is_(None))) or 0


def _matching_documents(
    connection: Connection,
    query: SearchQuery,
    user_pks: Collection[Pk],
    highlight_pks: Collection[Pk],
    kinds: Collection[Kind],
    since: datetime | None,
    limit: int | None,
) -> Iterator[Row[Any]]:
    dialect = connection.dialect.name
    filters = [
        [search_index.kind_filter(kind) for kind in sorted(set(kinds))],
        [search_index.owner_filter(pk) for pk in sorted(set(user_pks))],
    ]
    matching = _MATCHING[dialect]
    if highlight_pks:
        matching = matching.where(_is_in_highlights(highlight_pks))
    if since is not None:
        matching = matching.where(_documents.c.at >= since)
    if limit is not None:
        matching = matching.limit(max(_MAX_RANKED, limit))
    documents = matching.subquery()
    by_date = (
        select(documents)
        .order_by(documents.c.at.desc(), documents.c.subject, documents.c.subject_pk.desc())
        .execution_options(yield_per=_BATCH)
    )
    for expressions in _expressions(query, kinds, [words for words in filters if words]):
        with connection.execute(by_date, {"expression": getattr(expressions, dialect)}) as rows:
            yield from rows


def _is_in_highlights(highlight_pks: Collection[Pk]) -> ColumnElement[bool]:
    """Return the condition for documents of these highlights and of items that are or were in them."""
    item_pks = select(_members.c.item_pk).where(_members.c.highlight_pk.in_(highlight_pks))
    return or_(
        and_(_documents.c.subject == Subject.HIGHLIGHT, _documents.c.subject_pk.in_(highlight_pks)),
        and_(_documents.c.subject == Subject.ITEM, _documents.c.subject_pk.in_(item_pks)),
    )


def _expressions(
    query: SearchQuery, kinds: Collection[Kind], filters: Sequence[Sequence[str]]
) -> Iterator[MatchExpressions]:
    """Yield the expressions to match one after the other, best first. No document matches two of them."""
    if not kinds or not _ITEM_KINDS.issuperset(kinds):
        yield query.match_field(FIELDS[0], filters)
    if not kinds or not _ITEM_KINDS.isdisjoint(kinds):
        yield from (query.match_field(field, filters) for field in FIELDS[1:])
        if (several := query.match_several_fields(filters)) is not None:
            yield several


def _read_hits(connection: Connection, query: SearchQuery, documents: Sequence[Row[Any]]) -> list[Hit]:
    """Return the hits of these documents, except those whose rows have changed and no longer match."""
    sources: dict[tuple[str, Pk], DocumentSource] = {}
    names: dict[tuple[str, Pk], Row[Any]] = {}
    for subject in sorted({Subject(row.subject) for row in documents}):
        pks = [row.subject_pk for row in documents if row.subject == subject]
        subject_sources = search_index.read_sources(connection, subject, pks)
        sources |= {(subject, pk): source for pk, source in subject_sources.items()}
        names |= {(subject, row.pk): row for row in connection.execute(_NAMES[subject], {"pks": pks})}
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


def _hit(subject: Subject, at: datetime, names: Row[Any], matches: tuple[Said, ...]) -> Hit:
    columns = names._mapping
    kind = {Subject.USER: Kind.ACCOUNT, Subject.HIGHLIGHT: Kind.HIGHLIGHT}.get(subject, Kind.ITEM)
    return Hit(
        subject,
        names.pk,
        search_index.MEDIA_KINDS.get(columns["media_type"], kind) if kind is Kind.ITEM else kind,
        at,
        Dated(columns["dated"]),
        names.user_pk,
        names.username,
        columns.get("highlight_pk"),
        columns.get("title"),
        columns.get("code"),
        bool(names.gone),
        matches,
        columns.get("source"),
    )
