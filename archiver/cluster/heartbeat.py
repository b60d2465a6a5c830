"""Renews the lease of a worker while it works, and removes workers whose lease has ended."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from archiver.catalog import Catalog, leases
from archiver.errors import DatabaseError, LeaseLost, StoppedBySignal
from archiver.work import StopFlag

_RENEWALS = 4
"""How often a lease is renewed before it would end."""


class Heartbeat:
    """A lease that is renewed until the block ends. If it is lost, ``stop`` is set.

    A lost connection is borne for as long as the lease lasts.
    """

    def __init__(
        self,
        catalog: Catalog,
        worker_id: str,
        name: str,
        seconds: float,
        stop: StopFlag,
        *,
        is_run: bool,
        replaces: str | None,
    ) -> None:
        """``seconds``: how long the lease lasts. The other arguments: see ``leases.join``."""
        self._catalog, self._worker_id, self._name, self._seconds = catalog, worker_id, name, seconds
        self._stop, self._is_run, self._replaces = stop, is_run, replaces
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def _run(self) -> None:
        expires = time.monotonic() + self._seconds
        while not self._ended.wait(self._seconds / _RENEWALS):
            try:
                self._catalog.coordinate(leases.renew, self._worker_id, self._seconds)
                expires = time.monotonic() + self._seconds
                remove_expired(self._catalog)
            except LeaseLost as error:
                self._stop.fail(error)
                return
            except DatabaseError as error:
                if time.monotonic() > expires:
                    self._stop.fail(error)
                    return
            except BaseException as error:
                self._stop.fail(error)
                return

    def __enter__(self) -> Self:
        remove_expired(self._catalog)
        self._catalog.coordinate(
            leases.join,
            self._worker_id,
            self._name,
            self._seconds,
            is_run=self._is_run,
            replaces=self._replaces,
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lease back. If the database is out of reach, it ends by itself."""
        self._ended.set()
        self._thread.join()
        try:
            was_stopped = isinstance(error, StoppedBySignal)
            self._catalog.coordinate(leases.leave, self._worker_id, was_stopped=was_stopped)
        except DatabaseError:
            if kind is None:
                raise


def remove_expired(catalog: Catalog) -> None:
    """Remove the workers whose lease has ended, and end their connections. Raises DatabaseError."""
    for worker_id in catalog.coordinate(leases.remove_expired):
        catalog.coordinate(leases.end_connections, worker_id)
