"""The rows of ``search_documents``: the words of accounts, highlights and items, derived from their rows.

Triggers of the database empty a document when a row that it is derived from changes, whichever program
changes it. ``write_documents`` writes the words again, for our own changes in the same
transaction. So a search finds only what the rows contain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Struct, field
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from archiver.catalog.dialects import dialect_of
from archiver.catalog.entry_kinds import ENTRY_KINDS
from archiver.catalog.search import StaleDocument, tokenizer, update_documents
from archiver.catalog.search.query_parser import FIELDS
from archiver.catalog.sql import Command, Query
from archiver.model.identity import MEDIA_TYPE_NAMES, Pk, Subject
from archiver.model.query_results import Field, Kind, Said

MEDIA_KINDS = {number: Kind(word) for number, word in MEDIA_TYPE_NAMES.items()}
_NAMES = (Field.USERNAME, Field.FULL_NAME, Field.TITLE)
_FORMER_NAMES = (Field.FORMER_USERNAME, Field.FORMER_FULL_NAME, Field.FORMER_TITLE)
_COLUMNS = {
    "names": (*_NAMES, *_FORMER_NAMES),
    "tags": (Field.HASHTAG, Field.LOCATION),
    "mentions": (Field.MENTION, Field.MENTION_NAME, Field.SPONSOR),
    "links": (Field.LINK, Field.LINK_TITLE, Field.LINK_TEXT),
}
_SHOW_INDEX = (
    "PRAGMA query_only = OFF",  # the file is open read-only; this table is of the connection alone
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.index_words USING fts5vocab (main, search_index, row)",
    "PRAGMA query_only = ON",
)

_COUNT_WRONG_WORDS = (
    "SELECT count(*) FROM search_documents WHERE at IS NOT NULL"
    " AND words IS DISTINCT FROM search_words(names, tags, mentions, links, filters)"
)

_UPDATE = Command(
    """
    UPDATE search_documents SET at = :at, names = :names, tags = :tags, mentions = :mentions, links = :links,
        filters = :filters
    WHERE id = :key
    """
)
_DELETE = Command("DELETE FROM search_documents WHERE id = :key")
_DELETE_ALL = Command("DELETE FROM search_documents")
_HAS_ENTRIES = " OR ".join(
    f"EXISTS (SELECT 1 FROM {kind.table} WHERE {kind.table}.item_pk = items.pk)"
    for kind in ENTRY_KINDS
    if kind.searched
)
_SUBJECTS = tuple(
    Command(f"INSERT INTO search_documents (subject, subject_pk) {subjects}")
    for subjects in (
        "SELECT 'user', pk FROM users ORDER BY first_seen_at, pk",
        "SELECT 'highlight', pk FROM highlights ORDER BY coalesce(created_at, first_seen_at), pk",
        f"""
        SELECT 'item', pk FROM items WHERE {_HAS_ENTRIES} ORDER BY coalesce(taken_at, first_seen_at), pk
        """,
    )
)
"""What documents are about, oldest first: SQLite finds the newest of many hits fast by their order."""

_ACCOUNTS = Query(
    "SELECT pk, username, full_name, first_seen_at FROM users WHERE pk IN :pks", lambda *columns: columns
)
_USERNAMES = Query(
    "SELECT user_pk, username FROM usernames WHERE user_pk IN :pks ORDER BY last_seen_at DESC, username",
    lambda user_pk, username: (user_pk, username),
)
_HIGHLIGHTS = Query(
    "SELECT pk, user_pk, title, coalesce(created_at, first_seen_at) AS at FROM highlights WHERE pk IN :pks",
    lambda *columns: columns,
)
_ITEMS = Query(
    """
    SELECT pk, user_pk, media_type, coalesce(taken_at, first_seen_at) AS at FROM items WHERE pk IN :pks
    """,
    lambda *columns: columns,
)
_ITEM_ACCOUNTS = Query(
    """
    SELECT DISTINCT item_pk, user_pk FROM highlight_items JOIN highlights ON pk = highlight_pk
    WHERE item_pk IN :pks
    """,
    lambda item_pk, user_pk: (item_pk, user_pk),
)
_FORMER = Query(
    """
    SELECT subject_pk, old FROM changes
    WHERE subject = :subject AND subject_pk IN :pks AND field = :field AND old IS NOT NULL ORDER BY id DESC
    """,
    lambda subject_pk, old: (subject_pk, old),
)
_FIELDS = tuple(Field)
_ENTRIES = tuple(
    (
        tuple(kind.searched.values()),
        Query(
            f"""
            SELECT item_pk, {", ".join(kind.searched)} FROM {kind.table}
            WHERE item_pk IN :pks ORDER BY item_pk, position
            """,
            lambda item_pk, *texts: (item_pk, texts),
        ),
    )
    for kind in sorted(
        (kind for kind in ENTRY_KINDS if kind.searched),
        key=lambda kind: _FIELDS.index(next(iter(kind.searched.values()))),
    )
)
_DOCUMENTS = Query(
    """
    SELECT subject, subject_pk, at, names, tags, mentions, links, filters FROM search_documents
    ORDER BY subject, subject_pk
    """,
    lambda *columns: SearchDocument(*columns),
)


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
    return _DOCUMENTS.iterate(connection)


def has_own_index(connection: Connection) -> bool:
    """Return whether the index of the words is a table of its own: on SQLite, not on PostgreSQL."""
    return dialect_of(connection).has_own_search_index


def index_words(connection: Connection) -> Iterator[tuple[str, int, int]]:
    """Yield each word of SQLite's index, in order, with the number of its documents and of its places.

    Streamed.
    """
    for statement in _SHOW_INDEX:
        connection.exec_driver_sql(statement)
    words = text("SELECT term, doc, cnt FROM temp.index_words ORDER BY term")
    with connection.execute(words, execution_options={"yield_per": 1000}) as rows:
        yield from (tuple(row) for row in rows)


def count_wrong_words(connection: Connection) -> int:
    """Return how many documents have a column of words, on PostgreSQL, that is not made of their texts."""
    return int(connection.exec_driver_sql(_COUNT_WRONG_WORDS).scalar_one())


def renew(connection: Connection) -> None:
    """Write all documents and the index again from the rows, in the connection's transaction."""
    if has_own_index(connection):
        rebuild_index(connection)  # first: a document cannot be removed from an index that lacks it
    _DELETE_ALL.run(connection)
    for subjects in _SUBJECTS:
        subjects.run(connection)
    update_documents(connection)


