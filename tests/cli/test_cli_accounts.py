"""The list of accounts from the command line: ``accounts``, ``add``, ``remove`` and ``backup -i``."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from archiver.catalog import schema
from archiver.config import config_files
from archiver.errors import StorageError
from archiver.runner import run_lock
from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.databases import make_newer_migrations, make_too_old
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """Three small accounts: account0000, account0001, account0002."""
    with FaultyStandIn(EditableWorld.generate(3, 1, 1)) as upstream:
        yield upstream


@pytest.fixture
def user(tmp_path: Path, upstream: FaultyStandIn) -> InProcessUser:
    """A user whose configuration, named by the environment, lists account0000."""
    user = CommandLineUser(tmp_path, upstream)
    user.list_accounts("account0000")
    return user.in_process


def listed(user: CommandLineUser) -> list[tuple[object, object, object]]:
    """Return entry, state and username of each account that ``accounts`` lists."""
    rows = user.run("accounts", "--json").object["accounts"]
    assert isinstance(rows, list)
    return [(row["entry"], row["state"], row["username"]) for row in rows]


def bindings(user: CommandLineUser) -> list[str]:
    """Return the names that are bound to an account."""
    with closing(sqlite3.connect(user.archive / "archive.db")) as database:
        return [text for (text,) in database.execute("SELECT text FROM targets ORDER BY text")]


def test_accounts_before_the_first_run(user: InProcessUser, upstream: FaultyStandIn) -> None:
    """Without an archive every entry is new; nothing is made and no call is sent."""
    assert listed(user) == [("account0000", "new", "account0000")]
    assert "never" in user.run("accounts").out
    assert not user.archive.exists()
    assert not upstream.requests


def test_accounts_after_a_night(user: InProcessUser, upstream: FaultyStandIn) -> None:
    """Each entry has its state and its size; what is archived but not listed follows, and is marked."""
    user.run("backup", "account0002")
    user.run("add", "account0001", "nobody.there", "@Late")
    upstream.world.set_private("account0001")
    config = Path(user.more["ARCHIVER_CONFIG"])
    config.write_text(config.read_text().replace("late", "account0002"))
    user.run("run")
    upstream.world.delete_account("account0002")
    user.run("run")
    user.run("add", "late")
    user.run("remove", "account0000")
    assert listed(user) == [
        ("account0001", "private", "account0001"),
        ("nobody.there", "not_found", "nobody.there"),
        ("account0002", "gone", "account0002"),
        ("late", "new", "late"),
        (None, "archived", "account0000"),
    ]
    table = user.run("accounts").out.splitlines()
    assert table[-1] == "4 accounts listed; 1 archived, but not listed"
    assert "(not listed)" in table[-2]
    assert " kB" in table[-2]


def test_add_is_idempotent_and_free(user: InProcessUser, upstream: FaultyStandIn) -> None:
    """A second ``add`` says that the account is listed, under whichever name, and changes nothing."""
    config = Path(user.more["ARCHIVER_CONFIG"])
    first = user.run("add", "@Account0001", "--highlights", "A*", "--json").object
    assert (first["added"], first["listed"]) == (["@Account0001"], [])
    text = config.read_text()
    assert text.endswith('\n[[accounts]]\nusername = "account0001"\nhighlights = ["A*"]\n')
    again = user.run("add", "https://www.instagram.com/account0001/", "account0000")
    assert (again.code, again.err.count("already listed")) == (0, 2)
    other = user.run("add", "account0001", "--highlights", "B*")
    assert (other.code, "other highlights (A*)" in other.err) == (2, True)
    assert "would be added" in user.run("add", "account0002", "--dry-run").err
    assert config.read_text() == text
    assert not upstream.requests


def test_an_account_is_listed_under_any_of_its_names(user: InProcessUser, upstream: FaultyStandIn) -> None:
    """``add`` and ``remove`` know a renamed account by its entry, its new name and its id."""
    user.run("init")
    user.run("run")
    pk = upstream.world.account("account0000").pk
    upstream.world.rename("account0000", "renamed")
    user.run("run", "--full")
    done = user.run("add", pk, "renamed", "account0001", "--json").object
    assert done["added"] == ["account0001"]
    assert [entry["entry"] for entry in done["listed"]] == ["account0000", "account0000"]  # type: ignore[attr-defined]
    assert "account0000: would be removed" in user.run("remove", "renamed", "--dry-run").err
    assert bindings(user) == ["account0000"]
    assert "account0000: removed" in user.run("remove", "https://instagram.com/renamed").err
    assert bindings(user) == []
    assert user.run("remove", "renamed").err.startswith("renamed is not listed (archiver accounts ")
    assert listed(user) == [("account0001", "new", "account0001"), (None, "archived", "renamed")]


def test_a_former_name_and_all_forms_of_an_entry(user: InProcessUser, upstream: FaultyStandIn) -> None:
    """``remove`` with a former name finds the id, the link, the line of the list and a single highlight."""
    account = upstream.world.account("account0000")
    config = Path(user.more["ARCHIVER_CONFIG"])
    user.run("init")
    user.run("run")
    upstream.world.rename("account0000", "renamed")
    user.run("run", "--full")
    highlight = account.highlights[0].pk
    config.write_text(
        'sync.accounts_file = "list"\n'
        f'[[accounts]]\nuser_id = {account.pk}\n\n[[accounts]]\ntarget = "instagram.com/renamed"\n\n'
        f'[[accounts]]\ntarget = "highlight:{highlight}"\n\n[[accounts]]\nusername = "account0001"\n'
    )
    (user.home / "list").write_text(f"# mine\nRenamed\naccount0002 # two\n{account.pk}\n")
    removed = user.run("remove", "account0000", "--json").object["removed"]
    assert isinstance(removed, list)
    assert [entry["line"] for entry in removed] == [2, 5, 8, 2, 4]
    assert config.read_text() == 'sync.accounts_file = "list"\n\n[[accounts]]\nusername = "account0001"\n'
    assert (user.home / "list").read_text() == "# mine\naccount0002 # two\n"


def test_several_names_are_removed_at_once(user: InProcessUser) -> None:
    """One after the other, each entry once; an invalid one among them changes nothing."""
    user.run("add", "account0001", "account0002", "nasa")
    names = ("nasa", "@account0001", "account0001", "nobody.there")
    invalid = user.run("remove", *names, "no name")
    assert invalid.code == 2
    config = Path(user.more["ARCHIVER_CONFIG"])
    where = [f"removed from {config}, line {line}" for line in (10, 4)]
    removed = user.run("remove", *names)
    assert removed.code == 0
    assert [line for line in removed.err.splitlines() if "removed" in line] == [
        f"nasa: {where[0]}",
        f"account0001: {where[1]}",
    ]
    assert "nobody.there is not listed" in removed.err
    assert [entry for entry, _, _ in listed(user)] == ["account0000", "account0002"]


def test_a_removed_name_may_mean_another_account(user: InProcessUser, upstream: FaultyStandIn) -> None:
    """After ``remove`` and ``add``, a name means the account that has it then; the archive is sound."""
    user.run("init")
    user.run("run")
    upstream.world.rename("account0000", "renamed")
    upstream.world.rename("account0001", "account0000")
    user.run("run", "--full")
    assert [row[2] for row in listed(user)] == ["renamed"]
    user.run("remove", "account0000")
    user.run("add", "account0000")
    user.run("run")
    assert [row[2] for row in listed(user)] == ["account0000", "renamed"]
    verified = user.run("verify", "--read-data", "--json")
    assert verified.code == 0
    assert verified.object["journal_differences"] == {}


def test_a_run_keeps_the_bindings_to_itself(user: InProcessUser) -> None:
    """``remove`` ends with 11 while another command writes, and the list stays."""
    user.run("init")
    user.run("run")
    with run_lock.hold_run_lock(user.archive / "lock", "run"):
        assert user.run("remove", "account0000").code == 11
    assert listed(user) == [("account0000", "archived", "account0000")]


def test_a_run_may_bind_a_name_that_is_removed(user: InProcessUser) -> None:
    """``remove`` of a name that no run has reached yet ends with 11 too: the run that goes on may bind it."""
    user.run("init")
    with run_lock.hold_run_lock(user.archive / "lock", "run"):
        assert user.run("remove", "account0000").code == 11
        assert user.run("remove", "nobody.there").err.startswith(
            "nobody.there is not listed (archiver accounts "
        )
    assert listed(user) == [("account0000", "new", "account0000")]


def test_remove_holds_the_lock_until_both_are_done(
    user: InProcessUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run can come between the list and the bindings. If the list cannot be changed, the binding stays: a
    name that is listed must not mean another account.
    """
    holders = []

    def fail(path: Path, text: str, *, dry_run: bool) -> None:
        if dry_run:
            return
        holders.append(run_lock.find_holder(user.archive / "lock"))
        raise StorageError(f"{path} cannot be changed")

    user.run("init")
    user.run("run")
    with monkeypatch.context() as patch:
        patch.setattr(config_files, "replace_text", fail)
        assert user.run("remove", "account0000").code == 8
    assert [holder.command for holder in holders if holder is not None] == ["remove"]
    assert bindings(user) == ["account0000"]
    assert user.run("remove", "account0000").code == 0
    assert bindings(user) == []


