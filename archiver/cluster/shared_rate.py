"""The rate of API calls that all workers of a run share."""

from __future__ import annotations

from archiver.catalog import Catalog, api_rate
from archiver.work import StopFlag


class SharedRate:
    """A ``CallRate`` whose slots and pauses are in the database."""

    def __init__(self, catalog: Catalog, stop: StopFlag) -> None:
        self._catalog, self._stop = catalog, stop

    @property
    def is_paused(self) -> bool:
        return self._catalog.coordinate_at_once(api_rate.pause_left) > 0

    def wait_for_slot(self) -> None:
        while True:
            seconds = self._catalog.coordinate_at_once(api_rate.take_slot)
            if seconds <= 0:
                break
            self._stop.wait(seconds)
            if not self.is_paused:
                break  # else a pause has begun: take another slot, so that calls stay spaced after it
        self._stop.check()

    def set_rate(self, per_second: float) -> None:
        self._catalog.coordinate(api_rate.set_rate, per_second)

    def pause(self, seconds: float) -> None:
        self._catalog.coordinate(api_rate.pause, seconds)
