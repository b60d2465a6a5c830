"""``archiver forget``: nothing of the account is left, and everything of the others is."""

from __future__ import annotations

import json
import shutil
import sqlite3
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from archiver.archive import account_traces
from archiver.archive.archive import Archive
from archiver.archive.rebuild_archive import plan_rebuild
from archiver.archive.session import WritableSession, open_for_writing
from archiver.blobs import marker
from archiver.catalog import Catalog
from archiver.config import load
from archiver.errors import (
    ArchiveLocked,
    ArchiveTooOld,
    DatabaseError,
    JournalDiffers,
    MarkerMismatch,
    NotHeld,
    StorageError,
    UsageError,
)
from archiver.model.target import parse_target
from archiver.work import Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import PostgresServer, make_too_old
from tests.support.forgotten_account import (
    FORMER,
    NAME,
    OTHER,
    archive_both,
    digests_of,
    find_words,
    leave_traces,
    make_world,
    words_of,
)
from tests.support.rebuilt_archive import (
    all_rows,
    lose_database,
    rebuild,
    require_equal_after_rebuild,
    rows_of,
)
from tests.support.s3_server import BUCKET, QUICK, S3Server
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.table_dumps import execute


@dataclass
class ForgettingArchive:
    """An archive of two accounts with everything that commands leave; ``places`` are all its files."""

    harness: ArchiveHarness
    places: list[Path]
    words: set[bytes]

    def find(self) -> list[str]:
        """Return where anything of the account is, in the files and, on PostgreSQL, in the rows."""
        found = [each for place in self.places for each in find_words(place, self.words)]
        if self.harness.database is not None:
            text = repr(all_rows(self.harness)).lower().encode()
            found += [f"a row: {word.decode()}" for word in self.words if word in text]
        return found


@pytest.fixture(
    params=["disk", *(pytest.param(place, marks=pytest.mark.whole) for place in ("bucket", "postgresql"))]
)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ForgettingArchive]:
    """Such an archive, on a disk, in a bucket, or with PostgreSQL."""
    if request.param == "disk":
        made = request.getfixturevalue("harness")
        yield ForgettingArchive(made, [made.root], words_of(made) | digests_of(made))
        return
    with FaultyStandIn(make_world()) as upstream, ExitStack() as opened:
        made = ArchiveHarness(tmp_path / "archive", upstream)
        places = [made.root]
        if request.param == "bucket":
            server: S3Server = request.getfixturevalue("server")
            server.set_environment(request.getfixturevalue("monkeypatch"), limits=QUICK)
            made.storage = f"s3://{BUCKET}/pre/fix"
            places.append(server.objects)
        else:
            postgres: PostgresServer = request.getfixturevalue("postgres")
            made.database = opened.enter_context(postgres.database())
        archive_both(made)
        leave_traces(made, tmp_path)
        yield ForgettingArchive(made, places, words_of(made) | digests_of(made))


def test_no_byte_and_no_word_of_the_account_is_left(archive: ForgettingArchive) -> None:
    """In every file of the archive, unpacked: names, pks, titles, names of files, and their hashes.

    Afterwards verify, db rebuild and reread find nothing to do, and a run of the other account is quiet.
    """
    harness = archive.harness
    assert {found.rpartition(": ")[2].encode() for found in archive.find()} == archive.words
    others = _rows_of_others(harness)
    with Archive(harness.config) as opened:
        planned = opened.plan_removal(NAME)
        removed = opened.forget(NAME, reason="a take-down")
    assert archive.find() == []
    assert removed == planned
    assert _rows_of_others(harness) == others
    if harness.storage is None:
        assert len(list((harness.root / "blobs").iterdir())) == 256
    assert harness.rows("select reason from removals") == [("a take-down",)]
    with Archive(harness.config) as opened:
        found = opened.verify(read_data=True)
        assert (found.is_damaged, found.journal.is_compared) == (False, True)
        assert (found.answers.unrecorded, found.answers.foreign, found.blobs.orphans) == (0, (), 0)
    require_equal_after_rebuild(harness)
    assert set(harness.reread().row_counts.values()) <= {(0, 0)}
    quiet = harness.night(OTHER)
    assert (quiet.exit_code, quiet.units, quiet.files_new) == (0, 1, 0)
    assert archive.find() == []


