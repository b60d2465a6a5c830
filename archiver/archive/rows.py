"""The rows of an archive alone: where they are, and how they are asked. Nothing here needs the blobs, the kept answers or a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.blobs import Marker, marker
from archiver.catalog import Catalog, Database, locate
from archiver.config import Config


@contextmanager
def reading(config: Config, *, asked: bool = False) -> Iterator[Catalog]:
    """The rows, open for reading; marker and database were found to agree.

    ``asked``: by a person's own SQL, so as the role that ``archive.query_database`` names, if it names one, and as no other.
    """
    found = marker_of(config)
    source = (config.archive.query_database if asked else None) or database(config)
    with Catalog.open(source, write=False) as catalog:
        found.require(catalog.archive_id, config.archive.directory)
        yield catalog


def marker_of(config: Config) -> Marker:
    return marker.read(config.archive.directory)


def database(config: Config) -> str | Path:
    return config.archive.database or config.archive.directory / "archive.db"


def place(config: Config) -> Database:
    return locate(database(config))
