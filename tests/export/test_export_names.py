"""Names of exported files; exports of many files and accounts; and what a dry run says."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from archiver.errors import UsageError
from archiver.export import file_names
from archiver.export.export_entry import ExportStats
from archiver.export.export_paths import (
    DEFAULT_TEMPLATE,
    FIELDS,
    FREE_TEXT_FIELDS,
    PathFiller,
    parse_template,
)
from archiver.export.link_methods import LinkMethod
from archiver.media.formats import extension_for
from archiver.model.identity import Digest, Role
from tests.support.archive_copies import ArchiveCopies
from tests.support.catalog_samples import LATER, video
from tests.support.command_line import CommandLineUser, InProcessUser
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness, tree

_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_NASTY = st.text(
    st.one_of(
        st.sampled_from(
            './\\:*?"<>| ~-\0\t\n\u202e\u2066\u200d\u200b\ufeff\ud800e\u0301ßİ🦋👩\U0001f3fd🇩🇪\uffff'
        ),
        st.characters(),
    ),
    max_size=400,
)


def _assert_fits_everywhere(name: str) -> None:
    assert name not in ("", ".", "..")
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert not set(name) & set('<>:"/\\|?*')
    assert not [c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [
        c
        for c in name
        if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
    ]
    assert name.split(".")[0].rstrip(" ").lower() not in _DEVICES
    assert unicodedata.is_normalized("NFC", name)
    assert len(name.encode()) <= 255
    assert len(unicodedata.normalize("NFD", name).encode("utf-16-le")) // 2 <= 255


@given(st.fixed_dictionaries(dict.fromkeys(sorted(FIELDS - {"ext"}), _NASTY)))
@example(dict.fromkeys(FIELDS, ".."))
@example(dict.fromkeys(FIELDS, "CON"))
@example(dict.fromkeys(FIELDS, "👩‍👩‍👧‍👦" * 60))
@example(dict.fromkeys(FIELDS, ""))
def test_fault_x1_no_text_leads_out_of_the_export(values: dict[str, str]) -> None:
    """Whatever the fields say, each name fits every system, the path is relative and as deep as its template,
    and the extension stays.
    """
    told = values | {"ext": "jpg", "highlight_pk": "17983616051768088", "code": values["code"][:40]}
    path = PathFiller(
        parse_template("{username}/{title}/{title} ({highlight_pk})/{code}{full_name}.{ext}")
    ).fill(told)
    assert len(path) == 4
    for name in path:
        _assert_fits_everywhere(name)
    assert path[2].endswith("(17983616051768088)")
    assert path[3].endswith(".jpg")
    joined = "/".join(path)
    assert file_names.utf16_units(joined) <= file_names.MAX_PATH_LENGTH
    assert not PurePosixPath(joined).is_absolute()
    assert not PureWindowsPath(joined).is_absolute()
    assert ".." not in PurePosixPath(joined).parts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("Archive.json", "Archive_.json"),
        ("COM¹", "COM¹_"),
        ("aux .x", "aux_.x"),
        ("a:stream", "a_stream"),
        ("ends. . ", "ends"),
        (".hidden", "_hidden"),
        ("..", "_"),
        ("a\\b/c", "a_b_c"),
        ("so\n  many\tblanks", "so many blanks"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("e\u0301", "é"),
        ("👩\u200d🚀 🏳️‍🌈", "👩\u200d🚀 🏳️‍🌈"),
        (
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        ),
    ],
)
def test_fault_x6_a_name_that_some_system_cannot_have_is_changed(text: str, name: str) -> None:
    """Devices, streams, what Windows drops at the end, what turns a line around; emoji and scripts stay."""
    assert file_names.safe_name(file_names.clean(text)) == name


@pytest.mark.parametrize("text", ["archive", "Archive", "archive "])
def test_an_extension_makes_no_name_an_archive_s_marker(text: str) -> None:
    """Of a sidecar; a picture may be called so."""
    values = dict.fromkeys(FIELDS, text) | {"ext": "json"}
    assert PathFiller(parse_template("{title}.{ext}")).fill(values) == (f"{text.strip()}_.json",)
    assert PathFiller(parse_template("{title}.{ext}")).fill(values | {"ext": "jpg"}) == (
        f"{text.strip()}.jpg",
    )


@pytest.mark.parametrize(
    ("one", "other"), [("Best", "BEST"), ("Cafe\u0301", "Café"), ("straße", "STRASSE"), ("ΣΑΣ", "σας")]
)
def test_fault_x6_twins_on_another_system_are_known(one: str, other: str) -> None:
    """Names that differ in case or composition only."""
    assert file_names.collision_key(one) == file_names.collision_key(other)


@given(
    st.lists(st.sampled_from(["👨‍👩‍👧", "🇩🇪", "e\u0323\u0301", "👍🏽", "❤️", "x"]), max_size=60),
    st.integers(1, 120),
)
def test_fault_x5_a_name_is_cut_between_two_characters_of_a_reader(letters: list[str], longest: int) -> None:
    """No half family, flag, accent or skin."""
    kept = file_names.truncate("".join(letters), longest)
    assert file_names.length(kept) <= longest
    whole = ["".join(letters[:n]) for n in range(len(letters) + 1)]
    assert kept in whole


@pytest.mark.parametrize("text", ["{code.__class__}", "{title!r}", "{0}", "{}", "{title:>9}", "{password}"])
def test_fault_x15_a_template_knows_fields_by_name_only(text: str) -> None:
    """No attributes, no indexes, no formats, and that is said: an unknown field is a usage error that names
    the known ones.
    """
    with pytest.raises(UsageError) as caught:
        parse_template(f"{text}/{{code}}.{{ext}}")
    assert "highlight_pk" in caught.value.hint
    assert ("format" in str(caught.value)) == (text not in ("{0}", "{}", "{password}"))


def test_fault_x15_a_value_is_never_a_template() -> None:
    """A title with braces stands as it is; doubled braces in the template stand for themselves."""
    values = dict.fromkeys(FIELDS, "x") | {"title": "{item_pk} %s $(id)", "item_pk": "7"}
    assert PathFiller(parse_template("{{{title}}}/{item_pk}.{ext}")).fill(values) == (
        "{{item_pk} %s $(id)}",
        "7.x",
    )


@pytest.mark.parametrize(
    "text",
    [
        "/abs/{code}.{ext}",
        "../{code}.{ext}",
        "a//{code}.{ext}",
        "{code}",
        "{title}/",
        ".{ext}",
        "{code}{ext}",
        "a { b.{ext}",
        "./{code}.{ext}",
        "x/" * 17 + "{code}.{ext}",
        "y" * 201 + "{code}.{ext}",
        "{user_pk}{highlight_pk}{item_pk}" * 2 + ".{ext}",
    ],
)
def test_a_template_that_makes_no_path_is_refused(text: str) -> None:
    """Absolute, leading up, without a name or without its extension, too deep or too long."""
    with pytest.raises(UsageError):
        parse_template(text)


@pytest.mark.parametrize(
    "text",
    [
        "{title} {taken_at} {code} {item_pk}.{ext}",
        "{username} {title} {full_name} {code}.{ext}",
        "{username}/{position} {type} {role} {full_name}.{ext}",
        (
            "{username} {user_pk} {full_name} {title} {highlight_pk} {taken_at} {position} "
            "{code} {item_pk} {type} {role}.{ext}"
        ),
    ],
)
@pytest.mark.parametrize("text_of_others", ["x" * 400, "🦋" * 400, "e\u0301" * 400, "..", ""])
def test_fields_that_give_way_take_no_room_from_the_others(text: str, text_of_others: str) -> None:
    """However long what others wrote is, the name is short enough, and ids, dates and words of ours stand in
    it whole.
    """
    ours = {
        **{field: str(n) * 40 for n, field in enumerate(("user_pk", "highlight_pk", "item_pk"), start=1)},
        "taken_at": "2026-11-01 10-11-12",
        "position": "012",
        "type": "photo",
        "role": "thumbnail",
        "ext": "webp",
    }
    values = dict.fromkeys(FREE_TEXT_FIELDS, text_of_others) | ours
    template = parse_template(text)
    path = PathFiller(template).fill(values)
    _assert_fits_everywhere(path[-1])
    assert file_names.length(path[-1]) <= file_names.MAX_LENGTH
    assert [field for field in template.fields & set(ours) if ours[field] not in path[-1]] == []


def test_a_template_that_is_too_long_is_told_by_how_much() -> None:
    """What its fixed parts may come to, and what a name may have."""
    with pytest.raises(UsageError, match="may have 245 characters, the limit is 200"):
        parse_template("{user_pk}{highlight_pk}{item_pk}" * 2 + ".{ext}")


def test_the_extension_is_that_of_the_bytes() -> None:
    """Known types have theirs, anything else ``bin``; both of a video's files differ by it."""
    assert {extension_for(mime) for mime in ("image/jpeg", "video/mp4", "text/html")} == {
        "jpg",
        "mp4",
        "bin",
    }
    parse_template(DEFAULT_TEMPLATE)


