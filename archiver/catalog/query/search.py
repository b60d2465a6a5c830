"""What is found by words: the documents of ``search_documents`` by each database's own index, best first, with their names."""

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

from archiver.catalog import documents, tables, words
from archiver.catalog.documents import Described
from archiver.catalog.query.gaps import OF_ITEM, with_home
from archiver.catalog.sought import FIELDS, Expressions, Sought
from archiver.model.identity import Pk, Subject
from archiver.model.search_hits import Dated, Hit, Kind, Said

_RANKED = 1_000
"""Of what is found in one field so many are put in the order of time: those whose documents came last."""
_AT_ONCE = 100

_documents, _users, _highlights, _items, _members = (
    tables.search_documents,
    tables.users,
    tables.highlights,
    tables.items,
    tables.highlight_items,
)
_index = table("search_index", column("rowid"))
_ITEM_KINDS = frozenset({Kind.ITEM, Kind.PHOTO, Kind.VIDEO})
_PKS: Any = bindparam("pks", expanding=True)

_COLUMNS = (_documents.c.id, _documents.c.subject, _documents.c.subject_pk, _documents.c.at)
_BY_DIALECT = {
    "sqlite": select(*_COLUMNS)
    .join_from(_index, _documents, _documents.c.id == _index.c.rowid)
    .where(literal_column("search_index").op("MATCH")(bindparam("sought")))
    .order_by(_index.c.rowid.desc()),
    "postgresql": select(*_COLUMNS)
    .where(literal_column("search_documents.words").op("@@")(cast(bindparam("sought"), TSQUERY)))
    .order_by(_documents.c.id.desc()),
}
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
    )
    .outerjoin(_users, _users.c.pk == _highlights.c.user_pk)
    .where(_highlights.c.pk.in_(_PKS)),
    Subject.ITEM: select(
        _items.c.pk,
        *(
            OF_ITEM[name].label(name)
            for name in ("user_pk", "username", "highlight_pk", "title", "code", "gone")
        ),
        _items.c.media_type,
        case((_items.c.taken_at.is_not(None), Dated.TAKEN), else_=Dated.FIRST_SEEN).label("dated"),
    )
    .select_from(with_home(_items))
    .where(_items.c.pk.in_(_PKS)),
}


def search(
    connection: Connection,
    sought: Sought,
    *,
    user_pks: Collection[Pk] = (),
    highlight_pks: Collection[Pk] = (),
    kinds: Collection[Kind] = (),
    since: datetime | None = None,
    limit: int | None = None,
) -> Iterator[Hit]:
    """What has all that is sought, at most ``limit``: of these accounts and of these highlights, of one of these kinds, made (or first seen)
    since then.

    First what is called so itself, then items by their hashtags and places, by whom they mention, by their links, and by several of
    these together; the newest first within each. With a limit, of more than a thousand in one of these only the last thousand that were
    recorded are put in that order. Streamed, so ask by ``Catalog.stream``.
    """
    if highlight_pks and not user_pks:  # by the index, before each is looked at
        owners = select(_highlights.c.user_pk).where(_highlights.c.pk.in_(highlight_pks)).distinct()
        user_pks = connection.scalars(owners).all()
    found = _documents_of(connection, sought, user_pks, highlight_pks, kinds, since, limit)
    left = limit
    while batch := list(islice(found, _AT_ONCE if left is None else min(_AT_ONCE, left))):
        hits = _hits(connection, sought, batch)
        yield from hits
        left = None if left is None else left - len(hits)


def stale(connection: Connection) -> int:
    """How many things another program has changed since our last transaction: nothing of them is found before the next."""
    return connection.scalar(select(func.count()).where(_documents.c.at.is_(None))) or 0


