"""Accounts that a limit kept a run from: told as such, not passed over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


@pytest.fixture
def person(tmp_path: Path) -> Iterator[CommandLineUser]:
    """Somebody with three accounts of two highlights in the configuration, whose first run may spend five
    units: four, and one more.
    """
    with FaultyStandIn(EditableWorld.generate(3, 2, 1), key="canary-0123456789abcdef") as upstream:
        somebody = InProcessUser(tmp_path, upstream)
        somebody.list_accounts("account0000", "account0001", "account0002")
        assert somebody.run("init", "-q").code == 0
        yield somebody


def test_a_run_that_was_stopped_says_how_many_accounts_wait(person: CommandLineUser) -> None:
    """In the report; and gaps names each that no run has come to, until one has."""
    stopped = person.run("run", "-v", "--max-units", "5")
    assert stopped.code == 5
    assert "1 of 3 accounts, 2 of 2 highlights read" in stopped.err
    found = person.run("gaps", "--json").object["gaps"]
    assert isinstance(found, list)
    assert [(gap["reason"], gap["subject"], gap["subject_pk"]) for gap in found] == [
        ("not_yet", "target", "account0001"),
        ("not_yet", "target", "account0002"),
    ]
    for words in ("gaps",), ("gaps", "account0002"):
        assert "account0002: 1 gap: 1 not_yet" in person.run(*words).out
    assert person.run("gaps", "account0000").out == ""
    assert "3 accounts, 4 of 6 highlights read" in person.run("run", "-v").err
    assert person.run("gaps", "--json").object["gaps"] == []