def _rows_of_others(harness: ArchiveHarness) -> dict[str, object]:
    """Return what must not change: the other account, its items and files, and the ledger."""
    pk = harness.upstream.world.account(OTHER).pk
    queries = {
        "account": f"select * from users where pk = '{pk}'",
        "highlights": f"select * from highlights where user_pk = '{pk}' order by pk",
        "items": f"select * from items where user_pk = '{pk}' order by pk",
        "files": "select f.* from files f join items i on i.pk = f.item_pk "
        f"where i.user_pk = '{pk}' order by f.id",
        "answers": "select a.id, a.sha256, c.subject from answers a join api_calls c on c.id = a.api_call_id"
        f" where c.subject = '{pk}' or c.subject in (select pk from highlights where user_pk = '{pk}')"
        " order by a.id",
        "ledger": "select id, run_id, path, units, started_at, finished_at from api_calls order by id",
    }
    return {name: harness.rows(query) for name, query in queries.items()}


def test_only_a_run_that_names_it_archives_it_again(harness: ArchiveHarness) -> None:
    """As an account that was never there: its tray and every highlight are paid for."""
    with Archive(harness.config) as archive:
        archive.forget(FORMER)
    assert harness.night(OTHER).units == 1
    assert harness.one("select count(*) from users") == 1
    again = harness.night(NAME)
    assert (again.exit_code, again.files_new) == (0, 9)
    assert harness.one("select username from users where username = ?", NAME) == NAME


def test_what_other_accounts_show_stays(tmp_path: Path) -> None:
    """A mention, an item that is in a highlight of both, with its files, and bytes that both have.

    The plan counts them.
    """
    with FaultyStandIn(make_world()) as upstream:
        world = upstream.world
        account, other = world.account(FORMER), world.account(OTHER)
        shared = account.highlights[1].items[0]
        world.put_item(other.highlights[0].pk, shared.pk, source=account.highlights[1].pk)
        other.highlights[0].items[0].mentions.append(
            {"user": {"pk": int(account.pk), "username": FORMER, "full_name": "Zoe"}, "x": 0.5, "y": 0.5}
        )
        same = other.highlights[0].items[0]
        same.thumbnail = account.highlights[0].items[0].thumbnail
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night(FORMER, OTHER).exit_code == 0
        with Archive(harness.config) as archive:
            (both,) = {file.blob.sha256 for file in archive.current_files(archive.item(same.pk))} & {
                file.blob.sha256 for file in archive.current_files(account.pk)
            }
            kept = [file.blob.sha256 for file in archive.current_files(archive.item(shared.pk))]
            left = archive.plan_removal(FORMER).left
            assert (left.mentions, left.shared_items) == (1, 1)
            archive.forget(FORMER)
            files = list(archive.current_files(archive.item(shared.pk)))
            assert [file.blob.sha256 for file in files] == kept
            assert all(archive.path(file).exists() for file in files)
            assert both in {file.blob.sha256 for file in archive.current_files(archive.item(same.pk))}
            assert [hit.subject_pk for hit in archive.search(FORMER)]
            with pytest.raises(NotHeld):
                archive.account(account.pk)
            assert not archive.verify(read_data=True).is_damaged
        require_equal_after_rebuild(harness)
        assert harness.night(OTHER).units == 1
        with Archive(harness.config) as archive:
            archive.forget(OTHER)
        assert harness.rows("select * from items") == []
        assert [path for path in (harness.root / "blobs").rglob("*") if path.is_file()] == []


def test_a_name_that_never_resolved_can_be_forgotten(harness: ArchiveHarness) -> None:
    """The archive has only a failure, a call and its answer."""
    assert harness.night("nobody.there", OTHER).exit_code == 3
    with Archive(harness.config) as archive:
        removed = archive.forget("Nobody.There")
    assert (removed.answers, removed.failures) == (1, 1)
    assert find_words(harness.root, {b"nobody.there"}) == []


