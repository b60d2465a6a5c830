"""``archiver plan --list``: a plan that is paid for and exact, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import Nearby, Person, write_config

from archiver.sandbox import StandIn, World

BOTW = "18018069326790931"


@pytest.fixture
def upstream() -> Iterator[StandIn]:
    """natgeo and salwaaa_ki, over loopback."""
    with StandIn(World.seed(), key="canary-0123456789abcdef") as standin:
        yield standin


@pytest.fixture
def person(tmp_path: Path, upstream: StandIn) -> Person:
    """Somebody with both accounts in the configuration, and an archive from a first night, after which BOTW got an item."""
    somebody = Nearby(tmp_path, upstream)
    config = write_config(tmp_path / "c.toml", ["natgeo", "salwaaa_ki"])
    somebody.more = {"ARCHIVER_CONFIG": str(config)}
    assert somebody.run("init", "-q").code == 0
    assert somebody.run("run", "-q").code == 0
    upstream.world.add_item(BOTW)
    upstream.requests.reset()
    return somebody


def test_a_plan_with_the_trays_is_paid_for_and_kept_to(person: Person, upstream: StandIn) -> None:
    """Two units for the trays; the run then costs what was said, its own trays and the one page: three."""
    told = person.run("plan", "--list", "--json").object
    assert (told["exit_code"], told["spent"], told["units"], told["failures"]) == (0, 2, 3, [])
    assert upstream.units == 2
    accounts = told["accounts"]
    assert isinstance(accounts, list)
    assert [(a["username"], a["units"], a["exact"]) for a in accounts] == [
        ("natgeo", 2, True),
        ("salwaaa_ki", 1, True),
    ]
    assert [(h["pk"], h["reason"], h["units"]) for h in accounts[0]["highlights"]] == [(BOTW, "changed", 1)]
    ran = person.run("run", "--json").object
    assert ran["units"] == told["units"]
    assert told["run_id"] == int(str(ran["run_id"])) - 1


def test_an_exact_plan_has_no_plus(person: Person) -> None:
    """Without --list the price is a least one, with it no more; nothing else is on stdout, and nothing on stderr."""
    guessed = person.run("plan")
    assert [line.split()[1] for line in guessed.out.splitlines()[2:4]] == ["1+", "1+"]
    exact = person.run("plan", "--list")
    assert [line.split()[1] for line in exact.out.splitlines()[2:4]] == ["2", "1"]
    assert (exact.code, exact.err) == (0, "")


def test_a_limit_ends_the_look_at_the_trays(person: Person, upstream: StandIn) -> None:
    """Code 5; what was seen is exact, the other account a guess."""
    ended = person.run("plan", "--list", "--max-units", "1", "--json")
    assert (ended.code, ended.object["spent"], upstream.units) == (5, 1, 1)
    accounts = ended.object["accounts"]
    assert isinstance(accounts, list)
    assert sorted(a["exact"] for a in accounts) == [False, True]


def test_what_belongs_to_the_list_is_refused_without_it(person: Person, upstream: StandIn) -> None:
    """A plan that spends nothing has no limit, and waits for nobody."""
    assert person.run("plan", "--max-units", "3").code == 2
    assert person.run("plan", "--wait").code == 2
    assert len(upstream.requests) == 0


def test_a_plan_says_why_nothing_is_listed(person: Person, upstream: StandIn, tmp_path: Path) -> None:
    """An account that was never listed is not taken for one without news, and one that waits leads to its gap."""
    config = write_config(tmp_path / "d.toml", ["natgeo", "salwaaa_ki", "nasa"])
    person.more = {"ARCHIVER_CONFIG": str(config)}
    upstream.world.set_private("salwaaa_ki")
    assert person.run("run", "natgeo", "salwaaa_ki", "-q").code == 0
    assert person.run("plan").out.splitlines()[2:5] == [
        "natgeo      1+",
        "salwaaa_ki  0      none for now: see archiver gaps",
        "nasa        2+     not known: never listed",
    ]
    accounts = person.run("plan", "--json").object["accounts"]
    assert isinstance(accounts, list)
    assert [a["listed"] for a in accounts] == [True, True, False]
