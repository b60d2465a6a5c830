"""A small archive after three runs over two accounts, with something of everything that the views show."""

from __future__ import annotations

from datetime import timedelta

from archiver.catalog import Catalog, ledger, merge, record
from archiver.catalog.record.stored_files import StoredFile
from archiver.errors import Reason
from archiver.model.api_calls import Limits
from archiver.model.archived import Failure
from archiver.model.identity import Role, Subject
from archiver.model.upstream import (
    Hashtag,
    Highlight,
    HighlightPage,
    Item,
    Location,
    Mention,
    Tray,
    User,
    WebLink,
)
from tests.support.catalog_samples import (
    FACTS,
    LATER,
    LATEST,
    NATGEO,
    call,
    digest,
    file_of,
    highlight,
    page,
    tray,
    video,
)
from tests.support.databases import NOW

NASA = User("42", "nasa", "NASA", False, True, None, "nasa.jpg")
RENAMED = User("42", "nasa_gov", "NASA", False, True, None, "nasa.jpg")
_FAIR = "https://WWW.Example.org:443/旅行?x=1"


def record_three_nights(catalog: Catalog) -> None:
    """Fill a new archive."""
    run = catalog.write(record.start_run, "run", NOW)
    _pay(catalog, run, NATGEO.pk, "/v1/user/highlights")
    _pay(catalog, run, "1", "/v1/highlight/by/url")
    _pay(catalog, run, "nasa", "/v1/user/highlights/by/username")
    _pay(catalog, run, "-", "/sys/balance", 0)
    catalog.write(record.record_tray, run, NATGEO.pk, tray("1", "2", "3"), NOW)
    catalog.write(
        record.record_page, run, None, page("1", _rich(), "12", video("13", media_type=1)), FACTS, NOW
    )
    catalog.write(record.record_page, run, None, page("2", "12", "14"), FACTS, NOW)
    catalog.write(record.record_tray, run, NASA.pk, Tray(NASA, (Highlight("5", NASA, "Moon"),)), NOW)
    catalog.write(record.record_page, run, None, _moon(), FACTS, NOW)
    for pk in ("11", "12", "14", "51"):
        catalog.write(record.record_files, [StoredFile(file_of(pk), None, NOW)], run_id=run)
    for pk in ("11", "12", "13"):
        catalog.write(record.record_files, [StoredFile(file_of(pk, Role.THUMBNAIL), None, NOW)], run_id=run)
    catalog.write(record.record_files, [StoredFile(file_of("1", Role.COVER), None, NOW)], run_id=run)
    catalog.write(record.record_files, [StoredFile(file_of(NATGEO.pk, Role.AVATAR), None, NOW)], run_id=run)
    failed = Failure(Subject.ITEM, "14", Role.THUMBNAIL, Reason.NETWORK, "no route")
    catalog.write(record.record_failure, failed, NOW)
    catalog.write(record.finish_run, run, NOW, "ok", 0)
    _later(catalog)


def _later(catalog: Catalog) -> None:
    """What the owners edited, added and removed, and what was lost and found again."""
    run = catalog.write(record.start_run, "run", LATER)
    retitled = tray(highlight("1", "BOTW"), "2", "3")
    catalog.write(record.record_tray, run, NATGEO.pk, retitled, LATER)
    again = page("1", "11", "12", "15", title="BOTW")
    catalog.write(record.record_page, run, None, again, FACTS, LATER, gone=("13",))
    for content in ("15 video", "15 at the same moment"):
        catalog.write(
            record.record_files, [StoredFile(file_of("15", content=content), None, LATER)], run_id=run
        )
    catalog.write(
        record.record_files, [StoredFile(file_of("11", content="encoded anew"), None, LATER)], run_id=run
    )
    catalog.write(
        record.record_files,
        [StoredFile(file_of("51", Role.THUMBNAIL, content="11 video"), None, LATER)],
        run_id=run,
    )
    catalog.write(record.record_lost_blobs, [digest("12 video"), digest("14 video")], LATER)
    catalog.write(record.record_files, [StoredFile(file_of("14"), None, LATER)], run_id=run)
    _reread(catalog)
    last = catalog.write(record.start_run, "run", LATEST)
    catalog.write(
        record.record_files, [StoredFile(file_of("11"), None, LATEST)], run_id=last
    )  # offered as it was first
    catalog.write(record.record_tray, last, NASA.pk, Tray(RENAMED, ()), LATEST, gone=("5",))
    # The collaborator whose tray lists it now has the highlight, and all that is in it.
    moved = Tray(RENAMED, (Highlight("2", RENAMED, "Gift Guide"),))
    catalog.write(record.record_tray, last, RENAMED.pk, moved, LATEST + timedelta(days=40))


def _reread(catalog: Catalog) -> None:
    """A kept answer tells that an item was there already in the month before."""
    told = dict.fromkeys(("code", "taken_at", "media_type", "product_type", "video_duration", "answer_id"))
    row = {"pk": "15", "user_pk": NATGEO.pk, "first_seen_at": NOW + timedelta(minutes=15), **told}
    catalog.write(merge.merge_rows, "items", [row])


def _rich() -> Item:
    return video(
        "11",
        user_pk="999",  # a stranger
        mentions=(Mention("friend", "9", "A Friend"), Mention("nasa", "42")),
        web_links=(
            WebLink(_FAIR),
            WebLink("https://www.example.org./", "Fair", source="sticker"),
            WebLink("mailto:a@b.c"),
        ),
        hashtags=(Hashtag("旅行"),),
        locations=(Location("Rome", "3", 41.5, 12.5),),
    )


def _moon() -> HighlightPage:
    item = Item("51", NASA.pk, "C51", NOW + timedelta(hours=1), 2, mentions=(Mention("natgeo", NATGEO.pk),))
    return HighlightPage(Highlight("5", NASA, "Moon"), (item,))


def _pay(catalog: Catalog, run: int, subject: str, path: str, units: int = 1) -> None:
    row = catalog.write(ledger.reserve, run, call(units, subject, path), NOW, Limits())
    catalog.write(ledger.settle, row, 200, units, NOW)
