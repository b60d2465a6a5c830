"""Whole nights over real sockets: what is kept, what it costs, and what costs nothing. Words that databases,
files and terminals choke on, or take for commands, are kept as words.
"""

from __future__ import annotations

import hashlib
import zlib

import pytest

from archiver.archive.archive import Archive
from archiver.errors import Reason
from archiver.model.target import parse_target
from archiver.sandbox import media_files
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import postgres_when_whole, sqlite_when_whole
from tests.support.standin import actions
from tests.support.standin.faulty_standin import paid_calls
from tests.support.standin.world_edits import EditableWorld

DROP = "'); DROP TABLE highlights; --"
TITLE = "select title from highlights where pk = ?"

NATGEO, SALWA = "787132", "75885841119"
GIFT, BOTW, LIMITLESS = "17983616051768088", "18018069326790931", "17893209825281221"
ME = "18085475671830440"
BOTH = ("natgeo", "salwaaa_ki")


@pytest.fixture
def full(either: ArchiveHarness) -> ArchiveHarness:
    """The same with all of their items."""
    either.upstream.world = EditableWorld.seed()
    return either


@postgres_when_whole
def test_the_first_night_keeps_both_accounts_whole(full: ArchiveHarness) -> None:
    """Every offered file is a blob under its hash with a row, and the units are those of the tariff: 2 + 3
    and 2 + 1. An item in two highlights is one File with two rows of membership, and two items with the same
    bytes share one blob.
    """
    summary = full.night(*BOTH)
    assert (summary.exit_code, summary.units, summary.outcome) == (0, 8, "ok")
    assert (summary.accounts, summary.highlights_listed, summary.highlights_fetched) == (2, 4, 4)
    assert full.upstream.units == 8
    for sha256, size in full.rows("select sha256, size from blobs"):
        path = full.root / "blobs" / str(sha256)[:2] / str(sha256)
        data = path.read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (sha256, size)
    offered = sum(
        (i.thumbnail is not None) + (i.video is not None)
        for a in full.upstream.world.accounts
        for i in {i.pk: i for h in a.highlights for i in h.items}.values()
    )
    assert full.one("select count(*) from files where item_pk is not null") == offered
    assert full.one("select count(*) from files where role = 'cover'") == 4
    assert full.one("select count(*) from files where role = 'avatar'") == 2
    assert full.one("select count(*) from highlights where completed_at is null") == 0
    assert full.one("select count(*) from changes") == 0
    shared = full.rows("select item_pk from highlight_items group by item_pk having count(*) > 1")
    assert len(shared) >= 1
    assert len(full.upstream.requests.cdn_requests(item=str(shared[0][0]), role="thumbnail")) == 1
    twins = full.rows(
        "select sha256 from files where item_pk is not null group by sha256 having "
        "count(distinct item_pk) > 1"
    )
    assert len(twins) >= 1
    assert full.one("select username from users where pk = ?", NATGEO) == "natgeo"


@postgres_when_whole
def test_a_quiet_night_costs_a_unit_an_account_and_downloads_nothing(either: ArchiveHarness) -> None:
    """Although every answer signs all URLs anew, and media_count says 98 where 2 items come."""
    either.night(*BOTH)
    summary = either.night(*BOTH)
    assert (summary.exit_code, summary.units, summary.api_calls, summary.files_new) == (0, 2, 2, 0)
    assert either.upstream.requests.cdn_requests() == []
    paths = {asked.path for asked in paid_calls(either.upstream.requests)}
    assert paths == {"/v1/user/highlights"}
    assert either.one("select count(*) from changes") == 0


def test_only_the_changed_highlight_is_paid_for(either: ArchiveHarness) -> None:
    """A new item costs one unit more and its own files; the others of the account cost nothing."""
    either.night("natgeo")
    item = either.upstream.world.add_item(BOTW, "video")
    summary = either.night("natgeo")
    assert (summary.exit_code, summary.units, summary.items_new, summary.files_new) == (0, 2, 1, 2)
    assert len(either.upstream.requests.cdn_requests()) == 2
    changes = either.rows("select subject, subject_pk, field, old, new from changes")
    assert changes == [("highlight", BOTW, "items", None, item.pk)]


@pytest.mark.whole
@postgres_when_whole
def test_fault_c3_a_video_gone_for_ever_costs_nothing_between_its_back_offs(either: ArchiveHarness) -> None:
    """Its 404 is recorded; the next nights retry from the kept answer for 0 units, then leave it alone."""
    item = either.upstream.world.highlight(GIFT).items[1]
    either.upstream.faults.add(
        actions.respond(404), listener="cdn", item=item.pk, role="thumbnail", count=None
    )
    first = either.night("natgeo")
    assert (first.exit_code, first.files_failed) == (3, 1)
    assert first.failures[0].reason is Reason.NOT_FOUND
    nights = [either.night("natgeo") for _ in range(4)]
    assert [night.units for night in nights] == [1, 1, 1, 1]
    assert nights[-1].exit_code == 0
    assert either.upstream.requests.cdn_requests() == []
    assert either.one("select completed_at from highlights where pk = ?", GIFT) is None
    assert either.one("select attempts from failures where role = 'thumbnail'") == 3


