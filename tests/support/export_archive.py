"""A small archive with real bytes, on either database, and its exports."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Unpack

from archiver.archive.archive import Archive
from archiver.archive.selection import Narrowing
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, record
from archiver.catalog.record.stored_files import StoredFile
from archiver.config import Config, load
from archiver.export.export_entry import ExportStats
from archiver.export.export_paths import DEFAULT_TEMPLATE
from archiver.export.link_methods import LinkMethod
from archiver.model.archived import Blob, File, Owner
from archiver.model.identity import Digest, Role, Subject
from archiver.model.upstream import Item
from archiver.model.values import replace
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import FACTS, NATGEO, highlight, page, tray, video
from tests.support.databases import ARCHIVE_ID, NOW
from tests.support.disk_limits import disk_blobs, new_disk_blobs

_MIMES = {Role.VIDEO: "video/mp4"}


@dataclass(slots=True)
class ExportHarness:
    """An archive below ``home``; exports go to ``home/out``."""

    home: Path
    database: str | None
    run_id: int = 0

    @classmethod
    def make(cls, home: Path, database: str | Path) -> ExportHarness:
        """Make the archive with an empty database."""
        harness = cls(home, database if isinstance(database, str) else None)
        new_disk_blobs(harness.root).close()
        if isinstance(database, Path):
            shutil.move(database, harness.root / "archive.db")
        marker.write(harness.root, Marker(ARCHIVE_ID))
        with harness.catalog() as rows:
            harness.run_id = rows.write(record.start_run, "run", NOW)
        return harness

    @classmethod
    def copied(
        cls, home: Path, copies: ArchiveCopies, name: str, fill: Callable[[ExportHarness], None]
    ) -> ExportHarness:
        """Return one on SQLite as ``fill`` leaves it: a copy of the one that was called ``name`` first."""

        def make(workshop: Path) -> Path:
            database = workshop / "new.db"
            Catalog.create(database, ARCHIVE_ID, NOW).close()
            first = cls.make(workshop, database)
            fill(first)
            return first.root

        harness = cls(home, None, run_id=1)
        copies.copy(f"exported-{name}", make, harness.root)
        return harness

    @classmethod
    def filled(cls, home: Path, copies: ArchiveCopies) -> ExportHarness:
        """Return one on SQLite as its own ``fill`` leaves it."""
        return cls.copied(home, copies, "filled", cls.fill)

    @property
    def root(self) -> Path:
        return self.home / "archive"

    @property
    def out(self) -> Path:
        return self.home / "out"

    @property
    def environ(self) -> dict[str, str]:
        """What names the archive to the program."""
        more = {"ARCHIVER_ARCHIVE_DATABASE": self.database} if self.database else {}
        return {"ARCHIVER_ARCHIVE": str(self.root), **more}

    @property
    def config(self) -> Config:
        return load(None, self.environ)

    def run_on_list(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run SQL on the export's own list, and return its rows."""
        with closing(sqlite3.connect(self.out / ".archiver-export" / "files.db")) as rows, rows:
            return rows.execute(sql, values).fetchall()

    def catalog(self) -> Catalog:
        """Open for writing."""
        return Catalog.open(self.database or self.root / "archive.db", write=True)

    def show(
        self,
        titles: Mapping[str, str | None],
        items: Mapping[str, tuple[Item | str, ...]],
        when: datetime = NOW,
    ) -> None:
        """A night: natgeo's tray shows these highlights (pk → title), with these items in each."""
        with self.catalog() as rows:
            shown = [highlight(pk, title) for pk, title in titles.items()]
            rows.write(record.record_tray, self.run_id, NATGEO.pk, tray(*shown), when)
            for pk, inside in items.items():
                rows.write(
                    record.record_page, self.run_id, 1, page(pk, *inside, title=titles[pk]), FACTS, when
                )

    def rename(self, username: str, when: datetime) -> None:
        """Give the account another name."""
        with self.catalog() as rows:
            rows.write(
                record.record_tray,
                self.run_id,
                NATGEO.pk,
                tray(user=replace(NATGEO, username=username)),
                when,
            )

    def keep(self, pk: str, role: Role, content: bytes, when: datetime = NOW, mime: str = "") -> Digest:
        """A file of an item, a highlight or an account, by its role."""
        (digest,) = self.keep_all([(pk, role, content)], when, mime)
        return digest

    def keep_all(
        self, files: Iterable[tuple[str, Role, bytes]], when: datetime = NOW, mime: str = ""
    ) -> list[Digest]:
        """Several files: as ``keep`` of each, but that the archive is opened once."""
        kept = []
        with disk_blobs(self.root) as store, self.catalog() as rows:
            store.prepare()
            for pk, role, content in files:
                with store.draft() as draft:
                    draft.write(content)
                    digest, size = store.put(draft)
                subject = {Role.COVER: Subject.HIGHLIGHT, Role.AVATAR: Subject.USER}.get(role, Subject.ITEM)
                blob = Blob(digest, size, mime or _MIMES.get(role, "image/jpeg"))
                file = File(Owner(subject, pk), role, blob, "https://scontent.cdninstagram.com/v/a.php")
                rows.write(record.record_files, [StoredFile(file, 1, when)], run_id=self.run_id)
                kept.append(digest)
        return kept

    def fill(self) -> None:
        """Two highlights: a photo and a video in the first, the video in the second too; covers and an
        avatar.
        """
        photo = video("10", media_type=1, code="Cphoto")
        self.show({"1": "Gift: Guide", "2": "Travel 🦋"}, {"1": (photo, video("11")), "2": (video("11"),)})
        self.keep_all(
            [
                ("10", Role.THUMBNAIL, b"photo"),
                ("11", Role.THUMBNAIL, b"poster"),
                ("11", Role.VIDEO, b"video"),
                ("1", Role.COVER, b"cover"),
                (NATGEO.pk, Role.AVATAR, b"avatar"),
            ]
        )

    def blob(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest[:2] / digest

    def export(
        self,
        template: str = DEFAULT_TEMPLATE,
        *,
        to: Path | None = None,
        gone: bool = True,
        sidecars: bool = False,
        way: LinkMethod = LinkMethod.AUTO,
        prune: bool = False,
        dry_run: bool = False,
        **narrowing: Unpack[Narrowing],
    ) -> ExportStats:
        """Export to a folder."""
        with Archive(self.config) as archive:
            return archive.export_folder(
                to or self.out,
                template=template,
                sidecars=sidecars,
                gone=gone,
                link=way,
                prune=prune,
                dry_run=dry_run,
                **narrowing,
            )

    def export_as(
        self,
        form: str,
        link: LinkMethod = LinkMethod.AUTO,
        *,
        dry_run: bool = False,
        prune: bool = False,
    ) -> ExportStats:
        """Export as a folder, site or bag."""
        with Archive(self.config) as archive:
            exports: dict[str, Callable[..., ExportStats]] = {
                "folder": archive.export_folder,
                "site": archive.export_site,
                "bagit": archive.export_bagit,
            }
            return exports[form](self.out, link=link, dry_run=dry_run, prune=prune)


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of every file below, without the export's own."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".archiver-export" not in path.parts
    }


def directories(root: Path) -> set[str]:
    """Return every directory below, without the export's own."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_dir() and ".archiver-export" not in path.parts
    }
