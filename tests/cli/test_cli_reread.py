"""``archiver reread``: its output for people and programs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.model.identity import utcnow
from archiver.runner import run_lock
from tests.support import archive_damage
from tests.support.archive_damage import rows, upstream_of, writable
from tests.support.command_line import CommandLineUser, on_terminal


@pytest.fixture
def person(undamaged: CommandLineUser, tmp_path: Path) -> Iterator[CommandLineUser]:
    """A copy of that archive, without a key."""
    with archive_damage.copy_of(undamaged, tmp_path) as somebody:
        somebody.more["HIKERAPI_TOKEN"] = ""
        yield somebody


def forget(person: CommandLineUser) -> int:
    """Remove names, titles and the rows of all answers; return the units that the ledger lacks then."""
    with writable(person) as lite:
        lite.executescript(
            "delete from usernames; update highlights set title = null; delete from answers;"
            " delete from api_calls where path like '%/by/url'"
        )
    return 4


def test_it_says_what_came_of_it_to_programs_and_costs_nothing(person: CommandLineUser) -> None:
    """An object with counts by table, without key and calls; the second time there is nothing to add."""
    units = forget(person)
    found = person.run("verify", "--json")
    assert (found.code, found.object["answers_unrecorded"]) == (12, 6)
    assert found.object["derived_differences"] == ["runs: 1 wrong sum, the first of 1: units 8 instead of 4"]
    first = person.run("reread", "--json")
    assert (first.code, first.err) == (0, "")
    assert {name: first.object[name] for name in first.object if name not in ("added", "filled")} == {
        "exit_code": 0,
        "outcome": "ok",
        "dry_run": False,
        "run_id": 2,
        "answers_read": 6,
        "answers_unreadable": [],
        "answers_unclear": 0,
        "answers_lost": 0,
        "answers_recorded": 6,
        "units_recorded": units,
    }
    added, filled = first.object["added"], first.object["filled"]
    assert isinstance(added, dict)
    assert isinstance(filled, dict)
    assert (added["usernames"], filled["highlights"]) == (2, 4)
    second = person.run("reread", "--json").object
    nothing = {"answers_recorded": 0, "added": dict.fromkeys(added, 0), "filled": dict.fromkeys(filled, 0)}
    assert {name: second[name] for name in nothing} == nothing
    healed = person.run("verify", "--json")
    assert (healed.code, healed.object["answers_unrecorded"]) == (0, 0)
    assert upstream_of(person).requests.api_calls() == []
    assert rows(person, "select sum(units) from api_calls") == [(8,)]


def test_a_dry_run_says_what_would_come_of_it(person: CommandLineUser) -> None:
    """The same numbers in other words, for people and programs, even under -q. Nothing changes."""
    units = forget(person)
    asked = person.run("reread", "-n")
    assert (asked.code, asked.out) == (0, "")
    assert asked.err == person.run("reread", "-nq").err
    assert asked.err == (
        "6 answers read\n"
        "6 stored answers had no row: would be recorded again, "
        f"with {units} units that the ledger lacks\n"
        "rows would be added: 2 in usernames\nrows would be filled: 4 in highlights\n"
    )
    planned = person.run("reread", "--dry-run", "--json").object
    done = person.run("reread", "--json").object
    assert (planned["dry_run"], planned["run_id"]) == (True, None)
    assert {**planned, "dry_run": False, "run_id": 2} == done


@pytest.mark.whole
def test_it_says_off_a_terminal_too_what_it_did(person: CommandLineUser) -> None:
    """Some lines, none under -q; what was paid for and cannot be read is told as well. Either way it is code
    0."""
    units = forget(person)
    assert person.run("reread").err == (
        "6 answers read\n"
        f"6 stored answers had no row: recorded again, with {units} units that the ledger lacked\n"
        "rows added: 2 in usernames\nrows filled: 4 in highlights\n"
    )
    again = person.run("reread")
    assert (again.code, again.err) == (0, "6 answers read, nothing to add\n")
    archive_damage.remove_answers(person)
    told = person.run("reread")
    assert told.code == 0
    assert "2 answers read" in told.err
    assert "4 answers cannot be read; the first: answers/" in told.err
    assert person.run("reread", "-q").err == ""
    unreadable = person.run("reread", "--json").object["answers_unreadable"]
    assert isinstance(unreadable, list)
    assert len(unreadable) == 4


def test_somebody_at_a_terminal_is_told_what_was_added(person: CommandLineUser) -> None:
    """A bar while it reads, and the counts at the end."""
    forget(person)
    code, seen = on_terminal(person, "reread")
    assert code == 0
    assert "/6 answers" in seen
    assert "6 stored answers had no row: recorded again, with 4 units that the ledger lacked" in seen
    assert "rows added: 2 in usernames" in seen
    assert "rows filled: 4 in highlights" in seen


def test_a_dry_run_asks_the_lock_and_not_its_note(person: CommandLineUser) -> None:
    """A process of another machine may have left it, as a container that was killed does."""
    note = {"pid": 7, "host": "another", "command": "run", "since": utcnow().isoformat()}
    (person.archive / "lock").write_text(json.dumps(note))
    assert person.run("reread", "-n").code == 0
    with run_lock.hold_run_lock(person.archive / "lock", "run"):
        assert person.run("reread", "-n", "--json").object["dry_run"] is True


def test_a_dry_run_can_wait(person: CommandLineUser) -> None:
    """As the command itself does."""
    ended = threading.Event()

    def hold() -> None:
        with run_lock.hold_run_lock(person.archive / "lock", "run"):
            ended.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    threading.Timer(0.3, ended.set).start()
    assert person.run("reread", "-n", "--wait").code == 0
    holder.join()


def test_it_takes_the_lock(person: CommandLineUser) -> None:
    """While another run holds the lock it is code 11, for a dry run too, and nothing is done."""
    with run_lock.hold_run_lock(person.archive / "lock", "run"):
        refused = person.run("reread", "--json")
        assert person.run("reread", "--dry-run").code == 11
    assert (refused.code, refused.object["outcome"], refused.object["run_id"]) == (11, "locked", None)
    assert rows(person, "select count(*) from runs") == [(1,)]