@pytest.mark.parametrize("owner", [NAME, pytest.param(OTHER, marks=pytest.mark.whole)])
def test_an_answer_of_which_nothing_was_recorded_is_told_by_its_content(tmp_path: Path, owner: str) -> None:
    """As of a highlight whose rows were deleted by hand. Those of others stay, whomever they mention."""
    with FaultyStandIn(make_world(is_edited=True)) as upstream:
        world = upstream.world
        account = world.account(NAME)
        pk = world.account(owner).highlights[1].pk
        world.account(OTHER).highlights[1].items[0].mentions.append(
            {"user": {"pk": int(account.pk), "username": NAME, "full_name": "Zoe"}, "x": 0.5, "y": 0.5}
        )
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        assert harness.night(NAME, OTHER).exit_code == 0
        execute(
            harness,
            f"delete from files where highlight_pk = '{pk}'",
            f"delete from highlight_items where highlight_pk = '{pk}'",
            f"delete from highlights where pk = '{pk}'",
        )
        with Archive(harness.config) as archive:
            archive.forget(NAME)
        subjects = [subject for (subject,) in harness.rows("select distinct subject from api_calls")]
        assert (pk in subjects) == (owner == OTHER)
        assert bool(find_words(harness.root / "answers", {pk.encode()})) == (owner == OTHER)


def test_a_name_that_another_account_has_had_is_not_enough_to_take_its_answers(tmp_path: Path) -> None:
    """Answers to that name are told apart by the pk in them."""
    with FaultyStandIn(make_world()) as upstream:
        world = upstream.world
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        first, second = world.account(FORMER), world.account(OTHER)
        assert harness.night(FORMER).exit_code == 0
        world.rename(first.pk, "zoe.after")
        assert harness.night(first.pk).exit_code == 0
        world.rename(second.pk, FORMER)
        assert harness.night(parse_target(second.pk)).exit_code == 0
        assert harness.night(FORMER, bound=False).exit_code == 0
        with Archive(harness.config) as archive:
            with pytest.raises(UsageError, match="reason names"):
                archive.forget(first.pk, reason=f"asked by {FORMER.upper()}")
            archive.forget(first.pk)
            assert not archive.verify(read_data=True).is_damaged
            assert archive.account(second.pk).username == FORMER
        assert find_words(harness.root, {first.pk.encode(), b"zoe.after"}) == []
        require_equal_after_rebuild(harness)


def test_an_entry_of_the_list_is_removed_if_it_means_the_account_now(tmp_path: Path) -> None:
    """Whoever had its name before: else the next run would archive the account again."""
    with FaultyStandIn(make_world()) as upstream:
        world = upstream.world
        harness = ArchiveHarness(tmp_path / "archive", upstream)
        first, second = world.account(FORMER), world.account(OTHER)
        world.rename(first.pk, "zoe.before.that")
        world.rename(second.pk, FORMER)
        assert harness.night(parse_target(second.pk)).exit_code == 0
        world.rename(second.pk, OTHER)
        assert harness.night(parse_target(second.pk)).exit_code == 0
        world.rename(first.pk, FORMER)
        assert harness.night(FORMER, OTHER).exit_code == 0
        file = tmp_path / "config.toml"
        entries = [f'[[accounts]]\nusername = "{name}"\n' for name in (FORMER, OTHER)]
        file.write_text("\n".join([f'[archive]\ndirectory = "{harness.root}"\n', *entries]))
        with Archive(load(file, harness.variables)) as archive:
            assert archive.plan_removal(FORMER).entries == archive.forget(FORMER).entries == (FORMER,)
        assert FORMER not in file.read_text()
        assert OTHER in file.read_text()


