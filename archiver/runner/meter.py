"""The API's own balance around a run: what it fell by is held against what the ledger counted."""

from __future__ import annotations

from contextlib import suppress

from archiver.catalog import Catalog, record
from archiver.errors import ArchiverError
from archiver.runner.paid import Paid


class Meter:
    """Asks before the first paid call and after the last one, both free, and records both. What is not told is null."""

    def __init__(self, paid: Paid, catalog: Catalog, run_id: int) -> None:
        self._paid = paid
        self._catalog = catalog
        self._run_id = run_id
        self._before: int | None = None
        self._fall: int | None = None

    def begin(self, per_second: float | None) -> None:
        """Open the gate at this pace, and note what is left. Raises as ``Paid.balance``, where the pace must be asked for."""
        self._before = self._paid.open_gate(per_second)
        if self._before is not None:
            self._catalog.write(record.balance_before, self._run_id, self._before)

    def end(self, api_calls: int) -> None:
        """Note what is left, where so many calls were paid for. It never fails a run."""
        if not api_calls or self._before is None:
            return
        after = self._paid.units_left()
        if after is None:
            return
        self._fall = self._before - after
        with suppress(ArchiverError):  # a database that is gone is told by whoever records the end of the run
            self._catalog.write(record.balance_after, self._run_id, after)

    def mismatch(self, units: int) -> int | None:
        """How many units more than these the balance fell by, negative for fewer; None where that is not known."""
        return None if self._fall is None else self._fall - units