@pytest.mark.parametrize("is_too_old", [False, True])
def test_an_older_schema_ends_no_binding(
    user: InProcessUser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_too_old: bool
) -> None:
    """Until the schema is upgraded, ``remove`` ends with 9: it would leave the binding, and say nothing."""
    user.run("init")
    user.run("run")
    if is_too_old:
        make_too_old(user.archive / "archive.db")
    else:
        make_newer_migrations(tmp_path / "migrations")
        monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
    removed = user.run("remove", "account0000")
    assert (removed.code, "db upgrade" in removed.err) == (9, True)
    assert "account0000" in Path(user.more["ARCHIVER_CONFIG"]).read_text()


def test_what_is_not_listed_any_more_is_no_gap(user: InProcessUser) -> None:
    """After ``remove``, the next run closes the failure of a name or a highlight that does not exist."""
    user.run("init")
    user.run("add", "nobody.there", "highlight:999")
    assert user.run("run").code == 3
    assert len(user.run("gaps", "--json").object["gaps"]) == 2  # type: ignore[arg-type]
    user.run("remove", "nobody.there")
    user.run("remove", "highlight:999")
    assert user.run("run").code == 0
    assert user.run("gaps", "--json").object["gaps"] == []


def test_a_list_is_no_account(tmp_path: Path, upstream: FaultyStandIn) -> None:
    """``backup accounts.txt`` pays for nothing and advises -i; ``backup -i`` archives what the list names."""
    user = CommandLineUser(tmp_path, upstream)
    (tmp_path / "accounts.txt").write_text("# mine\naccount0000\n\n@account0001 # two\n")
    refused = user.run("backup", "accounts.txt")
    assert (refused.code, "-i accounts.txt reads it" in refused.err) == (2, True)
    assert not upstream.requests
    assert user.run("backup", "-i", "accounts.txt", "-i", "-", stdin="account0002\n").code == 0
    names = user.run("query", "SELECT username FROM users ORDER BY 1", "--format", "json").out
    assert [row["username"] for row in json.loads(names)] == ["account0000", "account0001", "account0002"]
    assert user.run("backup", "-i", "missing.txt").code == 2


def test_without_a_configuration(tmp_path: Path) -> None:
    """``add`` says how to write a configuration; ``remove`` has nothing to do."""
    user = CommandLineUser(tmp_path).in_process
    added = user.run("add", "natgeo")
    assert (added.code, "init writes one" in added.err) == (2, True)
    assert user.run("remove", "natgeo").err.startswith("natgeo is not listed (archiver accounts ")
    assert user.run("accounts").code == 10
