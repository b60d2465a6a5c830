"""An archive that adopts files of other tools, and folders as these tools leave them."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from archiver.archive.archive import Archive
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, record
from archiver.config import Config, load
from archiver.model.foreign_files import AdoptionReport, WaitingFile
from archiver.model.upstream import HighlightPage
from archiver.sandbox import media_files
from archiver.sandbox.world_objects import SandboxAccount
from tests.support.catalog_samples import FACTS, rows
from tests.support.databases import ARCHIVE_ID, NOW
from tests.support.disk_limits import new_disk_blobs
from tests.support.media_samples import jpeg, mp4

ITEM, OTHER_ITEM = "3791389236377157633", "3791434534860357634"
HIGHLIGHT = "17983616051768088"
PHOTO, VIDEO = jpeg(3000), mp4()
STAMP = NOW.strftime("%Y-%m-%d_%H-%M-%S")
FOLDER = f"natgeo/highlights/{HIGHLIGHT}_Gift Guide"
"""Where insta-dl puts the items of a highlight."""


@dataclass
class AdoptingArchive:
    """An empty archive at ``root``. ``database``: a new one, which is moved there if it is a file."""

    root: Path
    database: str | Path

    def __post_init__(self) -> None:
        new_disk_blobs(self.root).close()
        marker.write(self.root, Marker(ARCHIVE_ID))
        if isinstance(self.database, Path):
            self.database = self.database.rename(self.root / "archive.db")

    @cached_property
    def config(self) -> Config:
        variables = {"ARCHIVER_ARCHIVE": str(self.root), "ARCHIVER_ARCHIVE_RESERVE": "0"}
        if isinstance(self.database, str):
            variables["ARCHIVER_ARCHIVE_DATABASE"] = self.database
        return load(None, variables)

    def adopt(self, *directories: Path, **options: Any) -> AdoptionReport:
        with Archive(self.config) as archive:
            return archive.adopt(directories, clock=lambda: NOW, **options)

    def counts(self, *directories: Path, **options: Any) -> tuple[int, int, int, int]:
        """Adopt, and return how many files were adopted, are waiting, known and refused."""
        report = self.adopt(*directories, **options)
        return report.adopted, report.waiting, report.known, len(report.refused)

    def refusals(self, *directories: Path, **options: Any) -> dict[str, str]:
        """Adopt, and return the reason for each refused name."""
        return {Path(one.path).name: one.reason for one in self.adopt(*directories, **options).refused}

    def answer(self, page: HighlightPage, now: datetime = NOW) -> None:
        """Record a page as a run does that was answered with it."""
        with Catalog.open(self.database, write=True) as catalog:
            run_id = catalog.write(record.start_run, "run", now)
            catalog.write(record.record_page, run_id, None, page, FACTS, now)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with Catalog.open(self.database, write=False) as catalog:
            return rows(catalog, sql)

    def files(self) -> list[tuple[object, ...]]:
        """Return item, role and source of all files of items, in the order in which they were recorded."""
        return self.rows("SELECT item_pk, role, source FROM files WHERE item_pk IS NOT NULL ORDER BY id")

    def waiting(self) -> list[WaitingFile]:
        with Archive(self.config) as archive:
            return list(archive.waiting_files())

    def current(self, item_pk: str) -> list[tuple[str, int]]:
        """Return the role and the size of the current files of an item."""
        with Archive(self.config) as archive:
            return [(file.role.value, file.blob.size) for file in archive.item(item_pk).held]


def put(folder: Path, files: dict[str, bytes] | Iterable[str]) -> Path:
    """Write files below a folder, photos unless their bytes are given; return the folder."""
    for name, content in (files if isinstance(files, dict) else dict.fromkeys(files, PHOTO)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def saved_by_insta_dl(account: SandboxAccount, *, own_bytes: bool) -> dict[str, bytes]:
    """Return the items of an account as insta-dl saves them: with Instagram's bytes, or other ones."""
    files = {}
    for highlight in account.highlights:
        for number, item in enumerate(highlight.items):
            file = item.video or item.thumbnail
            if file is None:
                continue
            stamp = datetime.fromtimestamp(item.taken_at, UTC).strftime("%Y-%m-%d_%H-%M-%S")
            name = f"{stamp}_{item.pk}.{'mp4' if item.video else 'jpg'}"
            other = mp4(size=5000 + number) if item.video else jpeg(3000 + number)
            content = media_files.body(file) if own_bytes else other
            files[f"{account.username}/highlights/{highlight.pk}_Trip/{name}"] = content
    return files


def insta_dl_name(item_pk: str = ITEM, suffix: str = ".jpg") -> str:
    return f"{FOLDER}/{STAMP}_{item_pk}{suffix}"


def of_nobody(item_pk: str = OTHER_ITEM) -> str:
    """Return the name that insta-dl gives an item of an account that no archive knows."""
    return f"somebody/highlights/5_Trip/{STAMP}_{item_pk}.jpg"


def gallery_dl_metadata(item_pk: str = ITEM, **fields: object) -> bytes:
    """Return what ``--write-metadata`` writes about an item of a highlight."""
    known = {"category": "instagram", "type": "highlight", "media_id": item_pk, "post_id": HIGHLIGHT}
    return json.dumps(known | {"username": "natgeo", "highlight_title": "Gift Guide"} | fields).encode()


def instaloader_metadata(item_pk: str = ITEM, *, node_type: str = "StoryItem", **fields: object) -> bytes:
    """Return what instaloader writes about an item."""
    node = {"id": item_pk, "owner": {"id": "787132", "username": "natgeo"}} | fields
    known = {"node": node, "instaloader": {"version": "4.16", "node_type": node_type}}
    return lzma.compress(json.dumps(known).encode(), check=lzma.CHECK_NONE)
