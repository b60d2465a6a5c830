"""Add search: the table ``search_documents``, its full-text index, and triggers that update both.

A document becomes stale (``at`` is null, and it has no words) as soon as a row changes from which it is made.
The program writes the words again before it commits. After this revision all documents are stale; they are
written in the transaction of the upgrade.

A later revision that recreates one of these tables (batch mode, on SQLite) must create its triggers again.
"""

from __future__ import annotations

from collections.abc import Iterator
from string import Template

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column

revision = "0005"
down_revision = "0004"

PK = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")

WORDS = ("names", "tags", "mentions", "links", "filters")

# For each table: the columns from which documents are made, the subject of the document (None: as the row
# says), the column with its pk, and whether a document is created if there is none. The rows of the last two
# tables have no words of their own; they only affect how the documents of others are found.
SOURCES: tuple[tuple[str, tuple[str, ...], str | None, str, bool], ...] = (
    ("users", ("pk", "username", "full_name", "first_seen_at"), "user", "pk", True),
    ("usernames", ("user_pk", "username"), "user", "user_pk", True),
    ("highlights", ("pk", "title", "user_pk", "created_at", "first_seen_at"), "highlight", "pk", True),
    ("changes", ("subject", "subject_pk", "field", "old"), None, "subject_pk", True),
    ("mentions", ("item_pk", "username", "full_name"), "item", "item_pk", True),
    ("sponsors", ("item_pk", "username"), "item", "item_pk", True),
    ("hashtags", ("item_pk", "name"), "item", "item_pk", True),
    ("locations", ("item_pk", "name"), "item", "item_pk", True),
    ("links", ("item_pk", "url", "title", "display_url"), "item", "item_pk", True),
    ("items", ("pk", "user_pk", "media_type", "taken_at", "first_seen_at"), "item", "pk", False),
    ("highlight_items", ("highlight_pk", "item_pk"), "item", "item_pk", False),
)
RENAMED = Template("$row.field IN ('title', 'full_name') AND $row.subject IN ('highlight', 'user')")

# On PostgreSQL this also locks the row of a document that is already stale, whether the condition holds or
# not. Therefore whoever writes the words of the document either sees this change or runs after it.
MADE = Template("""
    INSERT INTO search_documents (subject, subject_pk) VALUES ($subject, $pk) ON CONFLICT (subject, subject_pk)
    DO UPDATE SET at = NULL, names = NULL, tags = NULL, mentions = NULL, links = NULL, filters = NULL
    WHERE search_documents.at IS NOT NULL;""")
STALE = Template("""
    UPDATE search_documents SET at = NULL, names = NULL, tags = NULL, mentions = NULL, links = NULL, filters = NULL
    WHERE subject = $subject AND subject_pk = $pk;""")
ITEMS_OF_HIGHLIGHT = """
    UPDATE search_documents SET at = NULL, names = NULL, tags = NULL, mentions = NULL, links = NULL, filters = NULL
    WHERE subject = 'item' AND subject_pk IN (SELECT item_pk FROM highlight_items WHERE highlight_pk = new.pk);"""

# Inserted from the oldest to the newest: FTS5 finds the newest of many hits fast by the order of the rowids.
DOCUMENTS = (
    "INSERT INTO search_documents (subject, subject_pk) SELECT 'user', pk FROM users ORDER BY first_seen_at, pk",
    "INSERT INTO search_documents (subject, subject_pk) SELECT 'highlight', pk FROM highlights"
    " ORDER BY coalesce(created_at, first_seen_at), pk",
    "INSERT INTO search_documents (subject, subject_pk) SELECT 'item', pk FROM items"
    " WHERE EXISTS (SELECT 1 FROM mentions WHERE item_pk = pk) OR EXISTS (SELECT 1 FROM sponsors WHERE item_pk = pk)"
    " OR EXISTS (SELECT 1 FROM hashtags WHERE item_pk = pk) OR EXISTS (SELECT 1 FROM locations WHERE item_pk = pk)"
    " OR EXISTS (SELECT 1 FROM links WHERE item_pk = pk) ORDER BY coalesce(taken_at, first_seen_at), pk",
)

# content= is spelled the way Datasette and sqlite-utils expect it.
FTS5 = """
CREATE VIRTUAL TABLE search_index USING fts5 (
    names, tags, mentions, links, filters,
    content="search_documents", content_rowid = 'id', columnsize = 0, tokenize = "ascii tokenchars '|@='"
)"""
INTO_INDEX = (
    """
CREATE TRIGGER search_documents_added AFTER INSERT ON search_documents WHEN new.at IS NOT NULL BEGIN
    INSERT INTO search_index (rowid, names, tags, mentions, links, filters)
    VALUES (new.id, new.names, new.tags, new.mentions, new.links, new.filters);
END""",
    """
CREATE TRIGGER search_documents_removed AFTER DELETE ON search_documents WHEN old.at IS NOT NULL BEGIN
    INSERT INTO search_index (search_index, rowid, names, tags, mentions, links, filters)
    VALUES ('delete', old.id, old.names, old.tags, old.mentions, old.links, old.filters);
END""",
    """
CREATE TRIGGER search_documents_altered AFTER UPDATE ON search_documents BEGIN
    INSERT INTO search_index (search_index, rowid, names, tags, mentions, links, filters)
    SELECT 'delete', old.id, old.names, old.tags, old.mentions, old.links, old.filters WHERE old.at IS NOT NULL;
    INSERT INTO search_index (rowid, names, tags, mentions, links, filters)
    SELECT new.id, new.names, new.tags, new.mentions, new.links, new.filters WHERE new.at IS NOT NULL;
END""",
)
LITE_TRIGGER = Template("CREATE TRIGGER search_${event}_$table AFTER $when BEGIN$does\nEND")

