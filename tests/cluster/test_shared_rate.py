"""The rate of API calls that all workers share."""

from __future__ import annotations

import threading
import time

import pytest

from archiver.catalog import Catalog, api_rate
from archiver.errors import ArchiverError
from archiver.runner.rate import SharedRate
from archiver.work import StopFlag

Two = tuple[Catalog, Catalog]


def test_the_calls_of_all_workers_are_spaced_evenly(joined: Two) -> None:
    """However many threads wait: at 50 calls a second, 26 of them take half a second."""
    joined[0].coordinate(api_rate.set_rate, 50.0)
    rates = [SharedRate(catalog, StopFlag()) for catalog in joined]
    turns: list[float] = []

    def call(rate: SharedRate) -> None:
        rate.wait_for_slot()
        turns.append(time.monotonic())

    threads = [threading.Thread(target=call, args=(rates[number % 2],)) for number in range(26)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.45 < max(turns) - min(turns) < 3


def test_turns_at_a_lower_rate_delay_nobody_once_it_is_raised(joined: Two) -> None:
    """A run whose rate the API states begins with one call a second, until it has asked."""
    one, two = joined
    one.coordinate(api_rate.set_rate, 1.0)
    assert [round(one.coordinate(api_rate.take_slot)) for _ in range(20)] == list(range(20))
    one.coordinate(api_rate.set_rate, 100.0)
    assert two.coordinate(api_rate.take_slot) < 0.1


def test_fault_w5_a_pause_holds_for_workers_that_wait_already(joined: Two) -> None:
    """A turn that has come during the pause is taken again after it."""
    joined[0].coordinate(api_rate.set_rate, 5.0)
    one, two = (SharedRate(catalog, StopFlag()) for catalog in joined)
    one.wait_for_slot()
    waited: list[float] = []

    def call() -> None:
        two.wait_for_slot()
        waited.append(time.monotonic())

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.05)
    one.pause(0.5)
    end = time.monotonic() + 0.5
    assert two.is_paused
    thread.join(10)
    assert waited[0] >= end - 0.05


def test_a_worker_that_is_stopped_does_not_wait_for_its_turn(joined: Two) -> None:
    """The cause is raised at once."""
    joined[0].coordinate(api_rate.set_rate, 0.1)
    stop = StopFlag()
    rate = SharedRate(joined[0], stop)
    rate.wait_for_slot()
    threading.Timer(0.1, lambda: stop.stop(ArchiverError("the end"))).start()
    began = time.monotonic()
    with pytest.raises(ArchiverError, match="the end"):
        rate.wait_for_slot()
    assert time.monotonic() - began < 5