def test_only_the_whole_pk_in_a_failure_names_the_account(harness: ArchiveHarness) -> None:
    """A failure of another name that has these digits inside a longer number stays."""
    pk = harness.upstream.world.account(NAME).pk
    time = "2026-01-01T00:00:00.000000Z"
    execute(
        harness,
        *(
            "insert into failures (subject, subject_pk, reason, detail, attempts, first_at, last_at) values "
            f"('target', '{name}', 'name_taken', 'account {number} has it', 1, '{time}', '{time}')"
            for name, number in (("one", pk), ("two", f"9{pk}"))
        ),
    )
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    assert harness.rows("select subject_pk from failures where subject = 'target'") == [("two",)]


def test_that_a_highlight_of_another_account_was_its_own_is_forgotten(harness: ArchiveHarness) -> None:
    """The history of that highlight names both owners by their pks."""
    first, second = (harness.upstream.world.account(name) for name in (NAME, OTHER))
    execute(
        harness,
        "insert into changes (run_id, at, subject, subject_pk, field, old, new) values "
        f"(1, '2026-01-01T00:00:00.000000Z', 'highlight', '{second.highlights[0].pk}', 'user_pk', "
        f"'{first.pk}', '{second.pk}')",
    )
    with Archive(harness.config) as archive:
        assert archive.plan_removal(NAME).changes == archive.forget(NAME).changes
    assert find_words(harness.root, {first.pk.encode()}) == []


def test_the_database_in_use_is_no_copy_whatever_path_leads_to_it(harness: ArchiveHarness) -> None:
    """As where a directory is mounted twice; here the file has two names."""
    elsewhere = harness.root.parent / "rows.db"
    elsewhere.hardlink_to(harness.root / "archive.db")
    assert "./archive.db" not in account_traces.find_copies(harness.root, elsewhere)
    assert "archive.db" not in account_traces.find_unknown(harness.root, elsewhere, has_files=True)


def test_an_answer_that_a_power_loss_cut_off_is_forgotten(harness: ArchiveHarness) -> None:
    """It has no row, and its segment may hold nothing else of the account. Other segments stay."""
    pk = harness.upstream.world.account(NAME).pk
    segment, offset, length = harness.rows(
        "select a.segment, a.offset, a.length from answers a join api_calls c on c.id = a.api_call_id "
        f"where c.subject = '{pk}'"
    )[0]
    packed = (harness.root / f"answers/{segment}").read_bytes()[int(str(offset)) :][: int(str(length)) - 9]
    assert harness.night(OTHER, insist=True, full=True).exit_code == 0
    newest = max((harness.root / "answers").rglob("*-fetched-*"), key=lambda path: path.stat().st_mtime_ns)
    with newest.open("ab") as file:
        file.write(packed)
    others = {path for path in (harness.root / "answers").rglob("*.gz") if not _has_part(path, pk.encode())}
    assert others
    with Archive(harness.config) as archive:
        assert archive.verify(read_data=True).answers.surplus == ()
        assert archive.forget(NAME).lost == 0
        assert not archive.verify(read_data=True).is_damaged
    left = set((harness.root / "answers").rglob("*.gz"))
    assert others <= left
    assert [path for path in left if _has_part(path, pk.encode())] == []


def _has_part(path: Path, word: bytes) -> bool:
    """Return whether a word is in what can be unpacked of a file."""
    content = path.read_bytes()
    while content:
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        if word in unpacker.decompress(content):
            return True
        content = unpacker.unused_data
    return False


@pytest.mark.parametrize("place", ["blobs", pytest.param("answers", marks=pytest.mark.whole)])
def test_nothing_is_removed_while_a_disk_is_not_mounted(harness: ArchiveHarness, place: str) -> None:
    """Else its files would come back with the disk, without rows. If they are truly gone, repair says so."""
    before = all_rows(harness)
    (harness.root / place).rename(harness.root.parent / place)
    (harness.root / place).mkdir()
    with Archive(harness.config) as archive:
        with pytest.raises(StorageError, match="none"):
            archive.forget(NAME)
        assert all_rows(harness) == before
        archive.repair(read_data=True, accept_loss=True)
        archive.forget(NAME)


