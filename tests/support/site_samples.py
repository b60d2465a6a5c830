"""Small archives as an export reads them, and a site in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from archiver.export.export_entry import GeneratedText
from archiver.export.site_builder import FormerTitles, site_entries
from archiver.model.archived import Blob, KeptAccount, KeptFile, KeptHighlight, KeptItem, Owner, Placed
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink
from archiver.sandbox import media_files

NOW = datetime(2025, 12, 4, 15, 0, tzinfo=UTC)
Step = KeptAccount | KeptHighlight | Placed


def file_of(pk: Pk, role: Role, mime: str) -> KeptFile:
    """A file of an item that is held."""
    digest = Digest(hashlib.sha256(f"{pk} {role}".encode()).hexdigest())
    return KeptFile(Owner(Subject.ITEM, pk), role, Blob(digest, 1234, mime, 540, 960), "", NOW, NOW)


def account(text: str = "natgeo", pk: Pk = "1", **more: object) -> KeptAccount:
    told: dict[str, object] = {"username": text, "full_name": text, "is_private": False, "is_verified": True}
    return KeptAccount(pk, **{**told, **more}, first_seen_at=NOW, last_seen_at=NOW)  # type: ignore[arg-type]


def highlight(pk: Pk = "10", title: str = "Gifts", gone_at: datetime | None = None) -> KeptHighlight:
    return KeptHighlight(pk, "1", title, 0, NOW, True, 1, NOW, NOW, gone_at=gone_at)


def place_item(
    pk: Pk = "100",
    *files: KeptFile,
    highlight_pk: Pk = "10",
    gone_at: datetime | None = None,
    **more: object,
) -> Placed:
    """Return an item in its place; a photo by default."""
    told: dict[str, object] = {"code": "C", "taken_at": NOW + timedelta(seconds=int(pk)), "media_type": 1}
    told |= {"product_type": None, "video_duration": None, "first_seen_at": NOW, "files": files, **more}
    return Placed(highlight_pk, 0, KeptItem(pk, "1", **told), NOW, NOW, gone_at)  # type: ignore[arg-type]


def photo(pk: Pk = "100", **more: object) -> Placed:
    return place_item(pk, file_of(pk, Role.THUMBNAIL, "image/jpeg"), **more)  # type: ignore[arg-type]


def video(pk: Pk = "100", **more: object) -> Placed:
    files = file_of(pk, Role.THUMBNAIL, "image/jpeg"), file_of(pk, Role.VIDEO, "video/mp4")
    return place_item(pk, *files, media_type=2, **more)  # type: ignore[arg-type]


def highlight_saying(text: str, url: str) -> Iterator[Step]:
    """Yield an account that has ``text`` wherever text is possible, and links to ``url``."""
    yield account(text, usernames=(text, text + "2"))
    yield highlight(title=text)
    yield photo(
        mentions=(Mention(text, "2", text),),
        web_links=(WebLink(url, text, text), WebLink(url)),
        hashtags=(Hashtag(text),),
        locations=(Location(text, "3", 1.0, 2.0),),
        stickers=(
            Sticker(text, text),
            Sticker("poll", '{"question":"?","options":[{"text":"a","count":1}]}'),
        ),
        sponsors=(Sponsor(text),),
        reshares=(Reshare("4", text),),
    )
    yield highlight("11", text, gone_at=NOW)
    yield photo("101", highlight_pk="11", gone_at=NOW)


@dataclass(slots=True)
class WrittenSite:
    """A site: its texts, and the paths of its media."""

    files: dict[str, bytes] = field(default_factory=dict)
    media: list[str] = field(default_factory=list)

    @property
    def pages(self) -> dict[str, str]:
        return {path: content.decode() for path, content in self.files.items() if path.endswith(".html")}

    def write(self, directory: Path) -> Path:
        """Write the pages and the media, which are all the same photo or video, and return the directory."""
        kinds = {"jpg": media_files.PHOTOS[0], "mp4": media_files.VIDEOS[0]}
        media = {path: media_files.base(kinds[path.rpartition(".")[2]]) for path in self.media}
        for path, content in (self.files | media).items():
            there = directory / path
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(content)
        return directory

    def page(self, name: str) -> str:
        """Return a page below ``accounts/``, which has only one account."""
        (page,) = (
            page for path, page in self.pages.items() if "/" in path and path.endswith(f"/{name}.html")
        )
        return page


def write_site(*steps: Step, titles: FormerTitles = lambda pk: {}, gone: bool = True) -> WrittenSite:
    """Return the site of these steps."""
    made = WrittenSite()
    ids = set()
    for file in site_entries(steps, titles, with_gone=gone):
        path = "/".join(file.path)
        assert file.id not in ids
        assert path not in made.files
        ids.add(file.id)
        if isinstance(file.content, GeneratedText):
            made.files[path] = file.content.bytes
        else:
            made.media.append(path)
    return made
