"""gaps, costs and status --balance on a real archive: what they tell, and that they cost nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandResult, InProcessUser
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn, paid_calls
from tests.support.standin.world_edits import EditableWorld

HIGHLIGHTS = [str(17_800_000_000_000_000 + number) for number in (0, 1, 10_000, 10_001)]


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """Two accounts with two highlights of four items each, every other one a video."""
    with FaultyStandIn(EditableWorld.generate(2, 2, 4), balance=1_000) as standin:
        yield standin


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn) -> InProcessUser:
    """Somebody with both accounts in the configuration, and an empty archive."""
    somebody = InProcessUser(tmp_path, upstream)
    somebody.list_accounts("account0000", "account0001")
    assert somebody.run("init", "-q").code == 0
    return somebody


@pytest.fixture
def kept(person: InProcessUser, upstream: FaultyStandIn, archive_copies: ArchiveCopies) -> InProcessUser:
    """The same after a first run, in which eight units were paid."""

    def make(home: Path) -> Path:
        with FaultyStandIn(EditableWorld.generate(2, 2, 4), balance=1_000) as first_upstream:
            first = InProcessUser(home, first_upstream, person.more)
            assert first.run("init", "-q").code == 0
            assert first.run("run", "-q").code == 0
            return first.archive

    shutil.rmtree(person.archive)
    archive_copies.copy("paid-for", make, person.archive)
    upstream.balance = 992
    return person


def sql(person: InProcessUser, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(person.archive / "archive.db")) as lite:
        return lite.execute(query).fetchall()


def rows(ended: CommandResult, name: str) -> list[dict[str, object]]:
    found = ended.object[name]
    assert isinstance(found, list)
    return found


def withheld(upstream: FaultyStandIn, highlight: str, nth: int) -> str:
    """The pk of the nth video of a highlight, now without a link."""
    videos = [item for item in upstream.world.highlight(highlight).items if item.video is not None]
    upstream.world.withhold(highlight, videos[nth].pk, "video")
    return str(videos[nth].pk)


def test_gaps_tells_what_is_lacking_account_by_account(
    person: InProcessUser, upstream: FaultyStandIn
) -> None:
    """A video that is not offered and one that the CDN does not have: counted, then named with tries and next
    try; 0 units, no call.
    """
    never = withheld(upstream, HIGHLIGHTS[0], 0)
    upstream.faults.add(
        actions.respond(404, b""), listener="cdn", role="video", user="70000000001", count=None
    )
    assert person.run("run", "-q").code == 3
    upstream.requests.reset()
    told = person.run("gaps")
    assert (told.code, told.err) == (0, "")
    first, second = told.out.split("\n\n")
    assert first.startswith("account0000: 1 gap: 1 never_offered\n")
    code = sql(person, f"select code from items where pk = '{never}'")[0][0]
    told_of_it = f"never_offered video of {code} Highlight 0 next periodic re-fetch"
    assert " ".join(first.splitlines()[-1].split()) == told_of_it
    assert second.startswith("account0001: 4 gaps: 4 not_found\n")
    assert second.count("1  next run") == 4
    found = rows(person.run("gaps", "--json"), "gaps")
    assert [(gap["username"], gap["reason"], gap["role"]) for gap in found] == [
        ("account0000", "never_offered", "video"),
        *[("account0001", "not_found", "video")] * 4,
    ]
    assert set(found[0]) == {
        *(
            "reason",
            "subject",
            "subject_pk",
            "role",
            "user_pk",
            "username",
            "highlight_pk",
            "title",
            "code",
            "detail",
        ),
        *("attempts", "first_at", "last_at", "next_try_at", "gone", "present", "counted"),
    }
    assert rows(person.run("gaps", "account0000", "--json"), "gaps") == found[:1]
    assert rows(person.run("gaps", "70000000001", "--json"), "gaps") == found[1:]
    assert "4 (archiver gaps)" in person.run("status").out
    assert len(upstream.requests) == 0


@pytest.mark.whole
def test_gaps_shows_a_screenful_and_all_with_v(person: InProcessUser, upstream: FaultyStandIn) -> None:
    """More than twenty of one account: the rest is counted, and named with -v."""
    upstream.world = EditableWorld.generate(1, 1, 44)
    upstream.faults.add(actions.respond(404, b""), listener="cdn", role="video", count=None)
    person.run("run", "-q", "account0000")
    lines = person.run("gaps", "account0000").out.splitlines()
    assert (lines[0], len(lines)) == ("account0000: 22 gaps: 22 not_found", 1 + 2 + 20 + 1)
    assert lines[-1] == "  and 2 more (-v shows all)"
    assert len(person.run("gaps", "account0000", "-v").out.splitlines()) == 1 + 2 + 22


def test_gaps_of_an_archive_that_lacks_nothing(kept: InProcessUser) -> None:
    """A word on stderr, an empty list; a mistyped ``backup NAME`` changes nothing."""
    person = kept
    none = person.run("gaps")
    assert (none.code, none.out, none.err) == (0, "", "no gaps: everything that was offered is archived\n")
    assert person.run("gaps", "--json").object == {"exit_code": 0, "outcome": "ok", "gaps": []}
    assert person.run("backup", "nobody.here", "-q").code == 6
    assert person.run("gaps").err == none.err
    unknown = person.run("gaps", "nobody.here", "--json")
    assert (unknown.code, unknown.object["gaps"]) == (2, [])


def test_a_name_that_was_corrected_is_no_gap(person: InProcessUser) -> None:
    """The next run drops the failure of an entry that the configuration does not name any more; the words say
    that nobody has the name, and ``--json`` keeps its reason.
    """
    person.list_accounts("account0000", "account001")
    first = person.run("run")
    assert "  account001: no account has this name: correct or remove it\n" in first.err
    assert rows(person.run("gaps", "--json"), "gaps")[0]["reason"] == "gone"
    person.list_accounts("account0000", "account0001")
    assert person.run("run", "-q").code == 0
    assert person.run("gaps").out == ""
    assert "open failures  0\n" in person.run("status").out


def test_an_unfinished_run_goes_on_or_was_killed(kept: InProcessUser) -> None:
    """``status`` says which: by the process that the lock names."""
    with closing(sqlite3.connect(kept.archive / "archive.db", isolation_level=None)) as database:
        database.execute(
            "INSERT INTO runs (command, started_at, units) VALUES ('run', '2100-01-01T00:00:00.000000Z', 0)"
        )
    lock = kept.archive / "lock"
    for pid, outcome in ((os.getpid(), "running"), (2**22 + 1, "killed")):
        note = {"pid": pid, "host": socket.gethostname(), "command": "run", "since": "2100-01-01T00:00:00Z"}
        lock.write_text(json.dumps(note))
        assert kept.run("status").out.split("units\n")[-1].splitlines()[1].split()[4] == outcome


@pytest.mark.whole
def test_a_highlight_that_nobody_wants_is_no_gap(person: InProcessUser, tmp_path: Path) -> None:
    """Only titles that the configuration asks for are waited for; what a budget left is."""
    config = tmp_path / "config.toml"
    config.write_text('[[accounts]]\ntarget = "account0000"\nhighlights = ["* 1"]\n')
    assert person.run("run", "-q").code == 0
    assert rows(person.run("gaps", "--json"), "gaps") == []
    config.write_text('[[accounts]]\ntarget = "account0000"\n[[accounts]]\ntarget = "account0001"\n')
    found = rows(person.run("gaps", "--json"), "gaps")
    assert [(gap["reason"], gap["title"]) for gap in found] == [
        ("not_yet", "Highlight 0"),
        ("not_yet", None),  # the account that is new in the configuration
    ]
    assert person.run("run", "-q", "--max-units", "3", "account0001").code == 5
    assert person.run("gaps", "account0001").out.startswith("account0001: 1 gap: 1 not_yet\n")


def test_costs_sums_up_what_was_paid(kept: InProcessUser, upstream: FaultyStandIn) -> None:
    """Whatever it is summed up by, all units and calls are in it; 0 units, no call."""
    upstream.world.rename("account0001", "renamed")
    assert kept.run("run", "-q", "--max-units", "0").code == 5
    billed, paid = 8, 6
    upstream.requests.reset()
    for by, number in (("day", 1), ("month", 1), ("account", 2), ("endpoint", 2), ("run", 1)):
        ended = kept.run("costs", "--by", by, "--json")
        told, found = ended.object, rows(ended, "costs")
        assert (ended.code, told["by"], told["units"], told["calls"]) == (0, by, billed, paid)
        assert len(found) == number
        assert sum(int(str(row["units"])) for row in found) == billed
        assert rows(ended, "runs")[0] == {
            "run_id": 1,
            "units": 8,
            "balance_before": 1_000,
            "balance_after": 992,
            "fall": 8,
            "mismatch": 0,
        }
        last = kept.run("costs", "--by", by).out.splitlines()[-1]
        assert last.split()[-2:] == [str(billed), str(paid)]
    assert rows(kept.run("costs", "--since", "2100-01-01", "--json"), "costs") == []
    assert len(upstream.requests) == 0


def test_costs_names_the_accounts(kept: InProcessUser) -> None:
    """By their present names, with their ids."""
    found = rows(kept.run("costs", "--by", "account", "--json"), "costs")
    assert [(row["account"], row["user_pk"], row["units"], row["calls"]) for row in found] == [
        ("account0000", "70000000000", 4, 3),
        ("account0001", "70000000001", 4, 3),
    ]


@pytest.mark.whole
def test_a_mismatch_is_told_where_somebody_looks(person: InProcessUser, upstream: FaultyStandIn) -> None:
    """Another program took three units meanwhile: in the run's object and words, and a line of costs; the
    code stays 0.
    """

    def take(_: object) -> None:
        upstream.balance -= 3

    upstream.faults.add(path="/v1/user/highlights", before=take)
    ended = person.run("run", "--json", "-v")
    assert (ended.code, ended.object["balance_mismatch"]) == (0, 3)
    words = (
        "the balance at the API fell by 11, 3 more than counted here (another program "
        "with the same key, or a top-up?)"
    )
    assert words in ended.err
    told = person.run("costs")
    assert told.out.splitlines()[-1].endswith(words)
    assert told.out.splitlines()[-1].startswith("run 1, 20")
    assert rows(person.run("costs", "--json"), "runs")[0]["mismatch"] == 3
    quiet = person.run("run")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


@pytest.mark.whole
def test_status_says_how_many_nights_the_units_last(person: InProcessUser, upstream: FaultyStandIn) -> None:
    """No night yet, nobody knows, whatever was kept by hand; then the rate of that day; the look is free."""
    assert person.run("status", "--balance", "--json").object["balance"] == {
        "units": 1_000,
        "rate": 15,
        "units_per_night": None,
        "nights": None,
    }
    assert "unknown: no archiver run in the last 30 days" in person.run("status", "--balance").out
    assert person.run("run", "-q").code == 0
    upstream.requests.reset()
    balance = person.run("status", "--balance", "--json").object["balance"]
    assert balance == {"units": 992, "rate": 15, "units_per_night": 8, "nights": 124}
    assert "enough for     about 124 nights at 8 units a night" in person.run("status", "--balance").out
    assert (upstream.units, paid_calls(upstream.requests)) == (0, [])


@pytest.mark.parametrize(
    "words",
    [
        ["accounts"],
        ["add", "other", "--dry-run"],
        ["changes"],
        ["costs"],
        ["export", "folder", "out", "--dry-run"],
        ["forget", "account0000", "--dry-run"],
        ["gaps"],
        ["plan"],
        ["remove", "account0000", "--dry-run"],
        ["reread", "--dry-run"],
        ["search", "account"],
        ["verify"],
        ["verify", "--repair", "--dry-run"],
    ],
    ids=" ".join,
)
def test_the_object_of_a_failure_has_the_keys_of_success(kept: InProcessUser, words: list[str]) -> None:
    """Nothing was done, since there is no such configuration: only ``error`` is added."""
    done = kept.run(*words, "--json")
    failed = kept.run(*words, "--json", "--config", "missing.toml")
    assert (done.code, failed.code) == (0, 2)
    assert failed.object.keys() - {"error"} == done.object.keys()
