"""``archiver plan --list``: a plan that is paid for and exact, for people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.archive_copies import ArchiveCopies
from tests.support.command_line import CommandLineUser, InProcessUser, write_config
from tests.support.standin.faulty_standin import FaultyStandIn

BOTW = "18018069326790931"


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn, archive_copies: ArchiveCopies) -> CommandLineUser:
    """Somebody with both accounts in the configuration, and an archive from a first night, after which BOTW
    got an item.
    """
    somebody = InProcessUser(tmp_path, upstream)
    somebody.list_accounts("natgeo", "salwaaa_ki")
    archive_copies.backed_up(somebody, "natgeo", "salwaaa_ki")
    upstream.world.add_item(BOTW)
    return somebody


def accounts_of(plan: dict[str, object]) -> list[dict[str, Any]]:
    """The accounts of ``plan --json``."""
    accounts = plan["accounts"]
    assert isinstance(accounts, list)
    return accounts


def test_a_plan_with_the_trays_is_paid_for_and_kept_to(
    person: CommandLineUser, upstream: FaultyStandIn
) -> None:
    """Two units for the trays; the run then uses them, and costs what was said: the one page."""
    told = person.run("plan", "--list", "--json").object
    assert (told["exit_code"], told["spent"], told["units"], told["failures"]) == (0, 2, 1, [])
    assert upstream.units == 2
    accounts = told["accounts"]
    assert isinstance(accounts, list)
    assert [(a["username"], a["units"], a["exact"]) for a in accounts] == [
        ("natgeo", 1, True),
        ("salwaaa_ki", 0, True),
    ]
    assert [(h["pk"], h["reason"], h["units"]) for h in accounts[0]["highlights"]] == [(BOTW, "changed", 1)]
    ran = person.run("run", "--json").object
    assert ran["units"] == told["units"]
    assert told["run_id"] == int(str(ran["run_id"])) - 1


def test_fault_e6_a_run_of_a_named_account_lists_again(person: CommandLineUser) -> None:
    """``run NAME`` and ``backup NAME`` do, and a plan of that name says so; a run of the others does not."""
    person.run("plan", "--list", "-q")
    assert person.run("plan", "--json").object["units"] == 1
    assert person.run("plan", "natgeo", "--json").object["units"] == 2
    assert person.run("run", "-n", "natgeo", "--json").object["units"] == 2
    assert person.run("run", "natgeo", "--json").object["units"] == 2
    assert person.run("backup", "natgeo", "--json").object["units"] == 1
    assert person.run("run", "--json").object["units"] == 1  # natgeo's list; the other is used


def test_a_run_of_a_named_account_asks_despite_its_back_off(
    person: CommandLineUser, upstream: FaultyStandIn
) -> None:
    """A private account waits for its date in a nightly run; who names it wants to know now. So do plans."""
    upstream.world.set_private("natgeo")
    person.run("run", "-q")
    person.run("run", "-q")
    for words, units in (((), 1), (("natgeo",), 1)):
        assert person.run("plan", *words, "--json").object["units"] == units
        assert person.run("run", *words, "--json").object["units"] == units
    assert [asked.subject.user for asked in upstream.requests.api_calls("/v1/user/by/id")][-1] == "787132"


def test_an_exact_plan_has_no_plus(person: CommandLineUser) -> None:
    """Without --list the price is a least one, with it no more; nothing else is on stdout. stderr says what
    listing has cost.
    """
    guessed = person.run("plan")
    assert [line.split()[1] for line in guessed.out.splitlines()[2:4]] == ["1+", "1+"]
    exact = person.run("plan", "--list")
    assert [line.split()[1] for line in exact.out.splitlines()[2:4]] == ["1", "0"]
    assert (exact.code, exact.err) == (0, "2 accounts, 0 of 4 highlights read, 2 units spent\n")
    assert person.run("plan", "--list", "-q").err == ""


def test_a_plan_says_that_it_could_not_list_everything(person: CommandLineUser) -> None:
    """Code 3 for a name that nobody has. Nothing was to be archived, so it does not say that."""
    ended = person.run("plan", "--list", "natgeo", "nobody.there")
    assert ended.code == 3
    assert ended.err.startswith("archiver: plan: not everything could be listed\n")


def test_a_limit_ends_the_look_at_the_trays(person: CommandLineUser, upstream: FaultyStandIn) -> None:
    """Code 5; what was seen is exact, the other account a guess."""
    ended = person.run("plan", "--list", "--max-units", "1", "--json")
    assert (ended.code, ended.object["spent"], upstream.units) == (5, 1, 1)
    accounts = ended.object["accounts"]
    assert isinstance(accounts, list)
    assert sorted(a["exact"] for a in accounts) == [False, True]


def test_what_belongs_to_the_list_is_refused_without_it(
    person: CommandLineUser, upstream: FaultyStandIn
) -> None:
    """A plan that spends nothing has no limit, and waits for nobody."""
    assert person.run("plan", "--max-units", "3").code == 2
    assert person.run("plan", "--wait").code == 2
    assert len(upstream.requests) == 0


def test_a_plan_says_why_nothing_is_listed(
    person: CommandLineUser, upstream: FaultyStandIn, tmp_path: Path
) -> None:
    """An account that was never listed is not taken for one without news, and one that waits leads to its
    gap.
    """
    config = write_config(tmp_path / "d.toml", ["natgeo", "salwaaa_ki", "nasa"])
    person.more = {"ARCHIVER_CONFIG": str(config)}
    upstream.world.set_private("salwaaa_ki")
    assert person.run("run", "natgeo", "salwaaa_ki", "-q").code == 0
    lines = person.run("plan").out.splitlines()
    assert lines[2:5] == [
        "natgeo      1+",
        "salwaaa_ki  0      none for now",
        "nasa        2+     unknown: never listed",
    ]
    assert lines[-1] == "none for now: see archiver gaps"
    accounts = person.run("plan", "--json").object["accounts"]
    assert isinstance(accounts, list)
    assert [a["listed"] for a in accounts] == [True, True, False]


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("RUN=0", "budget.max_units_per_run = 0 leaves no units: the next run makes no paid call"),
        (
            "DAY=8",
            "budget.max_units_per_day = 8 leaves no units today (UTC): the next run makes no paid call",
        ),
        (
            "MONTH=8",
            "budget.max_units_per_month = 8 leaves no units this month (UTC):"
            " the next run makes no paid call",
        ),
    ],
)
def test_a_plan_knows_that_the_budget_is_used_up(
    person: CommandLineUser, upstream: FaultyStandIn, limit: str, told: str
) -> None:
    """The first night cost eight units: 0 units, the limit by name, and the run then makes no call indeed."""
    period, _, units = limit.partition("=")
    person.more[f"ARCHIVER_BUDGET_MAX_UNITS_PER_{period}"] = units
    done = person.run("plan")
    assert (done.code, done.err) == (0, f"archiver: plan: {told}\n")
    assert done.out.splitlines()[2:] == [
        f"natgeo      0      none: budget.max_units_per_{period.lower()} is reached",
        f"salwaaa_ki  0      none: budget.max_units_per_{period.lower()} is reached",
        "total       0",
    ]
    found = person.run("plan", "--json").object
    assert (found["exit_code"], found["units"]) == (0, 0)
    assert found["budget"] == {
        "limit": f"max_units_per_{period.lower()}",
        "units": int(units),
        "left": 0,
        "message": told,
    }
    assert (person.run("run", "-q").code, upstream.units) == (5, 0)


def test_a_plan_knows_where_the_budget_ends_the_run(person: CommandLineUser) -> None:
    """One unit is left for two trays: the plan is what it is, and says that the run will stop."""
    person.more["ARCHIVER_BUDGET_MAX_UNITS_PER_DAY"] = "9"
    done = person.run("plan")
    assert done.out.splitlines()[-1].split() == ["total", "2+"]
    assert done.err.endswith(
        "archiver: plan: budget.max_units_per_day = 9 leaves 1 unit today (UTC): the next run stops there,"
        " with code 5\n"
    )
    person.more["ARCHIVER_BUDGET_MAX_UNITS_PER_DAY"] = "10"
    assert "budget" not in person.run("plan").err


@pytest.mark.whole
def test_an_account_is_known_by_its_name_and_its_id(person: CommandLineUser, upstream: FaultyStandIn) -> None:
    """``run`` and ``plan`` take either for an account of the configuration, and a name that it had, once the
    archive knows them."""
    assert person.run("plan", "787132", "--json").object == person.run("plan", "natgeo", "--json").object
    assert person.run("run", "787132", "--json").object["accounts"] == 1
    assert [asked.subject.user for asked in upstream.requests.api_calls("/v1/user/highlights")] == ["787132"]
    person.list_accounts("787132", "salwaaa_ki")
    upstream.world.rename("natgeo", "natgeo2")
    assert person.run("run", "natgeo", "-q").code == 0
    for name in ("natgeo", "natgeo2", "787132"):
        assert person.run("run", name, "--json").object["units"] == 1
    unknown = person.run("run", "nasa")
    assert (unknown.code, "nasa is not in the configuration" in unknown.err) == (2, True)


@pytest.mark.whole
def test_a_plan_of_a_configured_account_is_that_of_a_run(person: CommandLineUser) -> None:
    """With the titles that the configuration asks for."""
    config = person.home / "config.toml"
    config.write_text('[[accounts]]\ntarget = "natgeo"\nhighlights = ["Gift*"]\n')
    for words in ((), ("natgeo",), ("787132",)):
        (account,) = accounts_of(person.run("plan", *words, "--json").object)
        assert (account["units"], account["highlights"]) == (1, [])
        (account,) = accounts_of(person.run("plan", "--full", *words, "--json").object)
        assert [highlight["title"] for highlight in account["highlights"]] == ["Gift Guide"]


def test_a_dry_run_is_the_plan(person: CommandLineUser, upstream: FaultyStandIn) -> None:
    """``run`` and ``backup`` with -n print what ``plan`` prints, make no call and write nothing; a backup
    also where there is no archive yet.
    """
    upstream.requests.reset()
    assert person.run("run", "-n").out == person.run("plan").out != ""
    planned = person.run("plan", "natgeo", "--json").object
    assert person.run("backup", "-n", "natgeo", "--json").object["units"] == planned["units"]
    new = person.run("backup", "-n", "nasa", "--archive", "new")
    assert (new.code, new.out.split()[-2:]) == (0, ["total", "2+"])
    assert "new would be made" in new.err
    in_json = person.run("backup", "-n", "nasa", "--archive", "new", "--json").object
    assert (list(in_json), in_json["units"]) == (list(planned), 2)
    assert not (person.home / "new").exists()
    assert "plan --list" not in new.err, "there is no archive that could be listed into"
    (person.home / "other").mkdir()
    (person.home / "other" / "mine").touch()
    refused = person.run("backup", "-n", "nasa", "--archive", "other")
    assert (refused.code, "is not empty" in refused.err) == (8, True)
    assert not upstream.requests.api_calls()


def test_a_dry_run_knows_its_limit(person: CommandLineUser) -> None:
    """With ``--max-units``, ``run -n`` and ``backup -n`` say that the run would stop there."""
    for words in (["run", "--full"], ["backup", "natgeo", "--full"]):
        done = person.run(*words, "-n", "--max-units", "1")
        assert "--max-units 1 leaves 1 unit: the next run stops there, with code 5" in done.err
        assert "max-units" not in person.run(*words, "-n", "--max-units", "1000").err


def test_a_plan_advises_to_list_what_it_plans(person: CommandLineUser) -> None:
    """The command that lists the trays names the same targets, since each costs a unit; for very many there
    is none.
    """
    assert " plan --list reads it now" in person.run("run", "-n").err
    for words in (["plan", "nasa", "@1"], ["backup", "-n", "nasa", "@1"]):
        assert " plan --list nasa @1 reads it now" in person.run(*words).err
    many = [f"name{number}" for number in range(9)]
    assert "--list" not in person.run("backup", "-n", *many).err
