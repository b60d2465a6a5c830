"""What holds of every visit in these nights."""

from __future__ import annotations

import pytest

from archiver.catalog import Catalog
from archiver.runner import account
from archiver.runner.decide import Visit


@pytest.fixture(autouse=True)
def what_is_not_read_again_is_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit that does not read the highlights again knows them as they are stored."""
    read = account.read_visit

    def both(visit: Visit, catalog: Catalog, *, is_listed_again: bool = False) -> Visit:
        found = read(visit, catalog, is_listed_again=is_listed_again)
        assert not is_listed_again or found == read(visit, catalog)
        return found

    monkeypatch.setattr(account, "read_visit", both)