def test_lines_of_the_log_that_name_it_by_a_link_or_a_hash_are_removed(harness: ArchiveHarness) -> None:
    """A link of a story has the highlight in base64; a message about a file has its hash."""
    pk = harness.upstream.world.account(NAME).highlights[0].pk
    link = b64encode(f"highlight:{pk}".encode()).decode().rstrip("=")
    log = harness.root / "log/archiver.log.1"
    with Archive(harness.config) as archive:
        digest = next(iter(archive.current_files(NAME))).blob.sha256
        log.write_text(
            f"2026-11-27T00:00:00.000000Z INFO https://www.instagram.com/s/{link}?story_media_id=1: done\n"
            f"2026-11-27T00:00:00.000000Z ERROR OSError: {harness.blob_file(digest)}\n"
        )
        archive.forget(NAME)
    assert log.read_text() == ""


@pytest.mark.parametrize("lines", [[], ["2026-11-27 00:00:00 INFO nothing"]])
def test_the_log_keeps_the_lines_of_others(harness: ArchiveHarness, lines: list[str]) -> None:
    """Also that of a rotated file; their modes stay."""
    old = harness.root / "log/archiver.log.1"
    old.write_text("\n".join([*lines, f"2026-11-27 00:00:00 INFO @{NAME.upper()}. done"]))
    old.chmod(0o640)
    with Archive(harness.config) as archive:
        assert archive.forget(NAME).log_lines == 3
    assert old.read_text().splitlines() == lines
    assert old.stat().st_mode & 0o777 == 0o640
    assert OTHER in (harness.root / "log/archiver.log").read_text()


@pytest.mark.parametrize("is_too_old", [False, True])
def test_fault_h55_an_older_copy_of_the_database_is_refused_and_rebuilt_without_the_account(
    harness: ArchiveHarness, is_too_old: bool
) -> None:
    """By commands that read, write or repair: code 9. ``db rebuild`` sets it aside, and says so."""
    database = harness.root / "archive.db"
    copy = shutil.copy(database, harness.root.parent / "copy.db")
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    rows = all_rows(harness)
    for path in harness.root.glob("archive.db*"):
        path.unlink()
    if is_too_old:
        make_too_old(copy)
    shutil.copy(copy, database)
    error, words = (ArchiveTooOld, "too old") if is_too_old else (JournalDiffers, "before")
    uses: list[Callable[[Archive], object]] = [Archive.status, Archive.repair, Archive.reread]
    for use in uses:
        with Archive(harness.config) as archive, pytest.raises(error, match=words) as refused:
            use(archive)
        assert refused.value.exit_code == 9
        assert "db rebuild" in refused.value.hint
    report = rebuild(harness)
    assert report.was_before_removal
    assert all_rows(harness) == rows
    assert report.journal.set_aside is not None
    report.journal.set_aside.unlink()
    assert find_words(harness.root, words_of(harness)) == []


@pytest.fixture
def before_removal(harness: ArchiveHarness) -> Path:
    """A copy of the whole archive from before the account was forgotten in it."""
    copy = harness.root.parent / "before"
    shutil.copytree(harness.root, copy)
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    return copy


def test_fault_k12_an_older_marker_put_back_with_the_database_does_not_bring_the_account_back(
    harness: ArchiveHarness, before_removal: Path
) -> None:
    """The journal counts the removals too: code 9, and no way is offered that pays for the account."""
    rows = all_rows(harness)
    lose_database(harness)
    for name in ("archive.db", "archive.json"):
        shutil.copy(before_removal / name, harness.root / name)
    harness.upstream.requests.reset()
    uses: list[Callable[[Archive], object]] = [
        Archive.status,
        Archive.repair,
        Archive.reread,
        lambda archive: archive.run([parse_target(OTHER)]),
    ]
    for use in uses:
        with Archive(harness.config) as archive, pytest.raises(JournalDiffers, match="before an") as refused:
            use(archive)
        assert "db rebuild" in refused.value.hint
        assert "--repair" not in refused.value.hint
    assert harness.upstream.requests.api_calls() == []
    assert plan_rebuild(harness.config, Work()).was_before_removal
    assert rebuild(harness).was_before_removal
    assert all_rows(harness) == rows
    assert marker.read(harness.root).removals == 1