_ITEMS = 12


@pytest.fixture
def photos(tmp_path: Path, archive_copies: ArchiveCopies) -> ExportHarness:
    """One highlight of photos, two of each day."""
    return ExportHarness.copied(tmp_path, archive_copies, "photos", _show_photos)


def _show_photos(harness: ExportHarness) -> None:
    items = [video(str(10 + n), media_type=1, taken_at=NOW - timedelta(days=n // 2)) for n in range(_ITEMS)]
    harness.show({"1": "Gift"}, {"1": tuple(items)})
    harness.keep_all((item.pk, Role.THUMBNAIL, f"photo {item.pk}".encode()) for item in items)


def both(
    photos: ExportHarness, before: Callable[[Path], None], template: str = DEFAULT_TEMPLATE
) -> tuple[ExportStats, ExportStats]:
    """The export by links and by copies into directories that ``before`` has seen: the same names, bytes and
    list, but for how and when.
    """
    told, found = [], []
    for way in (LinkMethod.COPY, LinkMethod.HARDLINK):  # in this order: a link dates the blob
        out = photos.home / way
        out.mkdir()
        before(out)
        told.append(photos.export(template, to=out, way=way))
        assert not list((out / ".archiver-export" / "tmp").iterdir())
        with closing(sqlite3.connect(out / ".archiver-export" / "files.db")) as rows:
            listed = rows.execute(
                "SELECT id, path, key, wished, sha256, size, at_ns, mtime_ns, before, old FROM "
                "files ORDER BY id"
            ).fetchall()
        dates = {path: (out / path).lstat().st_mtime_ns for _, path, *_ in listed if (out / path).exists()}
        found.append((tree(out), listed, dates))
    assert found[0] == found[1]
    copied, linked = told
    for tally in told:
        assert (tally.files, tally.new, tally.bytes) == (copied.files, copied.new, copied.bytes)
        assert (tally.failed, tally.avoided, tally.failures) == (
            copied.failed,
            copied.avoided,
            copied.failures,
        )
    assert (copied.methods["copy"], linked.methods["hardlink"]) == (copied.new, copied.new)
    return copied, linked


def test_links_stand_as_copies_do(photos: ExportHarness) -> None:
    """All of them new, dated and listed; a rerun finds each in its place."""
    _, linked = both(photos, lambda out: None)
    assert (linked.files, linked.new) == (_ITEMS, _ITEMS)
    again = photos.export(to=photos.home / LinkMethod.HARDLINK, way=LinkMethod.HARDLINK)
    assert (again.files, again.new, again.moved, again.replaced, again.others) == (_ITEMS, 0, 0, 0, 0)


def test_links_that_want_one_name_get_marks(photos: ExportHarness) -> None:
    """Of a template that names twelve files alike, and of one that names each two alike."""
    for n, template in enumerate(("{username}/{title}.{ext}", "{username}/{date}.{ext}")):
        some = ExportHarness(photos.home / str(n), photos.database, photos.run_id)
        shutil.copytree(photos.root, some.root)
        copied, _ = both(some, lambda out: None, template)
        assert copied.files == _ITEMS


def test_links_leave_foreign_files_alone(photos: ExportHarness) -> None:
    """Where a link belongs stands somebody's file, or a file that has these very bytes; where its directory
    belongs, another one.
    """
    photos.export(to=photos.home / "model", way=LinkMethod.COPY)
    names = sorted(name for name in tree(photos.home / "model") if name.startswith("natgeo"))

    def before(out: Path) -> None:
        (out / names[0]).parent.mkdir(parents=True)
        (out / names[3]).write_bytes(b"mine")
        (out / names[7]).symlink_to("elsewhere")

    copied, _ = both(photos, before)
    assert copied.avoided == 2
    assert (photos.home / "hardlink" / names[3]).read_bytes() == b"mine"


@pytest.mark.parametrize("template", [DEFAULT_TEMPLATE, "{username}/{date}.{ext}"])
def test_a_blob_that_is_not_whole_is_told_amid_links(photos: ExportHarness, template: str) -> None:
    """One is missing, one too short; the others stand, and none has a name that another was to have, which
    would hang on where an export was cut short.
    """
    with closing(sqlite3.connect(photos.root / "archive.db")) as rows:
        digests = [Digest(sha256) for (sha256,) in rows.execute("SELECT sha256 FROM files ORDER BY id")]
    photos.blob(digests[5]).unlink()
    short = photos.blob(digests[8])
    short.chmod(0o644)
    short.write_bytes(b"ph")
    copied, _ = both(photos, lambda out: None, template)
    assert (copied.files, copied.failed) == (_ITEMS - 2, 2)


def test_an_export_goes_on_by_links_where_it_was_cut_short(photos: ExportHarness) -> None:
    """Rows of files that never came to stand, and files that nobody has rows of: each comes once."""
    out = photos.home / "cut"
    photos.export(to=out, way=LinkMethod.HARDLINK)
    whole = tree(out)
    for name in sorted(whole)[2:9]:
        (out / name).unlink()
    with closing(sqlite3.connect(out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute("DELETE FROM files WHERE id IN (SELECT id FROM files ORDER BY path DESC LIMIT 6)")
    photos.export(to=out, way=LinkMethod.HARDLINK)
    assert tree(out) == whole


def test_an_export_that_was_cut_short_beside_foreign_things_leaves_them(photos: ExportHarness) -> None:
    """It was killed when files stood beside a link, a pipe and a directory that have their names, and its
    list did not say so yet.
    """
    photos.export(to=photos.home / "model", way=LinkMethod.COPY)
    wished = sorted(name for name in tree(photos.home / "model") if name.startswith("natgeo"))[:3]
    places = [photos.out / name for name in wished]
    places[0].parent.mkdir(parents=True)
    places[0].symlink_to("elsewhere")
    os.mkfifo(places[1])
    places[2].mkdir()
    photos.export()
    whole = tree(photos.out)
    with closing(sqlite3.connect(photos.out / ".archiver-export" / "files.db")) as rows, rows:
        rows.execute(
            "UPDATE files SET old = wished, how = NULL, mtime_ns = NULL, before = NULL WHERE wished != ''"
        )
        assert rows.execute("SELECT count(*) FROM files WHERE old IS NOT NULL").fetchone() == (3,)
    tally = photos.export()
    assert (tally.files, tally.failed) == (_ITEMS, 0)
    assert tree(photos.out) == whole
    assert (places[0].is_symlink(), places[1].is_fifo(), places[2].is_dir()) == (True, True, True)


def test_links_go_where_they_belong_though_many_directories_were_opened_in_vain(
    tmp_path: Path, sqlite_template: Path
) -> None:
    """Between two highlights of one title are others whose directories, far down, somebody's file has the
    place of.
    """
    harness = ExportHarness.make(tmp_path, Path(shutil.copy(sqlite_template, tmp_path / "archive.db")))
    titles = ["Gift", "a", "b", "c", "d", "e", "Gift"]
    inside = {str(n): tuple(video(f"{n}{m}", media_type=1) for m in range(6)) for n in range(len(titles))}
    harness.show({str(n): title for n, title in enumerate(titles)}, inside)
    harness.keep_all(
        (item.pk, Role.THUMBNAIL, f"photo {item.pk}".encode()) for items in inside.values() for item in items
    )
    deep = "/".join("abcdefghijkl")
    for title in titles[1:-1]:
        (harness.out / title / deep).parent.mkdir(parents=True)
        (harness.out / title / deep).touch()
    tally = harness.export(f"{{title}}/{deep}/{{item_pk}}.{{ext}}", way=LinkMethod.HARDLINK)
    assert (tally.files, tally.failed) == (12, 30)
    found = sorted(name for name, content in tree(harness.out).items() if content)
    assert found == sorted(f"Gift/{deep}/{n}{m}.jpg" for n in (0, 6) for m in range(6))


FORMS = ["folder", "site", "bagit", "jsonl", "csv"]


def everything(home: Path) -> dict[str, tuple[int, int, int]]:
    """All that is below, directories and the export's own files too: inode, size, time of the last change.
    Not what every reader of the database changes."""
    found = {}
    for path in (home, *home.rglob("*")):
        said = path.lstat()
        if path.name not in ("archive", "archive.db-shm", "archive.db-wal"):
            found[str(path)] = said.st_ino, said.st_size, said.st_mtime_ns
    return found


def foretold(person: InProcessUser, *words: str) -> dict[str, object]:
    """What the command does, which a dry run has said before, to the last number, and left all as it was."""
    before = everything(person.home)
    dry = person.run("export", *words, "--dry-run", "--json").object
    assert everything(person.home) == before, "a dry run has made something"
    assert (dry.pop("exit_code"), dry.pop("outcome"), dry.pop("dry_run")) == (0, "ok", True)
    done = person.run("export", *words, "--json")
    did = done.object
    did.pop("outcome")
    assert (did.pop("exit_code"), did.pop("dry_run")) == (3 if did["failed"] else 0, False), done.err
    assert dry == did
    return did


@pytest.mark.parametrize(
    "form", [FORMS[0], *(pytest.param(form, marks=pytest.mark.whole) for form in FORMS[1:])]
)
def test_fault_h45_a_dry_run_makes_nothing_and_says_what_the_export_does(
    harness: ExportHarness, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first export, one with nothing new, one where all that can change has changed, and one that
    prunes."""
    temporary = tmp_path_factory.mktemp("temporary")
    person = CommandLineUser(harness.home, None, {**harness.environ, "TMPDIR": str(temporary)}).in_process
    is_tree = form in ("folder", "site", "bagit")
    out = f"new/{form}"
    first = foretold(person, form, out)
    assert int(str(first["new"])) > 4
    assert foretold(person, form, out)["new"] == 0

    harness.rename("natgeo_now", LATER)
    harness.show({"1": "Gifts", "2": "Travel 🦋"}, {"2": (video("11"), video("12"))}, LATER)
    harness.keep("12", Role.VIDEO, b"another video", LATER)
    harness.keep("1", Role.COVER, b"another cover", LATER)
    for n, path in enumerate(sorted((harness.home / out).rglob("*.*"))):
        if path.is_file() and ".archiver-export" not in path.parts and n % 5 == 2:
            path.unlink()  # somebody has removed it, or has something of their own there
            if n % 2:
                path.write_text("mine")
    second = foretold(person, form, out)
    if form == "folder":
        assert int(str(second["moved"])) > 0
        assert int(str(second["avoided"])) > 0
    if is_tree:
        assert int(str(second["new"])) > 0
        last = foretold(person, form, out, "--highlight", "Gifts", "--prune")
        assert int(str(last["removed"])) > 0
    assert not list(temporary.iterdir())


@pytest.mark.whole
def test_a_dry_run_follows_files_that_change_places(harness: ExportHarness) -> None:
    """Their names are each other's: nothing is new, nothing is in the way; then one takes the other's place
    for good."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    template = ("--template", "{title}/{position}.{ext}")
    foretold(person, "folder", "out", *template)
    photo = video("10", media_type=1, code="Cphoto")
    harness.show(
        {"1": "Gift: Guide", "2": "Travel 🦋"}, {"1": (video("11"), photo), "2": (video("11"),)}, LATER
    )
    swapped = foretold(person, "folder", "out", *template)
    assert (swapped["moved"], swapped["new"], swapped["avoided"]) == (3, 0, 0)
    assert int(str(foretold(person, "folder", "out", *template, "--type", "photo", "--prune")["removed"])) > 0
    assert int(str(foretold(person, "folder", "out", *template)["new"])) > 0


def test_a_dry_run_names_what_could_not_be_had(harness: ExportHarness) -> None:
    """A blob that is missing, and a directory that is none; the code is 0, since nothing was tried."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    harness.blob(harness.keep("10", Role.THUMBNAIL, b"photo")).unlink()
    harness.out.mkdir()
    (harness.out / "natgeo").mkdir()
    (harness.out / "natgeo" / "Travel 🦋 (2)").write_text("mine")
    did = foretold(person, "folder", "out")
    assert did["failed"] == 3
    told = person.run("export", "folder", "out", "-n")
    assert told.code == 0
    assert "Cphoto.jpg: its blob is missing (archiver verify --repair)\n" in told.err
    assert told.err.endswith("dry run, nothing was changed; there would be 4 files in out: 3 failed\n")


@pytest.mark.parametrize(
    "way", ["auto", "copy", *(pytest.param(way, marks=pytest.mark.whole) for way in ("reflink", "hardlink"))]
)
def test_a_dry_run_foresees_the_way(harness: ExportHarness, way: str) -> None:
    """Cloned, linked or copied, or refused with code 8, as this file system can."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    dry = person.run("export", "folder", "out", "--link", way, "--dry-run", "--json").object
    did = person.run("export", "folder", "out", "--link", way, "--json").object
    for name in ("reflinked", "hardlinked", "copied", "exit_code", "bytes"):
        assert dry[name] == did[name], name
    if way == "reflink" and did["exit_code"]:
        assert dry["error"] == did["error"]


def test_a_dry_run_is_refused_where_the_export_is(harness: ExportHarness) -> None:
    """In the archive, in another form's directory, for one table on stdout; and nothing is made."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    assert person.run("export", "folder", "out").code == 0
    before = everything(harness.home)
    for words in (("site", "out"), ("folder", "archive/out"), ("csv", "-", "--table", "items")):
        assert person.run("export", *words, "--dry-run").code == 2, words
    assert everything(harness.home) == before


def test_a_dry_run_reads_the_list_of_an_export_that_was_killed(harness: ExportHarness) -> None:
    """With the journal that SQLite has not yet rolled back, which stays as it is."""
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    assert person.run("export", "folder", "out").code == 0
    cut = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE files SET path = 'x' || path, size = size + 1")
for n in range(2000):
    db.execute("INSERT INTO files VALUES (?, ?, ?, '', '', 0, 0, NULL, NULL, NULL, NULL, NULL)", [str(n)] * 3)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", cut, str(harness.out / ".archiver-export/files.db")], check=False)
    assert (harness.out / ".archiver-export/files.db-journal").stat().st_size > 0
    assert foretold(person, "folder", "out")["files"] == 7


_TEMPLATES = (
    "{username}/{title}/{position}.{ext}",
    "{title}/{code}.{ext}",
    "{username}/{date} {code}.{ext}",
    "{code}.{ext}",
)


@pytest.mark.whole
@pytest.mark.parametrize("seed", range(20))
def test_a_dry_run_says_what_any_export_does(harness: ExportHarness, seed: int) -> None:
    """One template after another, with names that clash, through nights that rename, reorder and replace,
    while somebody deletes files and puts their own in their places."""
    drawn, when = random.Random(seed), LATER
    person = CommandLineUser(harness.home, None, harness.environ).in_process
    form = drawn.choice(["folder", "folder", "site", "bagit"])
    for _ in range(5):
        words = ["--link", drawn.choice(["copy", "auto"])]
        if form == "folder":
            words += ["--template", drawn.choice(_TEMPLATES), *drawn.choice([[], ["--sidecars"]])]
        words += drawn.choice([[], ["--prune"]]) + drawn.choice([[], [], ["--highlight", "Travel*"]])
        foretold(person, form, "out", *words)
        when += timedelta(days=1)
        items = [video(str(10 + n), code=drawn.choice(["Ca", "Cb", f"C{n}"])) for n in range(4)]
        drawn.shuffle(items)
        titles = {"1": drawn.choice(["Gift", "travel 🦋", "Travel 🦋"]), "2": "Travel 🦋"}
        harness.show(titles, {"1": tuple(items[:3]), "2": tuple(items[1:])}, when)
        for pk in drawn.sample(["10", "11", "12", "13"], 2):
            harness.keep(pk, drawn.choice([Role.VIDEO, Role.THUMBNAIL]), drawn.randbytes(5), when)
        harness.rename(drawn.choice(["natgeo", "NATGEO", "other"]), when)
        files = [path for path in sorted(harness.out.rglob("*")) if path.is_file()]
        ours = [path for path in files if ".archiver-export" not in path.parts]
        for path in drawn.sample(ours, min(len(ours), 3)):
            path.unlink()
            if drawn.random() < 0.5:
                path.write_text("mine")
