"""A small archive, and a server of it, for all tests of the web server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from archiver.model.identity import Role
from tests.support.archive_copies import ArchiveCopies
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness
from tests.support.web_server import ServedArchive, served


def fill(archive: ExportHarness) -> None:
    """Fill an archive, with a renamed account and a file of an unknown type."""
    archive.fill()
    archive.keep("10", Role.THUMBNAIL, b"<svg/>", NOW + timedelta(days=1), mime="image/svg+xml")
    archive.rename("nat.geo", NOW + timedelta(days=1))
    archive.rename("natgeo", NOW + timedelta(days=2))


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies) -> ExportHarness:
    """An archive with a photo and a video in two highlights."""
    return ExportHarness.copied(tmp_path_factory.mktemp("served"), archive_copies, "served", fill)


@pytest.fixture(scope="session")
def server(archive: ExportHarness) -> Iterator[ServedArchive]:
    """A server of that archive, on loopback."""
    with served(archive.environ) as running:
        yield running
