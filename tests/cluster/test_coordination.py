"""What workers tell each other through the database, and the rate of API calls that they share: none waits
for another without need.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from msgspec.structs import asdict
from sqlalchemy import Connection, text

from archiver.catalog import Catalog, leases, outbox, visits
from archiver.cluster.shared_visits import Orders, SharedRate, SharedRegister, decode, encode
from archiver.errors import ArchiverError, LeaseLost
from archiver.model.api_calls import Limits
from archiver.model.identity import Pk, utcnow
from archiver.model.target import parse_target
from archiver.runner.context import RepairScope, RunOptions, SharedOptions
from archiver.work import StopFlag


@pytest.fixture
def run_id(joined: tuple[Catalog, Catalog]) -> int:
    """The id of an open run with two targets. The worker ``one`` holds the first, ``two`` the second."""
    one, two = joined
    found = one.write(visits.begin_run, "run", utcnow(), "orders", ["@first", "@second"], [], 1.0)
    for catalog, target in ((one, "@first"), (two, "@second")):
        taken = catalog.coordinate_at_once(visits.take, found, str(catalog.worker_id))
        assert taken is not None
        assert taken.target == target
    return found


def take_shipping_lease(connection: Connection, worker_id: str) -> bool:
    """Return whether it is the turn of a worker to ship."""
    return outbox.advance_with_lease(connection, worker_id, None, utcnow(), rest_seconds=0) is not None


def test_a_worker_does_not_wait_until_another_has_taken_its_turn_to_ship(
    joined: tuple[Catalog, Catalog],
) -> None:
    """It is told at once that it is not its turn: all that it has to write would wait behind it."""
    one, two = joined
    assert one.coordinate(take_shipping_lease, "one")

    def take_beside_another(connection: Connection) -> tuple[bool, bool]:
        return take_shipping_lease(connection, "one"), two.coordinate(take_shipping_lease, "two")

    assert one.coordinate(take_beside_another) == (True, False)
    assert two.coordinate(take_shipping_lease, "two")


def test_an_account_is_given_to_the_visit_that_claims_it_first(
    joined: tuple[Catalog, Catalog], run_id: int
) -> None:
    """The other is told its target. The first may claim it again, as after a lost connection."""
    one, two = joined
    for _ in range(2):
        assert one.coordinate_at_once(visits.claim, run_id, 1, "one", "17") is None
    assert two.coordinate_at_once(visits.claim, run_id, 2, "two", "17") == "@first"
    assert two.coordinate_at_once(visits.claim, run_id, 2, "two", "18") is None


def test_an_account_is_claimed_once_in_a_visit(joined: tuple[Catalog, Catalog], run_id: int) -> None:
    """A visit that names it again does not ask the database. If it names another, that is claimed."""
    one, two = joined
    target = parse_target("@first")
    register = SharedRegister(longest_tray=0, catalog=one, run_id=run_id, positions={target: 1})
    assert register.register(Pk("17"), target) is target
    two.coordinate(leases.leave, "one")  # now every question ends with LeaseLost
    assert register.register(Pk("17"), target) is target
    with pytest.raises(LeaseLost):
        register.register(Pk("18"), target)


def test_an_account_that_two_claim_at_the_same_moment_is_given_to_one(
    joined: tuple[Catalog, Catalog], run_id: int
) -> None:
    """The second waits until the first has committed its claim."""
    one, two = joined
    has_claimed, may_commit = threading.Event(), threading.Event()

    def claim_slowly(connection: Connection) -> str | None:
        found = visits.claim(connection, run_id, 1, "one", "17")
        has_claimed.set()
        may_commit.wait(10)
        return found

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.coordinate, claim_slowly)
        assert has_claimed.wait(10)
        second = pool.submit(two.coordinate_at_once, visits.claim, run_id, 2, "two", "17")
        assert not wait([second], 0.3).done
        may_commit.set()
        assert (first.result(10), second.result(10)) == (None, "@first")


@pytest.mark.parametrize(
    "work",
    [
        lambda one, run_id: one.coordinate_at_once(visits.take, run_id, "one"),
        lambda one, run_id: one.coordinate_at_once(visits.claim, run_id, 1, "one", "17"),
        lambda one, run_id: one.coordinate_at_once(visits.end_visit, run_id, 1, "one", "report"),
    ],
    ids=["take", "claim", "end"],
)
def test_a_worker_without_its_lease_is_told(
    joined: tuple[Catalog, Catalog], run_id: int, work: Callable[[Catalog, int], object]
) -> None:
    """Whatever it is about to do with a visit; the visit is free."""
    one, two = joined
    two.coordinate(leases.leave, "one")
    with pytest.raises(LeaseLost):
        work(one, run_id)
    free = two.coordinate_at_once(visits.take, run_id, "two")
    assert free == visits.TakenVisit(1, "@first")
    assert two.read(visits.reports, run_id) == []


def test_the_last_report_of_a_worker_replaces_the_others(
    joined: tuple[Catalog, Catalog], run_id: int
) -> None:
    """Whether it is recorded with the end of a visit or alone."""
    one, two = joined
    two.coordinate_at_once(visits.end_visit, run_id, 2, "two", "of two")
    one.write(visits.save_report, run_id, "one", "early")
    one.coordinate_at_once(visits.end_visit, run_id, 1, "one", "with the visit")
    assert sorted(one.read(visits.reports, run_id)) == ["of two", "with the visit"]
    one.write(visits.save_report, run_id, "one", "late")
    assert sorted(one.read(visits.reports, run_id)) == ["late", "of two"]


def test_the_end_of_a_visit_is_durable(joined: tuple[Catalog, Catalog], run_id: int) -> None:
    """After a crash of the server the account would be listed and paid for again. Other facts are not."""

    def mode_after(connection: Connection) -> object:
        before = connection.scalar(text("SHOW synchronous_commit"))
        visits.end_visit(connection, run_id, 1, "one", "report")
        return before, connection.scalar(text("SHOW synchronous_commit"))

    assert joined[0].coordinate(mode_after) == ("off", "on")


def test_a_lost_connection_loses_no_visit(joined: tuple[Catalog, Catalog], run_id: int) -> None:
    """The statement is repeated over a new one."""
    one, two = joined
    lost = one.coordinate_at_once(lambda connection: connection.scalar(text("SELECT pg_backend_pid()")))
    two.coordinate_at_once(
        lambda connection: connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": lost})
    )
    one.coordinate_at_once(visits.end_visit, run_id, 1, "one", "report")
    assert one.read(visits.reports, run_id) == ["report"]


def test_fault_e50_all_options_of_a_run_reach_its_workers() -> None:
    """Each one arrives as it was given, ``ignore_backoff`` too, whatever its default is."""
    plain, repair = RunOptions(), RepairScope(frozenset({Pk("1")}), frozenset(), frozenset({Pk("3")}))
    given: dict[str, Any] = {
        name: repair if name == "repair" else type(value)(not value)
        for name in SharedOptions.__struct_fields__
        for value in [getattr(plain, name)]
    }
    orders = decode(encode(Orders(RunOptions(**given), Limits(per_run=3))), Orders)
    assert asdict(orders.options) == given
    assert orders.units == Limits(per_run=3)


Two = tuple[Catalog, Catalog]


def test_the_calls_of_all_workers_are_spaced_evenly(joined: Two) -> None:
    """However many threads wait: at 50 calls a second, 26 of them take half a second."""
    joined[0].coordinate(visits.set_rate, 50.0)
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
    one.coordinate(visits.set_rate, 1.0)
    assert [round(one.coordinate(visits.take_slot)) for _ in range(20)] == list(range(20))
    one.coordinate(visits.set_rate, 100.0)
    assert two.coordinate(visits.take_slot) < 0.1


def test_fault_w5_a_pause_holds_for_workers_that_wait_already(joined: Two) -> None:
    """A turn that has come during the pause is taken again after it."""
    joined[0].coordinate(visits.set_rate, 5.0)
    one, two = (SharedRate(catalog, StopFlag()) for catalog in joined)
    one.wait_for_slot()
    waited: list[float] = []

    def call() -> None:
        two.wait_for_slot()
        waited.append(time.monotonic())

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.05)
    end = time.monotonic() + 0.5
    one.pause(0.5)
    assert two.is_paused
    thread.join(10)
    assert waited[0] >= end - 0.05


def test_a_worker_that_is_stopped_does_not_wait_for_its_turn(joined: Two) -> None:
    """The cause is raised at once."""
    joined[0].coordinate(visits.set_rate, 0.1)
    stop = StopFlag()
    rate = SharedRate(joined[0], stop)
    rate.wait_for_slot()
    threading.Timer(0.1, lambda: stop.stop(ArchiverError("the end"))).start()
    began = time.monotonic()
    with pytest.raises(ArchiverError, match="the end"):
        rate.wait_for_slot()
    assert time.monotonic() - began < 5