# Words are indexed unchanged, each with its position; no parser of the server splits, folds or drops them.
# Between two texts of a field, and between fields, one position is left free, so that no phrase matches
# across them. The words of filters need no position.
VECTOR = r"""
CREATE FUNCTION search_words(names text, tags text, mentions text, links text, filters text) RETURNS tsvector
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(string_agg(
        '''' || replace(replace(word, '\', '\\'), '''', '''''') || '''' || coalesce(':' || place || weight, ''), ' '
    ), '')::tsvector
    FROM (
        SELECT word, weight, row_number() OVER (ORDER BY field, number) AS place
        FROM (VALUES (1, names, 'A'), (2, '|', ''), (3, tags, 'B'), (4, '|', ''), (5, mentions, 'C'), (6, '|', ''),
            (7, links, 'D')) AS fields (field, said, weight),
            unnest(string_to_array(said, ' ')) WITH ORDINALITY AS words (word, number)
        UNION ALL
        SELECT word, NULL, NULL FROM unnest(string_to_array(filters, ' ')) AS words (word)
    ) AS found
    WHERE word NOT IN ('', '|')
$$"""
INTO_VECTOR = """
CREATE FUNCTION search_documents_words() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.words := CASE WHEN NEW.at IS NOT NULL
        THEN search_words(NEW.names, NEW.tags, NEW.mentions, NEW.links, NEW.filters) END;
    RETURN NEW;
END
$$"""
PG_FUNCTION = Template("""
CREATE FUNCTION search_of_$table() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$$$
BEGIN
    IF TG_OP <> 'DELETE' THEN$new
    END IF;
    IF TG_OP <> 'INSERT' THEN$old
    END IF;
    RETURN NULL;
END
$$$$""")
PG_TRIGGER = Template("CREATE TRIGGER search_$event AFTER $when EXECUTE PROCEDURE search_of_$table()")


def upgrade() -> None:
    op.create_table(
        "search_documents",
        Column("id", ID, primary_key=True),
        Column("subject", sa.Text(), nullable=False),
        Column("subject_pk", PK, nullable=False),
        Column("at", TIME),
        *(Column(name, sa.Text()) for name in WORDS),
        sa.UniqueConstraint("subject", "subject_pk", name="uq_search_documents_subject_subject_pk"),
    )
    stale = sa.text("at IS NULL")
    op.create_index(
        "ix_search_documents_stale", "search_documents", ["id"], sqlite_where=stale, postgresql_where=stale
    )
    lite = op.get_bind().dialect.name == "sqlite"
    for statement in (*(_of_sqlite() if lite else _of_postgresql()), *DOCUMENTS):
        op.get_bind().exec_driver_sql(statement)


def _of_sqlite() -> Iterator[str]:
    yield FTS5
    yield from INTO_INDEX
    for table, columns, subject, pk, made in SOURCES:
        marks = _marks(subject, pk, made)
        for event, when, rows in _events(table, columns, "IS NOT"):
            does = "".join(marks[row] for row in rows)
            yield LITE_TRIGGER.substitute(table=table, event=event, when=when, does=does)
    yield LITE_TRIGGER.substitute(
        table="highlights", event="moved", when=_moved("IS NOT"), does=ITEMS_OF_HIGHLIGHT
    )


def _of_postgresql() -> Iterator[str]:
    yield "ALTER TABLE search_documents ADD COLUMN words tsvector"
    yield "CREATE INDEX ix_search_documents_words ON search_documents USING gin (words)"
    yield VECTOR
    yield INTO_VECTOR
    yield (
        "CREATE TRIGGER search_documents_words BEFORE INSERT OR UPDATE ON search_documents"
        " FOR EACH ROW EXECUTE PROCEDURE search_documents_words()"
    )
    for table, columns, subject, pk, made in SOURCES:
        yield PG_FUNCTION.substitute(table=table, **_marks(subject, pk, made))
        for event, when, _ in _events(table, columns, "IS DISTINCT FROM"):
            yield PG_TRIGGER.substitute(table=table, event=event, when=when)
    yield PG_FUNCTION.substitute(table="moved_highlights", new=ITEMS_OF_HIGHLIGHT, old="")
    yield PG_TRIGGER.substitute(table="moved_highlights", event="moved", when=_moved("IS DISTINCT FROM"))


def _marks(subject: str | None, pk: str, made: bool) -> dict[str, str]:
    """Return the SQL that marks the document of a row as stale, for the new and for the old row."""
    statement = MADE if made else STALE
    return {
        row: statement.substitute(subject=f"'{subject}'" if subject else f"{row}.subject", pk=f"{row}.{pk}")
        for row in ("new", "old")
    }


def _events(table: str, columns: tuple[str, ...], differs: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each kind of change: its name, when the trigger fires, and which rows it uses (new, old)."""
    new, old = (RENAMED.substitute(row=row) if table == "changes" else "" for row in ("new", "old"))
    either = f"({new} OR {old}) AND " if new else ""
    altered = " OR ".join(f"old.{column} {differs} new.{column}" for column in columns)
    of = ", ".join(columns)
    yield "added", f"INSERT ON {table} FOR EACH ROW" + (f" WHEN ({new})" if new else ""), ("new",)
    yield "removed", f"DELETE ON {table} FOR EACH ROW" + (f" WHEN ({old})" if old else ""), ("old",)
    yield "altered", f"UPDATE OF {of} ON {table} FOR EACH ROW WHEN ({either}({altered}))", ("new", "old")


def _moved(differs: str) -> str:
    """Return when the trigger fires that marks the items of a highlight as stale if its account changes.

    Items are found by the accounts of their highlights.
    """
    return f"UPDATE OF user_pk ON highlights FOR EACH ROW WHEN (old.user_pk {differs} new.user_pk)"
