"""The costs in the browser: months, days and runs, and what the last run paid for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from archiver.catalog import Catalog, ledger, record
from archiver.model.api_calls import Limits
from archiver.web import archive_views
from tests.support.catalog_samples import NATGEO, call, tray
from tests.support.databases import NOW, SQLITE_EVERYDAY
from tests.support.view_pages import existing_page, text_of, texts


@SQLITE_EVERYDAY
def test_units_are_listed_by_month_day_run_account_and_endpoint(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latest first; accounts and endpoints are those of the last run that paid."""
    later = NOW + timedelta(days=1)  # in April
    for at, units in ((NOW, 3), (later, 2)):
        run = catalog.write(record.start_run, "run", at)
        catalog.write(record.record_tray, run, NATGEO.pk, tray("1"), at)
        row = catalog.write(ledger.reserve, run, call(units, NATGEO.pk, "/v1/user/highlights"), at, Limits())
        catalog.write(ledger.settle, row, 200, units, at)
        catalog.write(record.finish_run, run, at, "ok", 0)
    catalog.write(record.start_run, "run", later)  # it has not paid
    monkeypatch.setattr(archive_views, "utcnow", lambda: later)
    root = existing_page(catalog, "/costs")
    rows = texts(root, "tr")
    assert "2 units this month 5 in total" in text_of(root)
    assert [row for row in rows if row.startswith("2026-")] == [
        *("2026-04 2", "2026-03 3"),
        *("2026-04-01 2", "2026-03-31 3"),
    ]
    assert [row for row in rows if ", run, " in row] == [
        "2, run, 1 Apr 2026, 23:30 2",
        "1, run, 31 Mar 2026, 23:30 3",
    ]
    assert rows[-3::2] == ["natgeo 2 1", "/v1/user/highlights 2 1"]
