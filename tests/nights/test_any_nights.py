"""Whatever owners do, however upstream fails and wherever runs end: once all is well again, the archive is
the world and its history, and nothing that was ever held is lost. Then the database is, and comes back.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from archiver.sandbox.world import PrivateWithForce
from archiver.work import StopFlag
from tests.support.archive_harness import ArchiveHarness
from tests.support.nights import early_end
from tests.support.nights.archive_state import ArchiveState
from tests.support.nights.expected_facts import differences, offers, plain
from tests.support.nights.night_strategies import TELLING, PlannedNight, nights
from tests.support.rebuilt_archive import require_equal_after_rebuild
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

ACCOUNTS, HIGHLIGHTS, ITEMS = 2, 4, 3
WHOLE = settings(
    max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False
)
EVERYDAY = settings(WHOLE, phases=[Phase.explicit])
ANSWERS: st.SearchStrategy[PrivateWithForce] = st.sampled_from(["empty", "403", "404"])
PAGES = st.sampled_from([(60, 30), (60, 30), (3, 2)])
"""After how many highlights the tray in one answer is cut, and how many a page of the other has."""


def test_any_nights_and_then_a_clean_one(whole: bool) -> None:
    """The nights of the example every day, with --whole hundreds of others too."""
    several = st.lists(nights, min_size=1, max_size=12)
    live = given(several, ANSWERS, PAGES)(example(TELLING, "empty", (60, 30))(_live))
    (WHOLE if whole else EVERYDAY)(live)()


def _live(drawn: list[PlannedNight], private_with_force: PrivateWithForce, pages: tuple[int, int]) -> None:
    with early_end.no_backoff(), tempfile.TemporaryDirectory() as place:
        world = EditableWorld.generate(ACCOUNTS, HIGHLIGHTS, ITEMS)
        world.private_with_force = private_with_force
        world.v1_page, world.v2_page = pages
        with FaultyStandIn(world) as upstream:
            harness = ArchiveHarness(Path(place) / "archive", upstream)
            harness.environ["ARCHIVER_SYNC_SWEEP_DAYS"] = "4"
            _spend(harness, drawn)


def _spend(harness: ArchiveHarness, drawn: list[PlannedNight]) -> None:
    world = harness.upstream.world
    targets = [
        account.pk for account in world.accounts
    ]  # by id: whose the names are is another test's matter
    memory: ArchiveState | None = None
    number = 0
    for night in drawn:
        for edit in night.edits:
            number += 1
            edit.make(world, harness.now.timestamp(), number)
        for flaw in night.flaws:
            flaw.begin(harness.upstream)
        stop, began = StopFlag(), harness.now
        early_end.run(harness, targets, night.early.observer(stop), stop=stop, max_units=night.early.units)
        memory = _remembered(harness, memory)
        assert list(_falsely_complete(harness, plain(began))) == []
        harness.upstream.faults.clear()
        harness.sleep(days=night.days)
    for _ in range(3):
        harness.sleep(days=31)
        harness.night(*targets)
        memory = _remembered(harness, memory)
        if not _waits(harness):
            break
    seen = {str(pk) for (pk,) in harness.rows("select pk from users")}
    assert differences(harness, [pk for pk in targets if pk in seen or not _hidden(world, pk)]) == []
    assert list(_damaged(harness)) == []
    require_equal_after_rebuild(harness)


def _remembered(harness: ArchiveHarness, before: ArchiveState | None) -> ArchiveState:
    """The archive now, compared with what it was before the night."""
    now = ArchiveState.of(harness)
    if before is not None:
        assert before.lost(now) == []
        assert before.unexplained(now) == []
    return now


def _falsely_complete(harness: ArchiveHarness, began: object) -> Iterator[str]:
    """Files that are offered and not held, of highlights that were looked at since then and are said to be
    complete.
    """
    held = {(pk, role) for pk, role in harness.rows("select item_pk, role from files")}
    for pk, fetched in harness.rows("select pk, fetched_at from highlights where completed_at is not null"):
        if str(plain(fetched)) < str(began):
            continue
        for item in harness.upstream.world.highlight(str(pk)).items:
            yield from (f"{role} of {item.pk}" for _, role, _ in offers(item) if (item.pk, role) not in held)


def _waits(harness: ArchiveHarness) -> bool:
    """Whether one more night must follow: something is believed only the second time (I15), a look took the
    place of an empty account's tray, or an account was listed for the first time, which is never page by
    page.
    """
    return bool(
        harness.one(
            "select (select count(*) from users where shrunk_to is not null or verdict = 'empty'"
            " or (listed_at is not null and paged_at is null))"
            " + (select count(*) from highlights where shrunk_to is not null and gone_at is null)"
        )
    )


def _hidden(world: EditableWorld, pk: str) -> bool:
    return world.account(pk).is_deleted or world.account(pk).is_private


def _damaged(harness: ArchiveHarness) -> Iterator[str]:
    """Blobs of any time whose bytes are not those that their names say."""
    for (digest,) in harness.rows("select sha256 from blobs"):
        path = harness.root / "blobs" / str(digest)[:2] / str(digest)
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            yield str(digest)
