"""``archiver verify --repair``: damage is reported, moved, recorded as lost and fetched again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archiver.answers.answer_store import AnswerStore
from archiver.catalog import Catalog
from archiver.catalog.query import holdings
from archiver.store import disk
from archiver.verify.verify_stores import repair, verify_answers, verify_blobs
from archiver.work import StopFlag, Work
from tests.support import archive_damage
from tests.support.archive_damage import (
    cut_end,
    files,
    flip_bit,
    is_whole,
    path_of,
    problems,
    remove_answers,
    replace_by_fifo,
    rows,
    rows_size,
    upstream_of,
    zero_tail,
)
from tests.support.command_line import CommandLineUser
from tests.support.disk_limits import disk_blobs
from tests.support.standin import actions


@pytest.fixture
def person(undamaged: CommandLineUser, tmp_path: Path) -> Iterator[CommandLineUser]:
    """A copy of that archive, and the stand-in as it was."""
    with archive_damage.copy_of(undamaged, tmp_path) as somebody:
        yield somebody


DAMAGES: dict[str, tuple[Callable[[Path], object], ...]] = {
    "hash": (flip_bit, zero_tail),
    "size": (cut_end,),
    "missing": (Path.unlink,),
    "not_regular": (replace_by_fifo,),
}


def test_fault_h28_rotten_cut_and_missing_blobs_are_named_and_healed(
    person: CommandLineUser, whole: bool
) -> None:
    """Each damage is reported, code 12; --repair moves it and gets all again, code 0. Every day one file
    with each, with --whole three.
    """
    victims = iter(files(person))
    done: dict[str, str] = {}
    spoilt: dict[str, bytes] = {}
    for problem, ways in DAMAGES.items():
        for way in ways:
            for _ in range(3 if whole else 1):
                path = next(victims)
                way(path)
                done[path.name] = problem
                if path.is_file():
                    spoilt[path.name] = path.read_bytes()
    found = person.run("verify", "--read-data", "--json")
    assert (found.code, problems(found)) == (12, done)

    looked = person.run("verify", "--read-data", "--repair", "--dry-run", "--json")
    assert (looked.code, problems(looked)) == (12, done)
    mended = person.run("verify", "--read-data", "--repair", "--json")
    assert (mended.code, problems(mended)) == (0, done)
    kept = {p.name.partition("-")[0]: p for p in (person.archive / "quarantine").iterdir()}
    assert kept.keys() == {name for name, problem in done.items() if problem != "missing"}
    assert {name: kept[name].read_bytes() for name in spoilt} == spoilt
    assert is_whole(person)
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(0,)]
    assert person.run("verify", "--read-data", "--json").code == 0
    again = person.run("verify", "--repair", "--json")
    assert (again.code, again.object["run"]) == (0, None)


def test_fault_h29_a_blob_under_a_wrong_name_is_missing_where_it_belongs(person: CommandLineUser) -> None:
    """A blob under the name of another, one in capitals, one that is gone: reported, and fetched again."""
    one, two, three, four = files(person)[:4]
    data = one.read_bytes()
    two.chmod(0o600)
    one.rename(two)
    three.rename(three.with_name(three.name.upper()))
    four.unlink()
    found = person.run("verify", "--read-data", "--json")
    assert found.code == 12
    assert problems(found) == {
        one.name: "missing",
        two.name: "size" if len(data) != rows_size(person, two) else "hash",
        three.name: "missing",
        four.name: "missing",
    }
    assert found.object["foreign"] == [f"{three.parent.name}/{three.name.upper()}"]
    assert person.run("verify", "--read-data", "--repair", "-q").code == 0
    assert is_whole(person)


def test_the_price_is_told_before_it_is_paid(person: CommandLineUser) -> None:
    """One unit for the account, one for the highlight; the bound is shown first and never exceeded."""
    video = rows(person, "select sha256 from files where role = 'video' order by item_pk limit 1")[0][0]
    path_of(person, video).unlink()
    remove_answers(person)
    rows_before = rows(person, "select count(*) from api_calls")
    price = "fetching the lost files again should cost at most 2 units (1 highlight of 1 account)"
    asked = person.run("verify", "--repair", "--dry-run")
    assert asked.code == 12
    assert f"{price}; not fetching them (--dry-run)" in asked.err
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(0,)]
    assert list((person.archive / "tmp").iterdir()) == []
    counted = person.run("verify", "--repair", "--dry-run", "--json").object["repair"]
    dry = person.run("verify", "--repair", "--max-units", "0")
    assert dry.code == 0
    assert f"{price}; not fetching them (--max-units 0)" in dry.err
    assert rows(person, "select count(*) from api_calls") == rows_before
    mended = person.run("verify", "--repair", "--json")
    repair, run = mended.object["repair"], mended.object["run"]
    assert isinstance(repair, dict)
    assert isinstance(run, dict)
    assert repair["units"] == 2
    assert counted == {**repair, "back": 0}
    assert run["units"] <= 2
    assert (repair["lost"], repair["back"]) == (1, 1)
    assert upstream_of(person).units == run["units"]
    assert path_of(person, video).is_file()


@pytest.mark.whole
def test_a_budget_ends_a_repair_which_goes_on_later(person: CommandLineUser) -> None:
    """--max-units 1 pays for one tray only, code 5; the next repair without it gets everything again."""
    for path in files(person)[:20]:
        path.unlink()
    remove_answers(person)
    first = person.run("verify", "--repair", "--max-units", "1", "--json")
    assert first.code == 5
    assert upstream_of(person).units == 1
    assert person.run("verify", "-q").code == 0
    assert person.run("verify", "--repair", "-q").code == 0
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(0,)]
    assert is_whole(person)


@pytest.mark.whole
def test_covers_and_avatars_cost_their_tray_alone(person: CommandLineUser) -> None:
    """Files that come with the tray cost its one unit; no highlight is fetched."""
    files(person, "highlight")[0].unlink()
    mended = person.run("verify", "--repair", "--json")
    run = mended.object["run"]
    assert isinstance(run, dict)
    assert (mended.code, run["units"], run["highlights_fetched"]) == (0, 1, 0)
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(0,)]


class Interrupted(Exception):
    """A power failure."""


@pytest.mark.parametrize("steps", [*(pytest.param(n, marks=pytest.mark.whole) for n in range(3)), 3])
def test_fault_h33_a_repair_interrupted_at_any_step_converges(person: CommandLineUser, steps: int) -> None:
    """Stopped before or after the loss is committed, or between two moves: the next repair completes it."""
    victims = files(person)[:3]
    for path in victims:
        flip_bit(path)

    left = iter(range(steps))

    class Stop(StopFlag):
        def check(self) -> None:
            if next(left, None) is None:
                raise Interrupted

    with (
        Catalog.open(person.archive / "archive.db", write=True) as catalog,
        disk_blobs(person.archive) as store,
    ):
        blobs = verify_blobs(store, catalog.read_pages(holdings.blobs_after), read_data=True)
        kept = AnswerStore(disk.Objects(person.archive))
        answers = verify_answers(kept, catalog.read_pages(holdings.answers_after), read_data=True)
        with pytest.raises(Interrupted):
            repair(catalog, store, kept, blobs, answers, Work(stop=Stop()))
    assert person.run("verify", "--read-data", "--repair", "-q").code == 0
    set_aside = {p.name.partition("-")[0] for p in (person.archive / "quarantine").iterdir()}
    assert set_aside == {path.name for path in victims}
    assert is_whole(person)
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(0,)]


@pytest.mark.whole
def test_fault_h33_a_repair_killed_while_it_fetches_converges(person: CommandLineUser) -> None:
    """SIGKILL while the first file comes again: losses are recorded, and the next repair gets everything."""
    for path in files(person)[:3]:
        flip_bit(path)
    stalled = upstream_of(person).faults.add(actions.stall(10), listener="cdn", count=None)
    with person.start("verify", "--read-data", "--repair") as process:
        assert stalled.reached.wait(20)
        process.kill()
    upstream_of(person).faults.clear()
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(3,)]
    assert person.run("verify", "--read-data", "-q").code == 0
    assert person.run("verify", "--repair", "-q").code == 0
    assert is_whole(person)
    assert rows(person, "select count(*) from blobs where lost_at is not null") == [(0,)]
