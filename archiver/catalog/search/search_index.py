"""The rows of ``search_documents``: the words of accounts, highlights and items, derived from their rows.

Triggers of the database empty a document when a row that it is derived from changes, whichever program
changes it. ``write_documents`` writes the words again, for our own changes in the same
transaction. So a search finds only what the rows contain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct, field
from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError

from archiver.catalog import tables
from archiver.catalog.error_mapping import is_refused
from archiver.catalog.search import stale_documents, tokenizer
from archiver.catalog.search.query_parser import FIELDS
from archiver.model.identity import MEDIA_TYPE_NAMES, Pk, Subject
from archiver.model.search_hits import Field, Kind, Said

MEDIA_KINDS = {number: Kind(word) for number, word in MEDIA_TYPE_NAMES.items()}
_AT_ONCE = 1000
_NAMES = (Field.USERNAME, Field.FULL_NAME, Field.TITLE)
_FORMER_NAMES = (Field.FORMER_USERNAME, Field.FORMER_FULL_NAME, Field.FORMER_TITLE)
_COLUMNS = {
    "names": (*_NAMES, *_FORMER_NAMES),
    "tags": (Field.HASHTAG, Field.LOCATION),
    "mentions": (Field.MENTION, Field.MENTION_NAME, Field.SPONSOR),
    "links": (Field.LINK, Field.LINK_TITLE, Field.LINK_TEXT),
}
_ENTRIES = (
    (tables.hashtags, {"name": Field.HASHTAG}),
    (tables.locations, {"name": Field.LOCATION}),
    (tables.mentions, {"username": Field.MENTION, "full_name": Field.MENTION_NAME}),
    (tables.sponsors, {"username": Field.SPONSOR}),
    (tables.links, {"url": Field.LINK, "title": Field.LINK_TITLE, "display_url": Field.LINK_TEXT}),
)

_documents, _users, _usernames = tables.search_documents, tables.users, tables.usernames
_highlights, _items, _members = tables.highlights, tables.items, tables.highlight_items
_changes = tables.changes
_PKS: Any = bindparam("pks", expanding=True)

_SHOW_INDEX = (
    "PRAGMA query_only = OFF",  # the file is open read-only; this table is of the connection alone
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.index_words USING fts5vocab (main, search_index, row)",
    "PRAGMA query_only = ON",
)

_COUNT_WRONG_WORDS = (
    "SELECT count(*) FROM search_documents WHERE at IS NOT NULL"
    " AND words IS DISTINCT FROM search_words(names, tags, mentions, links, filters)"
)

_UPDATE = (
    update(_documents)
    .where(_documents.c.id == bindparam("key"))
    .values({name: bindparam(name) for name in ("at", *FIELDS, "filters")})
)
_DELETE = delete(_documents).where(_documents.c.id == bindparam("key"))
_SUBJECTS = (
    select(literal(Subject.USER), _users.c.pk).order_by(_users.c.first_seen_at, _users.c.pk),
    select(literal(Subject.HIGHLIGHT), _highlights.c.pk).order_by(
        func.coalesce(_highlights.c.created_at, _highlights.c.first_seen_at), _highlights.c.pk
    ),
    select(literal(Subject.ITEM), _items.c.pk)
    .where(or_(*(exists().where(table.c.item_pk == _items.c.pk) for table, _ in _ENTRIES)))
    .order_by(func.coalesce(_items.c.taken_at, _items.c.first_seen_at), _items.c.pk),
)
"""What documents are about, oldest first: SQLite finds the newest of many hits fast by their order."""

_ACCOUNTS: Select[Any] = select(
    _users.c.pk, _users.c.username, _users.c.full_name, _users.c.first_seen_at
).where(_users.c.pk.in_(_PKS))
_USERNAMES: Select[Any] = (
    select(_usernames.c.user_pk, _usernames.c.username)
    .where(_usernames.c.user_pk.in_(_PKS))
    .order_by(_usernames.c.last_seen_at.desc(), _usernames.c.username)
)
_HIGHLIGHTS: Select[Any] = select(
    _highlights.c.pk,
    _highlights.c.user_pk,
    _highlights.c.title,
    func.coalesce(_highlights.c.created_at, _highlights.c.first_seen_at).label("at"),
).where(_highlights.c.pk.in_(_PKS))
_ITEMS: Select[Any] = select(
    _items.c.pk,
    _items.c.user_pk,
    _items.c.media_type,
    func.coalesce(_items.c.taken_at, _items.c.first_seen_at).label("at"),
).where(_items.c.pk.in_(_PKS))
_ITEM_ACCOUNTS: Select[Any] = (
    select(_members.c.item_pk, _highlights.c.user_pk)
    .join(_highlights, _highlights.c.pk == _members.c.highlight_pk)
    .where(_members.c.item_pk.in_(_PKS))
    .distinct()
)
_FORMER: Select[Any] = (
    select(_changes.c.subject_pk, _changes.c.old)
    .where(
        _changes.c.subject == bindparam("subject"),
        _changes.c.subject_pk.in_(_PKS),
        _changes.c.field == bindparam("field"),
        _changes.c.old.is_not(None),
    )
    .order_by(_changes.c.id.desc())
)
_ENTRIES_OF_ITEMS = {
    table.name: select(table).where(table.c.item_pk.in_(_PKS)).order_by(table.c.item_pk, table.c.position)
    for table, _ in _ENTRIES
}


class SearchDocument(Struct, frozen=True):
    """A row of ``search_documents``. ``at`` is None if it is stale."""

    subject: str
    subject_pk: Pk
    at: datetime | None
    names: str | None
    tags: str | None
    mentions: str | None
    links: str | None
    filters: str | None

    @property
    def key(self) -> tuple[str, bytes]:
        """Return what it is about, in the order of ``documents``."""
        return self.subject, self.subject_pk.encode()

    @property
    def content(self) -> tuple[object, ...]:
        """Return its date and its words. The order of texts does not count: dates of names may change it."""
        fields = self.names, self.tags, self.mentions, self.links, self.filters
        return self.at, *(sorted((text or "").split()) for text in fields)

    @property
    def name(self) -> str:
        """Return what it is about, for people."""
        return f"{self.subject} {self.subject_pk}"


class DocumentSource(Struct):
    """What a document is derived from: its texts, its date (made, or else first seen), and its filter
    words.
    """

    at: datetime
    filters: list[str]
    texts: dict[Said, None] = field(default_factory=dict)  # each once, in order

    def add(self, where: Field, text: str | None) -> None:
        """Add a text, unless it is empty or was added before."""
        if text:
            self.texts[Said(where, text)] = None

    def document(self) -> dict[str, str]:
        """Return the columns of the document. Pure."""
        columns = {
            name: tokenizer.join_texts(
                searchable_text(text) for where in fields for text in self.texts if text.field is where
            )
            for name, fields in _COLUMNS.items()
        }
        return columns | {"filters": " ".join(self.filters)}


def searchable_text(text: Said) -> str:
    """Return the part of a text that is searched. Pure."""
    return tokenizer.address_text(text.text) if text.field is Field.LINK else text.text


def kind_filter(kind: Kind) -> str:
    """Return the filter word of a kind. Pure."""
    return f"={kind.value}"


def owner_filter(user_pk: Pk) -> str:
    """Return the filter word of what belongs to an account. Pure."""
    return f"@{user_pk}"


def read_sources(connection: Connection, subject: Subject, pks: Sequence[Pk]) -> Mapping[Pk, DocumentSource]:
    """Return the current texts of these accounts, highlights or items, by pk."""
    return _READERS[subject](connection, pks) if subject in _READERS else {}


def documents(connection: Connection) -> Iterator[SearchDocument]:
    """Yield all documents, by subject and pk. Streamed."""
    query = select(*(_documents.c[name] for name in SearchDocument.__struct_fields__)).order_by(
        _documents.c.subject, _documents.c.subject_pk
    )
    with connection.execution_options(yield_per=_AT_ONCE).execute(query) as rows:
        yield from (SearchDocument(*row) for row in rows)


def has_own_index(connection: Connection) -> bool:
    """Return whether the index of the words is a table of its own: on SQLite, not on PostgreSQL."""
    return connection.dialect.name == "sqlite"


def index_words(connection: Connection) -> Iterator[tuple[str, int, int]]:
    """Yield each word of SQLite's index, in order, with the number of its documents and of its places.

    Streamed.
    """
    for statement in _SHOW_INDEX:
        connection.exec_driver_sql(statement)
    words = text("SELECT term, doc, cnt FROM temp.index_words ORDER BY term")
    with connection.execution_options(yield_per=_AT_ONCE).execute(words) as rows:
        yield from (tuple(row) for row in rows)


def count_wrong_words(connection: Connection) -> int:
    """Return how many documents have a column of words, on PostgreSQL, that is not made of their texts."""
    return int(connection.exec_driver_sql(_COUNT_WRONG_WORDS).scalar_one())


def renew(connection: Connection) -> None:
    """Write all documents and the index again from the rows, in the connection's transaction."""
    if has_own_index(connection):
        rebuild_index(connection)  # first: a document cannot be removed from an index that lacks it
    connection.execute(delete(_documents))
    for subjects in _SUBJECTS:
        connection.execute(insert(_documents).from_select(["subject", "subject_pk"], subjects))
    stale_documents.update_documents(connection)