@postgres_when_whole
def test_fault_a6_a_listed_highlight_that_answers_404_is_recorded_and_passed_over(
    either: ArchiveHarness,
) -> None:
    """The run goes on and ends well; it is not asked for again until its back-off is over."""
    either.upstream.world.lose_page(BOTW)
    summary = either.night("natgeo")
    assert (summary.exit_code, summary.highlights_fetched) == (0, 2)
    assert either.rows("select subject, subject_pk, reason from failures") == [
        ("highlight", BOTW, "not_found")
    ]
    units = [either.night("natgeo").units for _ in range(4)]
    assert units == [2, 2, 1, 1]
    either.upstream.world.add_item(BOTW)
    assert either.night("natgeo").units == 1


@postgres_when_whole
def test_a_renamed_account_is_followed_by_its_id(either: ArchiveHarness) -> None:
    """The configuration still says the old name: one call by id, none by username, and the rename is
    history.
    """
    either.night("natgeo")
    either.upstream.world.rename("natgeo", "natgeo_official")
    summary = either.night("natgeo")
    assert (summary.exit_code, summary.units) == (0, 1)
    assert {a.path for a in paid_calls(either.upstream.requests)} == {"/v1/user/highlights"}
    assert either.rows("select field, old, new from changes") == [("username", "natgeo", "natgeo_official")]
    names = either.rows("select username from usernames where user_pk = ? order by first_seen_at", NATGEO)
    assert names == [("natgeo",), ("natgeo_official",)]


def test_a_rename_is_reported_whether_a_target_is_a_name_or_an_id(either: ArchiveHarness) -> None:
    """An outdated name in the configuration at each tray; the rename of an account given by id once."""
    rename = "natgeo is now called natgeo_official"
    either.night("natgeo")
    either.upstream.world.rename("natgeo", "natgeo_official")
    reports = []
    for target in (NATGEO, NATGEO, "natgeo", "natgeo"):
        either.night(target)
        reports.append(str(either.events).count(rename))
    assert reports == [1, 0, 1, 1]


@postgres_when_whole
def test_fault_h29_a_vanished_blob_is_fetched_again(either: ArchiveHarness) -> None:
    """At the turn of a file that vanished from the store it is there again, from the kept answer while its
    links live.
    """
    items = (item for each in either.upstream.world.account("natgeo").highlights for item in each.items)
    video = next(item.video for item in items if item.video is not None)
    sha256 = hashlib.sha256(media_files.body(video)).hexdigest()
    either.sleep_until_turn(sha256)
    either.night("natgeo")
    path = either.root / "blobs" / sha256[:2] / sha256
    path.unlink()
    summary = either.night("natgeo")
    assert (summary.exit_code, summary.units) == (0, 1)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert either.one("select count(*) from blobs where lost_at is not null") == 0


@postgres_when_whole
def test_fault_x1_hostile_titles_are_stored_and_never_a_path(either: ArchiveHarness) -> None:
    """Path tricks, NUL, a lone surrogate, a right-to-left override and 10 kB of emoji leave no trace outside
    the database.
    """
    titles = ["../../x", "a\x00b", "cut \ud83d", "\u202egnp.exe", "🦋" * 2500]
    made = [either.upstream.world.add_highlight("salwaaa_ki", title, 1) for title in titles]
    summary = either.night("salwaaa_ki")
    assert summary.exit_code == 0
    stored = {pk: either.one("select title from highlights where pk = ?", pk) for pk in (h.pk for h in made)}
    assert [stored[h.pk] for h in made] == ["../../x", "ab", "cut \ufffd", "\u202egnp.exe", "🦋" * 2500]
    assert sorted(p.name for p in either.root.parent.iterdir()) == ["archive"]


@pytest.mark.whole
@postgres_when_whole
def test_fault_c1_an_expired_link_is_renewed_once_for_all_of_a_highlight(either: ArchiveHarness) -> None:
    """All links of the first answer are past their time: one unit more, and everything is kept."""
    either.upstream.settings.video_life = -5
    either.upstream.settings.image_life = -5

    def recover(_: object) -> None:
        either.upstream.settings.video_life = either.upstream.settings.image_life = 86_400.0

    either.upstream.faults.add(path="/v1/highlight/by/url", nth=2, count=1, before=recover)
    summary = either.night(parse_target(f"highlight:{ME}"))
    assert (summary.exit_code, summary.units) == (0, 2)
    assert either.one("select count(*) from files where item_pk is not null") == 4


