"""What was otherwise before, read from the archive that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from archiver.archive import named, rows
from archiver.catalog import Catalog
from archiver.catalog.query import change_history
from archiver.config import Config
from archiver.errors import UsageError
from archiver.model.archived import NamedChange
from archiver.model.target import Target


def changes(
    config: Config,
    *,
    since: datetime | None = None,
    run_id: int | None = None,
    accounts: Sequence[Target] = (),
) -> Iterator[NamedChange]:
    """Every change since a moment, of one run, of these accounts, in the order in which it was seen; streamed.

    An account may be named by a username that it bore once. Raises UsageError for one that is not stored, naming near ones, and for a
    run that was never made.
    """
    with rows.reading(config) as catalog:
        if run_id is not None:
            _require_run(catalog, run_id)
        pks = named.required(catalog, accounts)
        yield from catalog.stream(change_history.changes, since=since, run_id=run_id, user_pks=pks)


def _require_run(catalog: Catalog, run_id: int) -> None:
    last = catalog.read(change_history.last_run)
    if last is None or run_id > last:
        raise UsageError(
            f"there is no run {run_id}",
            f"the last one is {last}" if last is not None else "none was made yet: archiver run",
        )