def test_fault_k12_an_archive_that_python_has_open_shows_no_forgotten_account(
    harness: ArchiveHarness, before_removal: Path
) -> None:
    """The database and ``archive.json`` from before are put back: the journal counts the removal."""
    with Archive(harness.config) as archive:
        assert NAME not in [account.username for account in archive.accounts()]
        lose_database(harness)
        for name in ("archive.db", "archive.json"):
            shutil.copy(before_removal / name, harness.root / name)
        for _ in range(2):
            with pytest.raises(JournalDiffers, match="before an account was forgotten"):
                list(archive.accounts())


def test_an_archive_from_before_a_removal_put_back_whole_is_an_older_archive(
    harness: ArchiveHarness, before_removal: Path
) -> None:
    """The account is shown, ``verify`` counts its missing files, and ``forget`` removes it again."""
    lose_database(harness)
    shutil.rmtree(harness.root / "journal")
    shutil.copytree(before_removal / "journal", harness.root / "journal")
    for name in ("archive.db", "archive.json"):
        shutil.copy(before_removal / name, harness.root / name)
    with Archive(harness.config) as archive:
        assert archive.account(parse_target(NAME)).username == NAME
        assert archive.verify().blobs.damaged
        archive.forget(NAME)
        assert not archive.verify().is_damaged
    assert find_words(harness.root, words_of(harness)) == []


def test_an_older_marker_put_back_alone_stops_no_run(harness: ArchiveHarness, before_removal: Path) -> None:
    """Database and journal count the removal: no account was forgotten meanwhile. The marker is mended."""
    shutil.copy(before_removal / "archive.json", harness.root / "archive.json")
    with Archive(harness.config) as archive:
        assert archive.run([parse_target(OTHER)]).exit_code == 0
    assert marker.read(harness.root).removals == 1


def test_fault_k14_a_journal_from_before_a_removal_says_what_to_do_instead_of_a_loop(
    harness: ArchiveHarness, before_removal: Path
) -> None:
    """A rebuild makes no database that every command would refuse; its advice works as it is printed."""
    shutil.rmtree(harness.root / "journal")
    shutil.copytree(before_removal / "journal", harness.root / "journal")
    lose_database(harness)
    for try_to in (rebuild, lambda it: plan_rebuild(it.config, Work())):
        with pytest.raises(JournalDiffers, match="journal is from before") as refused:
            try_to(harness)
        assert "set removals to 0 in archive.json" in refused.value.hint
    assert not (harness.root / "archive.db").exists()
    own = json.loads((harness.root / "archive.json").read_text())
    (harness.root / "archive.json").write_text(json.dumps({**own, "removals": 0}))
    rebuild(harness)
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    assert find_words(harness.root, words_of(harness)) == []


def test_fault_k14_answers_in_rewritten_segments_are_not_counted_again(
    harness: ArchiveHarness, before_removal: Path
) -> None:
    """They get their new place: the ledger of a journal from before stays, and the next forget loses none."""
    shutil.rmtree(harness.root / "journal")
    shutil.copytree(before_removal / "journal", harness.root / "journal")
    lose_database(harness)
    own = json.loads((harness.root / "archive.json").read_text())
    (harness.root / "archive.json").write_text(json.dumps({**own, "removals": 0}))
    rebuilt = rebuild(harness)
    assert (rebuilt.recovery.answers, rebuilt.recovery.units) == (0, 0)
    after, before = all_rows(harness), rows_of(before_removal / "archive.db")
    for table in ("runs", "api_calls"):
        assert after[table] == before[table]
    with Archive(harness.config) as archive:
        assert archive.forget(NAME).lost == 0