@postgres_when_whole
def test_private_and_gone_accounts_cost_a_unit_a_night_at_most(either: ArchiveHarness) -> None:
    """And nothing on the nights between: 1, 3, 7 days; a first look that finds nothing is exit code 6."""
    either.night("natgeo")
    either.upstream.world.set_private("natgeo")
    units = [either.night("natgeo").units for _ in range(3)]
    assert units[0] <= 2
    assert units[1:] == [0, 0]
    assert either.one("select verdict from users where pk = ?", NATGEO) == "private"
    assert either.one("select count(*) from highlights where gone_at is not null") == 0


@pytest.mark.whole
@postgres_when_whole
def test_an_account_without_highlights_costs_a_unit_a_night(either: ArchiveHarness) -> None:
    """It is listed, for a highlight may come any day; the first look costs one more, to tell empty from
    private.
    """
    for highlight in (GIFT, BOTW, LIMITLESS):
        either.upstream.world.remove_highlight(highlight)
    assert [either.night("natgeo").units for _ in range(3)] == [3, 1, 1]
    either.upstream.world.restore_highlight(GIFT)
    summary = either.night("natgeo")
    assert (summary.units, summary.highlights_fetched) == (2, 1)


@pytest.mark.whole
@postgres_when_whole
def test_fault_a5_a_name_that_nobody_has(either: ArchiveHarness) -> None:
    """Exit code 6; asked again it costs one unit, then nothing until its back-off is over."""
    first = either.night("nobody.here")
    assert (first.exit_code, first.units) == (6, 2)
    assert [either.night("nobody.here").units for _ in range(4)] == [1, 1, 0, 0]


@postgres_when_whole
def test_titles_can_be_chosen_by_globs(either: ArchiveHarness) -> None:
    """Every listed highlight has a row; only the matching one is fetched."""
    summary = either.night(parse_target("natgeo", highlights=("BOTW*",)))
    assert (summary.exit_code, summary.units) == (0, 3)
    assert either.one("select count(*) from highlights") == 3
    assert either.rows("select pk from highlights where fetched_at is not null") == [(BOTW,)]


def _paid_for(either: ArchiveHarness) -> bytes:
    """All kept answers, unpacked."""
    plain = b""
    for segment in (either.root / "answers").rglob("*.warc.gz"):
        rest = segment.read_bytes()
        while rest:
            member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            plain += member.decompress(rest)
            rest = member.unused_data
    return plain


@sqlite_when_whole
def test_fault_x2_a_nul_is_left_out_on_the_way_in(either: ArchiveHarness) -> None:
    """In tray and page alike, so that a second night records no change and fetches nothing; what was paid for
    keeps the escape.
    """
    either.upstream.world.retitle(BOTW, "zero\0 width")
    assert either.night("natgeo").exit_code == 0
    assert either.rows("select title, length(title) from highlights where pk = ?", BOTW) == [
        ("zero width", 10)
    ]
    assert b"zero\\u0000 width" in _paid_for(either)
    again = either.night("natgeo")
    assert (again.exit_code, again.units, either.one("select count(*) from changes")) == (0, 1, 0)


@postgres_when_whole
def test_fault_x3_half_a_character_becomes_the_replacement_character(either: ArchiveHarness) -> None:
    """One half of a surrogate pair is stored as U+FFFD, which every database, file and terminal takes; a
    whole pair stays what it is.
    """
    either.upstream.world.retitle(GIFT, "half \ud83d moon \ud83c\udf19")
    assert either.night("natgeo").exit_code == 0
    assert either.one(TITLE, GIFT) == "half \ufffd moon \U0001f319"
    assert b"half \\ud83d moon" in _paid_for(either)
    again = either.night("natgeo")
    assert (again.exit_code, again.units, either.one("select count(*) from changes")) == (0, 1, 0)


@sqlite_when_whole
def test_fault_x9_words_that_look_like_sql_are_words(either: ArchiveHarness) -> None:
    """As a title, as the name of an account, as a target of the command line: stored and compared as they
    are.
    """
    either.upstream.world.retitle(BOTW, DROP)
    either.upstream.world.retitle(GIFT, "100%_")
    either.upstream.world.retitle(LIMITLESS, ":name ? %(name)s $1 \\")
    assert either.night("natgeo").exit_code == 0
    assert either.one(TITLE, BOTW) == DROP
    assert either.one(TITLE, GIFT) == "100%_"
    assert either.one(TITLE, LIMITLESS) == ":name ? %(name)s $1 \\"
    with Archive(either.config) as archive:
        found = archive.query("SELECT pk FROM highlights WHERE title LIKE '100!%!_' ESCAPE '!'")
    assert found.rows == ((GIFT,),)
    either.upstream.world.retitle(BOTW, DROP + DROP)
    assert either.night("natgeo").exit_code == 0
    assert either.rows("select old, new from changes where field = 'title'") == [(DROP, DROP + DROP)]
