"""Archives whose runs workers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archiver.catalog import Catalog, leases
from tests.support.cluster import ClusterHarness
from tests.support.databases import drop_everything, empty_database
from tests.support.s3_server import BUCKET, S3Server
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    """Eight accounts with two highlights each."""
    with FaultyStandIn(EditableWorld.generate(8, 2, 2)) as upstream:
        yield upstream


@pytest.fixture
def empty(postgres_nowhere: str) -> str:
    """The URL of a PostgreSQL database without tables."""
    drop_everything(postgres_nowhere)
    return postgres_nowhere


@pytest.fixture
def harness(tmp_path: Path, empty: str, upstream: FaultyStandIn) -> ClusterHarness:
    """An archive in PostgreSQL and a directory that all workers share."""
    return ClusterHarness(tmp_path / "archive", upstream, empty)


@pytest.fixture
def server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A store, which the environment names."""
    server.set_environment(monkeypatch)
    return server


@pytest.fixture
def bucket_harness(tmp_path: Path, empty: str, upstream: FaultyStandIn, server: S3Server) -> ClusterHarness:
    """An archive in PostgreSQL and a bucket."""
    storage, objects = f"s3://{BUCKET}/pre", server.objects / "pre"
    return ClusterHarness(tmp_path / "archive", upstream, empty, storage=storage, objects=objects)


@pytest.fixture
def joined(postgres_archive: str) -> Iterator[tuple[Catalog, Catalog]]:
    """The database of an archive, opened by two workers, ``one`` and ``two``."""
    empty_database(postgres_archive)
    with Catalog.join(postgres_archive, "one") as one, Catalog.join(postgres_archive, "two") as two:
        for catalog, name in ((one, "one"), (two, "two")):
            catalog.coordinate(leases.join, name, f"host:{name}", 60, is_run=False, replaces=None)
        yield one, two
