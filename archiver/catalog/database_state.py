"""What a database says about itself when it is opened, before anything is written to it."""

from __future__ import annotations

from msgspec.structs import asdict
from sqlalchemy import Connection

from archiver.catalog import counters, journal_triggers, outbox, schema
from archiver.catalog.dialects import Database
from archiver.errors import JournalDiffers
from archiver.model.journal_entries import Entry, JournalHead


class DatabaseState(schema.SchemaStatus, frozen=True):
    """Whose database it is, at which revision, and where its journal ends.

    ``has_triggers``, ``has_counters``: whether all triggers of the journal, and of the counters, are there;
    True for an older schema, since the upgrade creates them. ``head``: None if it has no journal yet.
    ``pending``: the entries in the outbox, which a killed process may have written to the journal after
    ``head``.
    """

    has_triggers: bool
    has_counters: bool
    head: JournalHead | None
    pending: tuple[Entry, ...]

    def require_triggers(self) -> None:
        """Raise JournalDiffers if triggers are missing: the journal would miss changes."""
        if error := self.describe_missing_triggers():
            raise error

    def describe_missing_triggers(self) -> JournalDiffers | None:
        """Return the error that ``require_triggers`` raises; None if all triggers are there."""
        if self.has_triggers:
            return None
        return JournalDiffers(
            "the database lacks triggers of the journal, or they were changed: it would miss changes",
            "archiver db upgrade creates them again, and starts a new journal with all rows",
        )


def read_state(database: Database) -> DatabaseState:
    """Return the state of a database at any revision that this version knows. Writes nothing.

    Raises SchemaNew if a newer version made it, ArchiveTooOld, DatabaseForeign if it is not a database of
    archiver, DatabaseError if it is missing, empty, damaged or cannot be reached.
    """
    with schema.connect(database) as connection:
        return state_of(connection, database)


def state_of(connection: Connection, database: Database) -> DatabaseState:
    """Return the same as ``read_state``, read over a connection to the database."""
    status = schema.status_of(connection, database)
    schema.refuse_newer(status.revision, database)
    is_current = status.revision == schema.head()
    head = outbox.read_head(connection)
    return DatabaseState(
        **asdict(status),
        has_triggers=not is_current or journal_triggers.are_complete(connection),
        has_counters=not is_current or counters.are_complete(connection),
        head=head,
        pending=() if head is None else outbox.read_pending(connection, head),
    )