def _documents_of(
    connection: Connection,
    sought: Sought,
    user_pks: Collection[Pk],
    highlight_pks: Collection[Pk],
    kinds: Collection[Kind],
    since: datetime | None,
    limit: int | None,
) -> Iterator[Row[Any]]:
    filters = [
        [documents.kind_filter(kind) for kind in sorted(set(kinds))],
        [documents.owner_filter(pk) for pk in sorted(set(user_pks))],
    ]
    question = _BY_DIALECT[connection.dialect.name]
    if highlight_pks:
        question = question.where(_shown_in(highlight_pks))
    if since is not None:
        question = question.where(_documents.c.at >= since)
    if limit is not None:
        question = question.limit(max(_RANKED, limit))
    those = question.subquery()
    in_order = (
        select(those)
        .order_by(those.c.at.desc(), those.c.subject, those.c.subject_pk.desc())
        .execution_options(yield_per=_AT_ONCE)
    )
    for expressions in _levels(sought, kinds, [any_of for any_of in filters if any_of]):
        asked = getattr(expressions, connection.dialect.name)
        with connection.execute(in_order, {"sought": asked}) as rows:
            yield from rows


def _shown_in(highlight_pks: Collection[Pk]) -> ColumnElement[bool]:
    """Documents of these highlights and of what is, or was, in them."""
    shown = select(_members.c.item_pk).where(_members.c.highlight_pk.in_(highlight_pks))
    return or_(
        and_(_documents.c.subject == Subject.HIGHLIGHT, _documents.c.subject_pk.in_(highlight_pks)),
        and_(_documents.c.subject == Subject.ITEM, _documents.c.subject_pk.in_(shown)),
    )


def _levels(
    sought: Sought, kinds: Collection[Kind], filters: Sequence[Sequence[str]]
) -> Iterator[Expressions]:
    """What is asked one after the other, best first; no document is an answer to two of them."""
    if not kinds or not _ITEM_KINDS.issuperset(kinds):
        yield sought.in_one(FIELDS[0], filters)
    if not kinds or not _ITEM_KINDS.isdisjoint(kinds):
        yield from (sought.in_one(field, filters) for field in FIELDS[1:])
        if (several := sought.in_several(filters)) is not None:
            yield several


def _hits(connection: Connection, sought: Sought, found: Sequence[Row[Any]]) -> list[Hit]:
    """The documents as what they are of. One whose rows have lost what was sought since it was found is left out."""
    described: dict[tuple[str, Pk], Described] = {}
    names: dict[tuple[str, Pk], Row[Any]] = {}
    for subject in sorted({Subject(row.subject) for row in found}):
        pks = [row.subject_pk for row in found if row.subject == subject]
        described |= {(subject, pk): one for pk, one in documents.describe(connection, subject, pks).items()}
        names |= {(subject, row.pk): row for row in connection.execute(_NAMES[subject], {"pks": pks})}
    hits = []
    for row in found:
        key = row.subject, row.subject_pk
        if key in described and key in names and (matched := _matched(sought, described[key].said)):
            hits.append(_hit(Subject(row.subject), row.at, names[key], matched))
    return hits


def _matched(sought: Sought, said: Iterable[Said]) -> tuple[Said, ...]:
    """The texts in which something that was sought stands; none unless all of it stands in one or another."""
    texts = [(one, words.words(documents.searched(one))) for one in said]
    by_phrase = [[one for one, text in texts if phrase.within(text)] for phrase in sought.all_of]
    return tuple(dict.fromkeys(one for those in by_phrase for one in those)) if all(by_phrase) else ()


def _hit(subject: Subject, at: datetime, named: Row[Any], matched: tuple[Said, ...]) -> Hit:
    known = named._mapping
    kind = {Subject.USER: Kind.ACCOUNT, Subject.HIGHLIGHT: Kind.HIGHLIGHT}.get(subject, Kind.ITEM)
    return Hit(
        subject,
        named.pk,
        documents.MEDIA.get(known["media_type"], kind) if kind is Kind.ITEM else kind,
        at,
        Dated(known["dated"]),
        named.user_pk,
        named.username,
        known.get("highlight_pk"),
        known.get("title"),
        known.get("code"),
        bool(named.gone),
        matched,
    )