def rebuild_index(connection: Connection) -> None:
    """Make the index of SQLite again from the documents: so it holds no word of a removed one."""
    connection.exec_driver_sql("INSERT INTO search_index (search_index) VALUES ('rebuild')")


def write_documents(connection: Connection, stale: Sequence[Row[Any]]) -> None:
    """Write the words of these documents, in the connection's transaction. Delete those without words."""
    documents, empty = [], []
    for subject in {row.subject for row in stale}:
        keys = {row.subject_pk: row.id for row in stale if row.subject == subject}
        sources = read_sources(connection, subject, list(keys))
        for pk, key in keys.items():
            columns = sources[pk].document() if pk in sources else {}
            if any(columns.get(name) for name in FIELDS):
                documents.append({"key": key, "at": sources[pk].at, **columns})
            else:
                empty.append({"key": key})
    if documents and not _write_all(connection, documents):
        # If the database refuses some words, the facts that they came with must still be stored.
        empty += [{"key": one["key"]} for one in documents if not _write_all(connection, [one])]
    if empty:
        connection.execute(_DELETE, empty)


def _write_all(connection: Connection, documents: Sequence[Mapping[str, object]]) -> bool:
    """Write these documents, or none and return False if the database refuses one.

    Other errors are raised.
    """
    savepoint = connection.begin_nested()
    try:
        connection.execute(_UPDATE, documents)
    except DBAPIError as error:
        if not is_refused(error):
            raise
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


