"""What holds of every visit in these nights."""

from __future__ import annotations

import pytest

from archiver.catalog import Catalog
from archiver.runner import account
from archiver.runner.visit import Visit, read_visit


@pytest.fixture(autouse=True)
def what_is_not_read_again_is_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit that does not read the highlights again knows them as they are stored."""

    def both(visit: Visit, catalog: Catalog, *, highlights_unchanged: bool = False) -> Visit:
        found = read_visit(visit, catalog, highlights_unchanged=highlights_unchanged)
        assert not highlights_unchanged or found == read_visit(visit, catalog)
        return found

    monkeypatch.setattr(account, "read_visit", both)