@pytest.mark.whole
def test_fault_j40_the_advice_for_a_database_from_before_a_removal_works_on_postgresql(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """An empty database is to be named first; then ``db rebuild`` makes it."""
    with FaultyStandIn(make_world()) as upstream, postgres.database() as url:
        harness = ArchiveHarness(tmp_path / "archive", upstream, url)
        archive_both(harness)
        with postgres.database(make_url(url).database or "") as copy, postgres.database() as empty:
            with Archive(harness.config) as archive:
                archive.forget(NAME)
            rows = all_rows(harness)
            older = replace(harness, database=copy)
            with pytest.raises(JournalDiffers, match="before an account") as refused:
                older.status()
            assert "on PostgreSQL set archive.database to an empty database first" in refused.value.hint
            rebuild(replace(older, database=empty))
            assert all_rows(replace(older, database=empty)) == rows


def test_a_lost_database_is_rebuilt_without_the_account(harness: ArchiveHarness) -> None:
    """Row by row, with the entry that remains."""
    with Archive(harness.config) as archive:
        archive.forget(NAME)
    rows = all_rows(harness)
    lose_database(harness)
    rebuild(harness)
    assert all_rows(harness) == rows
    assert len(rows["removals"]) == 1


def test_a_run_that_waited_meanwhile_does_not_archive_the_account_again(
    harness: ArchiveHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list is from before: code 11. Here the account is forgotten as soon as the run wants the lock."""

    def forget_before(*args: Any, **settings: Any) -> AbstractContextManager[WritableSession]:
        with Archive(harness.config) as another:
            another.forget(NAME)
        return open_for_writing(*args, **settings)

    monkeypatch.setattr("archiver.archive.nightly_run.open_for_writing", forget_before)
    with Archive(harness.config) as archive, pytest.raises(ArchiveLocked, match="was forgotten"):
        archive.run([NAME, OTHER], wait=True)
    assert harness.one("select count(*) from users") == 1


def test_it_needs_the_archive_alone(harness: ArchiveHarness) -> None:
    """As an upgrade does."""
    with (
        open_for_writing(harness.config, "run", Work()),
        Archive(harness.config) as archive,
        pytest.raises(ArchiveLocked),
    ):
        archive.forget(NAME)


@pytest.mark.whole
def test_it_waits_for_no_worker(tmp_path: Path, postgres: PostgresServer) -> None:
    """With workers too, code 11: one has the database open."""
    with FaultyStandIn(make_world(is_edited=True)) as upstream, postgres.database() as url:
        harness = ArchiveHarness(tmp_path / "archive", upstream, database=url)
        assert harness.night(NAME).exit_code == 0
        with Archive(harness.config) as archive:
            with Catalog.join(url, "another"), pytest.raises(ArchiveLocked):
                archive.forget(NAME)
            archive.forget(NAME)


@pytest.mark.whole
def test_a_program_that_reads_all_the_time_lets_the_rest_wait(harness: ArchiveHarness) -> None:
    """SQLite cannot empty its WAL then: code 9. The next command that writes does it."""
    with closing(sqlite3.connect(harness.root / "archive.db")) as reader, Archive(harness.config) as archive:
        reader.execute("begin")
        reader.execute("select count(*) from users").fetchall()
        with pytest.raises(DatabaseError, match="another program is reading it"):
            archive.forget(NAME)
        assert harness.one("select count(*) from users") == 1
    assert harness.night(OTHER).units == 1
    assert find_words(harness.root, words_of(harness)) == []


def test_fault_e1_an_archive_that_took_the_place_of_the_open_one_is_not_written_to(
    harness: ArchiveHarness, tmp_path: Path
) -> None:
    """As when another disk is mounted there: nothing is paid for, and nothing deleted in it.

    A dry run says so too.
    """
    other = ArchiveHarness(tmp_path / "other", harness.upstream)
    assert other.night(NAME, OTHER).exit_code == 0
    with Archive(harness.config) as archive:
        assert archive.id
        harness.root.rename(tmp_path / "aside")
        other.root.rename(harness.root)
        before, spent = all_rows(harness), harness.upstream.units
        for write in (
            lambda: archive.forget(OTHER),
            lambda: archive.run([parse_target(OTHER)]),
            archive.reread,
            lambda: archive.reread(dry_run=True),
            archive.repair,
        ):
            with pytest.raises(MarkerMismatch, match="another archive has taken the place"):
                write()
    assert (all_rows(harness), harness.upstream.units) == (before, spent)