def _read_accounts(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, DocumentSource]:
    sources: dict[Pk, DocumentSource] = {}
    current: dict[Pk, tuple[str | None, ...]] = {}
    for row in connection.execute(_ACCOUNTS, {"pks": pks}):
        source = DocumentSource(row.first_seen_at, [kind_filter(Kind.ACCOUNT), owner_filter(row.pk)])
        source.add(Field.USERNAME, row.username)
        source.add(Field.FULL_NAME, row.full_name)
        sources[row.pk], current[row.pk] = source, (row.username, row.full_name)
    for row in connection.execute(_USERNAMES, {"pks": pks}):
        if row.user_pk in sources and row.username != current[row.user_pk][0]:
            sources[row.user_pk].add(Field.FORMER_USERNAME, row.username)
    for row in _read_former(connection, Subject.USER, "full_name", pks):
        if row.subject_pk in sources and row.old != current[row.subject_pk][1]:
            sources[row.subject_pk].add(Field.FORMER_FULL_NAME, row.old)
    return sources


def _read_highlights(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, DocumentSource]:
    sources: dict[Pk, DocumentSource] = {}
    titles: dict[Pk, str | None] = {}
    for row in connection.execute(_HIGHLIGHTS, {"pks": pks}):
        source = DocumentSource(row.at, [kind_filter(Kind.HIGHLIGHT), owner_filter(row.user_pk)])
        source.add(Field.TITLE, row.title)
        sources[row.pk], titles[row.pk] = source, row.title
    for row in _read_former(connection, Subject.HIGHLIGHT, "title", pks):
        if row.subject_pk in sources and row.old != titles[row.subject_pk]:
            sources[row.subject_pk].add(Field.FORMER_TITLE, row.old)
    return sources


def _read_items(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, DocumentSource]:
    accounts: dict[Pk, list[Pk]] = defaultdict(list)
    for row in connection.execute(_ITEM_ACCOUNTS, {"pks": pks}):
        accounts[row.item_pk].append(row.user_pk)
    sources: dict[Pk, DocumentSource] = {}
    for row in connection.execute(_ITEMS, {"pks": pks}):
        kinds = [Kind.ITEM, *([MEDIA_KINDS[row.media_type]] if row.media_type in MEDIA_KINDS else [])]
        owners = sorted(accounts[row.pk]) or [row.user_pk]
        sources[row.pk] = DocumentSource(row.at, [*map(kind_filter, kinds), *map(owner_filter, owners)])
    for table, fields in _ENTRIES:
        for row in connection.execute(_ENTRIES_OF_ITEMS[table.name], {"pks": pks}):
            for column, where in fields.items():
                if row.item_pk in sources:
                    sources[row.item_pk].add(where, getattr(row, column))
    return sources


def _read_former(
    connection: Connection, subject: Subject, field: str, pks: Sequence[Pk]
) -> Sequence[Row[Any]]:
    return connection.execute(_FORMER, {"subject": subject, "field": field, "pks": pks}).all()


_READERS: Mapping[Subject, Callable[[Connection, Sequence[Pk]], Mapping[Pk, DocumentSource]]] = {
    Subject.USER: _read_accounts,
    Subject.HIGHLIGHT: _read_highlights,
    Subject.ITEM: _read_items,
}
