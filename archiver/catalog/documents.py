"""The words of accounts, highlights and items in ``search_documents``: made of their rows alone, and written with them.

Triggers of the database empty a document as soon as a row that it is made of changes, whoever changes it; ``fill`` writes its words
anew. Whoever commits calls it before: so what is found always stands in the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, select, update
from sqlalchemy.exc import DBAPIError

from archiver.catalog import tables, words
from archiver.catalog.error_mapping import refused
from archiver.catalog.sought import FIELDS
from archiver.model.archived import MEDIA_TYPE_NAMES
from archiver.model.identity import Pk, Subject
from archiver.model.search_hits import Field, Kind, Said

_AT_ONCE = 500
MEDIA = {number: Kind(word) for number, word in MEDIA_TYPE_NAMES.items()}
_GROUP = {
    "names": (
        Field.USERNAME,
        Field.FULL_NAME,
        Field.TITLE,
        Field.FORMER_USERNAME,
        Field.FORMER_FULL_NAME,
        Field.FORMER_TITLE,
    ),
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

_documents, _users, _names = tables.search_documents, tables.users, tables.usernames
_highlights, _items, _members, _changes = (
    tables.highlights,
    tables.items,
    tables.highlight_items,
    tables.changes,
)
_PKS: Any = bindparam("pks", expanding=True)

# Locked where several may write: whoever has just changed a row of a document has it first, and is waited for.
_STALE: Select[Any] = (
    select(_documents.c.id, _documents.c.subject, _documents.c.subject_pk)
    .where(_documents.c.at.is_(None))
    .order_by(_documents.c.id)
    .limit(_AT_ONCE)
    .with_for_update()
)
_FILL = (
    update(_documents)
    .where(_documents.c.id == bindparam("key"))
    .values({name: bindparam(name) for name in ("at", *FIELDS, "filters")})
)
_DROP = delete(_documents).where(_documents.c.id == bindparam("key"))

_ACCOUNTS: Select[Any] = select(
    _users.c.pk, _users.c.username, _users.c.full_name, _users.c.first_seen_at
).where(_users.c.pk.in_(_PKS))
_CALLED: Select[Any] = (
    select(_names.c.user_pk, _names.c.username)
    .where(_names.c.user_pk.in_(_PKS))
    .order_by(_names.c.last_seen_at.desc(), _names.c.username)
)
_TITLES: Select[Any] = select(
    _highlights.c.pk,
    _highlights.c.user_pk,
    _highlights.c.title,
    func.coalesce(_highlights.c.created_at, _highlights.c.first_seen_at).label("at"),
).where(_highlights.c.pk.in_(_PKS))
_SHOWN: Select[Any] = select(
    _items.c.pk,
    _items.c.user_pk,
    _items.c.media_type,
    func.coalesce(_items.c.taken_at, _items.c.first_seen_at).label("at"),
).where(_items.c.pk.in_(_PKS))
_KEEPERS: Select[Any] = (
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
_SAID = {
    table.name: select(table).where(table.c.item_pk.in_(_PKS)).order_by(table.c.item_pk, table.c.position)
    for table, _ in _ENTRIES
}


@dataclass(slots=True)
class Described:
    """What is searched of one thing, when it was made or first seen, and by which words it is filtered."""

    at: datetime
    filters: list[str]
    said: dict[Said, None] = field(default_factory=dict)  # each once, in their order

    def add(self, where: Field, text: str | None) -> None:
        """Take a text, once, if there is one."""
        if text:
            self.said[Said(where, text)] = None

    def document(self) -> dict[str, str]:
        """The columns of its document. Pure."""
        return {name: words.field(map(searched, self._in(group))) for name, group in _GROUP.items()} | {
            "filters": " ".join(self.filters)
        }

    def _in(self, group: Sequence[Field]) -> list[Said]:
        return [said for where in group for said in self.said if said.field is where]


def searched(said: Said) -> str:
    """The part of a text that is searched. Pure."""
    return words.address(said.text) if said.field is Field.LINK else said.text


def kind_filter(kind: Kind) -> str:
    """The word by which things of a kind are found. Pure."""
    return f"={kind.value}"


def owner_filter(user_pk: Pk) -> str:
    """The word by which what an account has is found. Pure."""
    return f"@{user_pk}"


def fill(connection: Connection) -> None:
    """Write the words of every document that is stale, in the connection's transaction; what has none (any more) goes."""
    while stale := connection.execute(_STALE).all():
        _fill(connection, stale)


