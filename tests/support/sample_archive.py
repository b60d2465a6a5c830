"""An archive to read in: natgeo, three highlights, their files on the disk and the answers that they came
with.

Highlight 1 shows items 10 and 11, highlight 2 shows 20 and 10; highlight 3, which nobody shows any more, is
titled to harm readers.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from archiver.answers.answer_store import AnswerStore
from archiver.archive.creation import create_archive
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, ledger, record
from archiver.catalog.record.stored_files import StoredFile
from archiver.config import load
from archiver.model.api_calls import Answer, Call, Limits
from archiver.model.archived import Blob, File, Owner
from archiver.model.identity import Digest, Role, Subject
from archiver.model.upstream import (
    Hashtag,
    Highlight,
    HighlightPage,
    Item,
    Link,
    Location,
    Mention,
    Tray,
    TrayNumbers,
    User,
    WebLink,
)
from archiver.sandbox.standin import StandIn
from archiver.store import disk
from tests.support.databases import ARCHIVE_ID, NOW
from tests.support.disk_limits import new_disk_blobs

NIGHTLY_CONFIG = """
[archive]
reserve = 0
[api]
base_url = "{base_url}"
token_file = "hikerapi.token"
[download]
allowed_hosts = ["127.0.0.1"]
[[accounts]]
username = "natgeo"
"""


def make_nightly(home: Path, upstream: StandIn) -> None:
    """Make the empty archive ``nightly`` in ``home``, and ``nightly.toml``, its settings for a stand-in."""
    config, token = home / "nightly.toml", home / "hikerapi.token"
    config.write_text(NIGHTLY_CONFIG.format(base_url=upstream.base_url))
    token.write_text(upstream.key)
    for file in (config, token):
        file.chmod(0o600)
    create_archive(load(config, {}, {"archive.directory": str(home / "nightly")}))


HOSTILE = "\x1b[2J<img src=x onerror=alert(1)>\n\u202e=1+1"
LATER = NOW + timedelta(days=1)
PICTURE, VIDEO = b"\xff\xd8\xff\xe0 picture ", b"\0\0\0\x18ftypmp42 video "
FACTS = TrayNumbers(1_766_242_839, 2)
NATGEO = User("787132", "natgeo", "National Geographic", False, True, None, "natgeo.jpg")
FILES = (
    ("787132", Role.AVATAR),
    *(("1", Role.COVER), ("3", Role.COVER)),
    *(("10", Role.THUMBNAIL), ("10", Role.VIDEO), ("11", Role.THUMBNAIL), ("20", Role.THUMBNAIL)),
    *(("20", Role.VIDEO), ("30", Role.THUMBNAIL)),
)

_SUBJECTS = {Role.COVER: Subject.HIGHLIGHT, Role.AVATAR: Subject.USER}
_CARRIED: dict[str, Any] = {
    "mentions": (Mention("nasa", "528817151"),),
    "web_links": (WebLink("https://example.com/whales"),),
    "hashtags": (Hashtag("wild"),),
    "locations": (Location("Kamchatka", "213", 56.0, 160.0),),
}


def shelve(root: Path, database: str | Path) -> None:
    """Make the archive at ``root``; ``database`` is a new one."""
    root.mkdir(exist_ok=True)
    marker.write(root, Marker(ARCHIVE_ID))
    with Catalog.open(database, write=True) as catalog, new_disk_blobs(root) as store:
        store.prepare()
        run_id = catalog.write(record.start_run, "run", NOW)
        answer_id = _keep(catalog, root, run_id)
        titles = {"1": "Whales", "2": "Gift Guide", "3": HOSTILE}
        catalog.write(record.record_tray, run_id, NATGEO.pk, _tray(titles, "2", "1", "3"), NOW)
        for page in (
            _page("3", titles, _item("30", 1, mentions=(Mention(HOSTILE),))),
            _page("2", titles, _item("20", taken_at=NOW - timedelta(days=2)), _item("10")),
            _page("1", titles, _item("10", **_CARRIED), _item("11", 1)),
        ):
            catalog.write(record.record_page, run_id, answer_id, page, FACTS, NOW)
        for pk, role in FILES:
            catalog.write(
                record.record_files, [StoredFile(_file(store, pk, role), answer_id, NOW)], run_id=run_id
            )
        catalog.write(record.record_completion, "1", (), NOW)
        titles["2"] = "Gifts"
        catalog.write(record.record_tray, run_id, NATGEO.pk, _tray(titles, "2", "1"), LATER, gone=("3",))


def content(pk: str, role: Role) -> bytes:
    """The bytes of a file."""
    return (VIDEO if role is Role.VIDEO else PICTURE) + f"{pk} {role}".encode()


def digest(pk: str, role: Role) -> Digest:
    """What they are kept under."""
    return Digest(hashlib.sha256(content(pk, role)).hexdigest())


def _keep(catalog: Catalog, root: Path, run_id: int) -> int:
    call = Call("/v1/highlight/by/url", (), "1", 1)
    call_id = catalog.write(ledger.reserve, run_id, call, NOW, Limits())
    headers = (("content-type", "application/json"),)
    answer = Answer(
        call, "https://api.hikerapi.com/v1/highlight/by/url", 200, headers, b'{"pk": "1"}', NOW, NOW
    )
    with AnswerStore(disk.Objects(root)).writer(run_id, NOW) as writer:
        kept = writer.keep(answer, is_tray=False)
    answer_id = catalog.write(ledger.settle, call_id, 200, 1, NOW, kept, FACTS)
    assert answer_id is not None
    return answer_id


def _highlight(pk: str, titles: dict[str, str]) -> Highlight:
    return Highlight(
        pk, NATGEO, titles[pk], created_at=NOW, numbers=FACTS, is_pinned=False, cover_name=f"{pk}.jpg"
    )


def _tray(titles: dict[str, str], *pks: str) -> Tray:
    return Tray(NATGEO, tuple(_highlight(pk, titles) for pk in pks))


def _page(pk: str, titles: dict[str, str], *items: Item) -> HighlightPage:
    return HighlightPage(_highlight(pk, titles), items)


def _item(pk: str, media_type: int = 2, taken_at: datetime = NOW, **carried: Any) -> Item:
    links = tuple(Link(role, _url(pk, role)) for role in (Role.THUMBNAIL, Role.VIDEO)[:media_type])
    duration = 14.5 if media_type == 2 else None
    code = f"C{pk}-code" if pk != "30" else "C30Code"  # which could be a username
    return Item(pk, NATGEO.pk, code, taken_at, media_type, "story", duration, links, **carried)


def _file(store: BlobStore, pk: str, role: Role) -> File:
    with store.draft() as draft:
        draft.write(content(pk, role))
        sha256, size = store.put(draft)
    mime = "video/mp4" if role is Role.VIDEO else "image/jpeg"
    owner = Owner(_SUBJECTS.get(role, Subject.ITEM), pk)
    return File(owner, role, Blob(sha256, size, mime, 720, 1280), _url(pk, role))


def _url(pk: str, role: Role) -> str:
    return f"https://scontent.cdninstagram.com/v/{pk}.{role}"
