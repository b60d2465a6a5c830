"""What most commands are tried with: the accounts of the vendor's page, and a user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import CommandLineUser
from tests.support.standin.faulty_standin import FaultyStandIn


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """natgeo and salwaaa_ki, over loopback."""
    with FaultyStandIn() as standin:
        yield standin


@pytest.fixture
def person(tmp_path: Path, upstream: FaultyStandIn, monkeypatch: pytest.MonkeyPatch) -> CommandLineUser:
    """A user whose environment points to the stand-in; this process has that environment too."""
    somebody = CommandLineUser(tmp_path, upstream)
    somebody.enter(monkeypatch)
    return somebody