def describe(connection: Connection, subject: Subject, pks: Sequence[Pk]) -> Mapping[Pk, Described]:
    """What is searched of these accounts, highlights or items, by pk, as their rows say it now."""
    return _DESCRIBE[subject](connection, pks) if subject in _DESCRIBE else {}


def _fill(connection: Connection, stale: Sequence[Row[Any]]) -> None:
    written, empty = [], []
    for subject in {row.subject for row in stale}:
        those = {row.subject_pk: row.id for row in stale if row.subject == subject}
        found = describe(connection, subject, list(those))
        for pk, key in those.items():
            document = found[pk].document() if pk in found else {}
            if any(document.get(name) for name in FIELDS):
                written.append({"key": key, "at": found[pk].at, **document})
            else:
                empty.append({"key": key})
    if written and not _written(connection, written):
        # Words are for finding: what a database refuses of them must not cost the facts that they come with.
        empty += [{"key": one["key"]} for one in written if not _written(connection, [one])]
    if empty:
        connection.execute(_DROP, empty)


def _written(connection: Connection, documents: Sequence[Mapping[str, object]]) -> bool:
    """Write these documents, or none of them where the database refuses one. Raises what is wrong with the database itself."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(_FILL, documents)
    except DBAPIError as error:
        if not refused(error):
            raise
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


def _accounts(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, Described]:
    found: dict[Pk, Described] = {}
    now: dict[Pk, tuple[str | None, ...]] = {}
    for row in connection.execute(_ACCOUNTS, {"pks": pks}):
        found[row.pk] = one = Described(row.first_seen_at, [kind_filter(Kind.ACCOUNT), owner_filter(row.pk)])
        one.add(Field.USERNAME, row.username)
        one.add(Field.FULL_NAME, row.full_name)
        now[row.pk] = row.username, row.full_name
    for row in connection.execute(_CALLED, {"pks": pks}):
        if row.user_pk in found and row.username != now[row.user_pk][0]:
            found[row.user_pk].add(Field.FORMER_USERNAME, row.username)
    for row in _former(connection, Subject.USER, "full_name", pks):
        if row.subject_pk in found and row.old != now[row.subject_pk][1]:
            found[row.subject_pk].add(Field.FORMER_FULL_NAME, row.old)
    return found


def _titles(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, Described]:
    found: dict[Pk, Described] = {}
    now: dict[Pk, str | None] = {}
    for row in connection.execute(_TITLES, {"pks": pks}):
        found[row.pk] = one = Described(row.at, [kind_filter(Kind.HIGHLIGHT), owner_filter(row.user_pk)])
        one.add(Field.TITLE, row.title)
        now[row.pk] = row.title
    for row in _former(connection, Subject.HIGHLIGHT, "title", pks):
        if row.subject_pk in found and row.old != now[row.subject_pk]:
            found[row.subject_pk].add(Field.FORMER_TITLE, row.old)
    return found


def _carried(connection: Connection, pks: Sequence[Pk]) -> Mapping[Pk, Described]:
    keepers: dict[Pk, list[Pk]] = defaultdict(list)
    for row in connection.execute(_KEEPERS, {"pks": pks}):
        keepers[row.item_pk].append(row.user_pk)
    found: dict[Pk, Described] = {}
    for row in connection.execute(_SHOWN, {"pks": pks}):
        kinds = [Kind.ITEM, *([MEDIA[row.media_type]] if row.media_type in MEDIA else [])]
        owners = sorted(keepers[row.pk]) or [row.user_pk]
        found[row.pk] = Described(row.at, [*map(kind_filter, kinds), *map(owner_filter, owners)])
    for table, fields in _ENTRIES:
        for row in connection.execute(_SAID[table.name], {"pks": pks}):
            for column, where in fields.items():
                if row.item_pk in found:
                    found[row.item_pk].add(where, getattr(row, column))
    return found


def _former(connection: Connection, subject: Subject, field: str, pks: Sequence[Pk]) -> Sequence[Row[Any]]:
    return connection.execute(_FORMER, {"subject": subject, "field": field, "pks": pks}).all()


_DESCRIBE: Mapping[Subject, Callable[[Connection, Sequence[Pk]], Mapping[Pk, Described]]] = {
    Subject.USER: _accounts,
    Subject.HIGHLIGHT: _titles,
    Subject.ITEM: _carried,
}