def rebuild_index(connection: Connection) -> None:
    """Make the index of SQLite again from the documents: so it holds no word of a removed one."""
    connection.exec_driver_sql("INSERT INTO search_index (search_index) VALUES ('rebuild')")


def write_documents(connection: Connection, stale: Sequence[StaleDocument]) -> None:
    """Write the words of these documents, in the connection's transaction. Delete those without words."""
    documents: list[dict[str, object]] = []
    empty: list[dict[str, object]] = []
    for subject in {Subject(row.subject) for row in stale}:
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
    _DELETE.run_each(connection, empty)


def _write_all(connection: Connection, documents: Sequence[Mapping[str, object]]) -> bool:
    """Write these documents, or none and return False if the database refuses one.

    Other errors are raised.
    """
    savepoint = connection.begin_nested()
    try:
        _UPDATE.run_each(connection, documents)
    except DBAPIError as error:
        if not dialect_of(connection).is_refused(error):
            raise
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


def _read_accounts(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, DocumentSource]:
    sources: dict[Pk, DocumentSource] = {}
    current: dict[Pk, tuple[str | None, ...]] = {}
    for pk, username, full_name, first_seen_at in _ACCOUNTS.all(connection, pks=pks):
        source = DocumentSource(first_seen_at, [kind_filter(Kind.ACCOUNT), owner_filter(pk)])
        source.add(Field.USERNAME, username)
        source.add(Field.FULL_NAME, full_name)
        sources[pk], current[pk] = source, (username, full_name)
    for pk, username in _USERNAMES.all(connection, pks=pks):
        if pk in sources and username != current[pk][0]:
            sources[pk].add(Field.FORMER_USERNAME, username)
    for pk, old in _FORMER.all(connection, subject=Subject.USER, field="full_name", pks=pks):
        if pk in sources and old != current[pk][1]:
            sources[pk].add(Field.FORMER_FULL_NAME, old)
    return sources


def _read_highlights(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, DocumentSource]:
    sources: dict[Pk, DocumentSource] = {}
    titles: dict[Pk, str | None] = {}
    for pk, user_pk, title, at in _HIGHLIGHTS.all(connection, pks=pks):
        source = DocumentSource(at, [kind_filter(Kind.HIGHLIGHT), owner_filter(user_pk)])
        source.add(Field.TITLE, title)
        sources[pk], titles[pk] = source, title
    for pk, old in _FORMER.all(connection, subject=Subject.HIGHLIGHT, field="title", pks=pks):
        if pk in sources and old != titles[pk]:
            sources[pk].add(Field.FORMER_TITLE, old)
    return sources


def _read_items(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, DocumentSource]:
    accounts: dict[Pk, list[Pk]] = defaultdict(list)
    for item_pk, user_pk in _ITEM_ACCOUNTS.all(connection, pks=pks):
        accounts[item_pk].append(user_pk)
    sources: dict[Pk, DocumentSource] = {}
    for pk, user_pk, media_type, at in _ITEMS.all(connection, pks=pks):
        kinds = [Kind.ITEM, *([MEDIA_KINDS[media_type]] if media_type in MEDIA_KINDS else [])]
        owners = sorted(accounts[pk]) or [user_pk]
        sources[pk] = DocumentSource(at, [*map(kind_filter, kinds), *map(owner_filter, owners)])
    for fields, query in _ENTRIES:
        for item_pk, texts in query.all(connection, pks=pks):
            for where, text_of_entry in zip(fields, texts, strict=True):
                if item_pk in sources:
                    sources[item_pk].add(where, text_of_entry)
    return sources


_READERS: Mapping[Subject, Callable[[Connection, Sequence[Pk]], Mapping[Pk, DocumentSource]]] = {
    Subject.USER: _read_accounts,
    Subject.HIGHLIGHT: _read_highlights,
    Subject.ITEM: _read_items,
}
