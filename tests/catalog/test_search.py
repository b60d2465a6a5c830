"""What is searched is what the rows say, whoever wrote them, and what is found is that, alike on both
databases.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from archiver.catalog import Catalog, locate, record, schema
from archiver.catalog.query import content, totals
from archiver.catalog.search import results, search_index, tokenizer, update_documents
from archiver.catalog.search.query_parser import SearchQuery
from archiver.errors import DatabaseError
from archiver.model.archived import EVERYTHING
from archiver.model.identity import Subject
from archiver.model.query_results import Dated, Field, Hit, Kind, Said
from archiver.model.upstream import Hashtag, Item, Location, Mention, Sponsor, User, WebLink
from tests.support import search_reference
from tests.support.catalog_samples import FACTS, LATER, LATEST, NATGEO, highlight, page, rows, tray, video
from tests.support.databases import (
    NOW,
    OWN_SQLITE_EVERYDAY,
    SQLITE_EVERYDAY,
    execute_directly,
    make_newer_migrations,
)

SALWA = User("75885841119", "salwaaa_ki", "𓆩سلوى 𓆪", False, False, None, "salwa.jpg")
_RICH = video(
    "11",
    mentions=(Mention("nasa.hub", "5", "Näsa Hubble"), Mention("salwaaa_ki", "6")),
    hashtags=(Hashtag("旅行中"), Hashtag("GiftGuide")),
    locations=(Location("Café Tokyo 東京"),),
    web_links=(WebLink("https://www.natgeo.com/gift-guide?utm=1", "Read the guide 📖", "natgeo.com"),),
    sponsors=(Sponsor("NatGeoTV"),),
)


@pytest.fixture
def told(catalog: Catalog, run_id: int) -> Catalog:
    """Two accounts after two nights with edits."""
    first = (tray(highlight("1", "Gift Guide 🎁"), highlight("2", "北京旅行")), tray("3", user=SALWA))
    for user, listed in zip((NATGEO, SALWA), first, strict=True):
        catalog.write(record.record_tray, run_id, user.pk, listed, NOW)
    catalog.write(
        record.record_page,
        run_id,
        None,
        page("1", _RICH, video("12", media_type=1), title="Gift Guide 🎁"),
        FACTS,
        NOW,
    )
    catalog.write(
        record.record_page,
        run_id,
        None,
        page("2", video("11"), _mentions("13", "nasa", user_pk="42"), title="北京旅行"),
        FACTS,
        NOW,
    )
    again = page(
        "1", _mentions("12", "nasa", media_type=1), _mentions("14", "esa", days=-9), title="Presents"
    )
    catalog.write(record.record_page, run_id, None, again, FACTS, LATER)
    renamed = User(NATGEO.pk, "natgeo2", "Nat Geo", False, True, None, "natgeo.jpg")
    catalog.write(
        record.record_tray,
        run_id,
        NATGEO.pk,
        tray(highlight("1", "Presents"), highlight("2", "北京旅行"), user=renamed),
        LATER,
    )
    return catalog


def _mentions(pk: str, username: str, days: int = 0, **more: object) -> Item:
    return video(pk, mentions=(Mention(username),), taken_at=NOW + timedelta(days=days), **more)


def _ask(catalog: Catalog) -> search_reference.Ask:
    """By one connection of many: an archive's own queries take one each."""
    return lambda sql: catalog.read(lambda connection: connection.exec_driver_sql(sql).all())


def _hits(catalog: Catalog, text: str, **more: object) -> list[Hit]:
    return list(catalog.stream(results.hits, SearchQuery.parse(text), **more))  # type: ignore[arg-type]


def _found(catalog: Catalog, text: str, **more: object) -> list[str]:
    return [f"{hit.kind} {hit.subject_pk}" for hit in _hits(catalog, text, **more)]


_FILLED = "select subject, subject_pk, names, mentions from search_documents where at is not null"


def _wrong(database: str | Path, catalog: Catalog) -> list[str]:
    """Where documents are not what the rows say, or the index is not what the documents say."""
    if isinstance(database, Path):
        with closing(sqlite3.connect(database)) as lite:
            lite.execute("insert into search_index (search_index, rank) values ('integrity-check', 1)")
    else:
        anew = "search_words(names, tags, mentions, links, filters)"
        assert rows(catalog, f"select * from search_documents where words is distinct from {anew}") == []
    return search_reference.differences(_ask(catalog))


def test_documents_are_what_the_rows_say(told: Catalog, database: str | Path) -> None:
    """After nights with new, renamed and enriched things: those that have words have a document, and each is
    right.
    """
    assert _wrong(database, told) == []
    assert len(search_reference.expected_texts(_ask(told))) == 9


_FOREIGN = (
    "update users set full_name = 'Nosuch' where pk = '787132'",
    "insert into users (pk, username, first_seen_at, last_seen_at, verdict_checks)"
    " select '9', 'newcomer', first_seen_at, first_seen_at, 0 from users where pk = '787132'",
    "update usernames set username = 'hidden' where username = 'natgeo'",
    "delete from usernames where username = 'natgeo2'",
    "update highlights set title = null where pk = '2'",
    "update highlights set created_at = null",
    "update highlights set user_pk = '75885841119' where pk = '1'",
    "update changes set old = 'Gifts' where old = 'Gift Guide 🎁'",
    "update items set media_type = 2, taken_at = first_seen_at where pk in ('12', '14')",
    "update items set user_pk = '1'",
    "insert into highlight_items (highlight_pk, item_pk, position, first_seen_at, last_seen_at)"
    " select '3', item_pk, position, first_seen_at, last_seen_at"
    " from highlight_items where item_pk = '12'",
    "delete from highlight_items where item_pk = '13'",
    "update mentions set username = 'other' where username = 'nasa'",
    "update mentions set item_pk = '12', position = 7 where item_pk = '14'",
    "update hashtags set name = 'x' where position = 0",
    "update locations set name = null",
    "update links set url = 'https://x.example/'",
    "update links set title = 'Buch'",
    "update sponsors set username = 'else'",
    "delete from changes",
    "delete from mentions",
)


def test_whoever_changes_a_row_nothing_old_is_found_and_the_next_write_knows_it(
    told: Catalog, database: str | Path
) -> None:
    """The database itself notices the change of another program; until our next commit the thing is not found
    at all.
    """
    writer = locate(database).create_writer()
    for statement in _FOREIGN:
        before = len(_ask(told)(_FILLED))
        with writer.begin() as connection:
            connection.execute(text(statement))
        right = search_reference.expected_texts(_ask(told))
        for subject, pk, names, mentions in _ask(told)(_FILLED):
            fields = right[str(subject), str(pk)]
            assert set(str(names).split(" | ")) - {""} == fields["names"]
            assert set(str(mentions).split(" | ")) - {""} == fields["mentions"]
        assert len(_ask(told)(_FILLED)) < before or statement.startswith("insert into users"), statement
        told.write(record.start_run, "run", NOW)
        assert _wrong(database, told) == [], statement
    writer.dispose()


def test_two_writers_at_once_leave_no_words_behind(told: Catalog, database: str | Path) -> None:
    """PostgreSQL: whoever changes a row of a document that is stale already holds up the one who writes its
    words, and is seen.
    """
    if isinstance(database, Path):
        pytest.skip("one writer at a time on SQLite")
    execute_directly(database, "update mentions set full_name = 'x' where item_pk = '12'")
    writer = locate(database).create_writer()
    with writer.connect() as other:
        other.execute(text("update mentions set username = 'late' where item_pk = '12'"))
        ours = told.submit(record.start_run, "run", NOW)
        waits = (
            "select count(*) from pg_stat_activity where datname = current_database() and "
            "wait_event_type = 'Lock'"
        )
        until = time.monotonic() + 5
        while _ask(told)(waits)[0][0] == 0 and not ours.done() and time.monotonic() < until:
            time.sleep(0.01)
        other.commit()
    writer.dispose()
    ours.result()
    told.write(record.start_run, "run", NOW)
    assert _wrong(database, told) == []
    assert _found(told, "late") == ["photo 12"]


@SQLITE_EVERYDAY
def test_an_index_that_another_connection_has_made_again_is_no_damage(
    told: Catalog, database: str | Path
) -> None:
    """SQLite 3.46 checks it by what a reader's connection remembers of it."""
    with Catalog.open(database, write=False) as reader:
        assert reader.read(totals.damage) == ()
        told.write(search_index.renew)
        assert reader.read(totals.damage) == ()


def test_postgresql_gets_the_words_as_they_are(postgres_archive: str) -> None:
    """Each at its place with the weight of its field, a place between texts and between fields; nothing in
    one is syntax.
    """
    sql = "select search_words('a | b', '🦋', 'x''\\y', 'b https', '@1')::text"
    with Catalog.open(postgres_archive, write=False) as catalog:
        assert rows(catalog, sql) == [(r"'@1' 'a':1A 'b':3A,9 'https':10 'x''\\y':7C '🦋':5B",)]


@SQLITE_EVERYDAY
def test_a_row_that_is_replaced_is_noticed(told: Catalog, database: str | Path) -> None:
    """INSERT OR REPLACE, as tools of others write to SQLite, overrules what triggers do about conflicts."""
    if isinstance(database, str):
        pytest.skip("SQLite's")
    replaced = "insert or replace into mentions (item_pk, position, username) values ('12', 0, 'whoever')"
    execute_directly(database, replaced)
    told.write(record.start_run, "run", NOW)
    assert _wrong(database, told) == []
    assert _found(told, "whoever") == ["photo 12"]


_SAMPLES: tuple[tuple[str, list[str], list[str]], ...] = (
    ("nat", ["nat"], []),
    ("NASA hub", ["nasa", "hub"], []),
    ('"nasa hub"', ["nasa hub "], []),
    ("nasa.hu", ["nasa hu"], []),
    ("hubble salwaaa", ["hubble", "salwaaa"], []),
    ('"hub nasa"', ["hub nasa "], []),
    ("nasa -hub", ["nasa"], ["hub"]),
    ("cafe tok", ["cafe", "tok"], []),
    ("旅行", ["旅行"], []),
    ("行", ["行"], []),
    ("北京 -2026", ["北京"], ["2026"]),
    ("🎁", ["🎁"], []),
    ("سلوى", ["سلوى"], []),
    ("gift", ["gift"], []),
    ("natgeo.com/gift-guide", ["natgeo com gift guide"], []),
    ("read 📖 tokyo", ["read", "📖", "tokyo"], []),
    ("utm", ["utm"], []),
    ("x or nasa", ["x", "or", "nasa"], []),
)
_ALTERNATIVES: tuple[tuple[str, tuple[list[str], ...], list[str]], ...] = (
    ("esa OR gift", (["esa"], ["gift"]), []),
    ("hubble OR esa nasa", (["hubble", "nasa"], ["esa", "nasa"]), []),
    ('presents OR "gift guide" OR 旅行 -2026', (["presents"], ["gift guide "], ["旅行"]), ["2026"]),
    ("nasa OR nasa", (["nasa"],), []),
)


def test_what_is_found_is_what_a_plain_look_at_the_rows_finds(told: Catalog) -> None:
    """The same set, on both databases; and nothing twice."""
    for typed, all_of, none_of in _SAMPLES:
        keys = [(hit.subject.value, hit.subject_pk) for hit in _hits(told, typed)]
        assert sorted(keys) == sorted(search_reference.expected_hits(_ask(told), all_of, none_of)), typed


def test_of_words_with_or_between_them_one_is_enough(told: Catalog) -> None:
    """The union of what is found for each, once, and alike on both databases; the OR is closer than the space
    between words.
    """
    for typed, ways, none_of in _ALTERNATIVES:
        keys = [(hit.subject.value, hit.subject_pk) for hit in _hits(told, typed)]
        union = {
            key for all_of in ways for key in search_reference.expected_hits(_ask(told), all_of, none_of)
        }
        assert union
        assert sorted(keys) == sorted(union), typed


def test_names_come_first_then_tags_mentions_links_and_the_newest_before(told: Catalog, run_id: int) -> None:
    """Then what has one word here and another there. So it is on both databases."""
    more = (
        video("21", hashtags=(Hashtag("nasa"),), taken_at=NOW - timedelta(days=400)),
        video("22", web_links=(WebLink("https://nasa.example/"),), taken_at=LATEST),
        video(
            "23", web_links=(WebLink("https://esa.example/"),), mentions=(Mention("nasa"),), taken_at=LATEST
        ),
    )
    told.write(record.record_page, run_id, None, page("4", *more, title="NASA"), FACTS, LATER)
    expected = ["highlight 4", "video 21", "video 23", "photo 12", "video 13", "video 11", "video 22"]
    found = _found(told, "nasa")
    assert sorted(found[3:6]) == sorted(expected[3:6])  # taken at one moment
    assert found[:3] + found[6:] == expected[:3] + expected[6:]
    assert _found(told, "nasa", limit=2) == expected[:2]
    assert _found(told, "nasa esa") == ["video 23"]


@SQLITE_EVERYDAY
def test_it_can_be_asked_of_accounts_kinds_and_times(told: Catalog) -> None:
    """Whose highlight has an item, that one's it is."""
    assert _found(told, "nasa", kinds=[Kind.PHOTO]) == ["photo 12"]
    assert _found(told, "nat", kinds=[Kind.ACCOUNT]) == ["account 787132"]
    assert sorted(_found(told, "gift", kinds=[Kind.HIGHLIGHT, Kind.VIDEO])) == [
        "highlight 1",
        "highlight 3",
        "video 11",
    ]
    assert _found(told, "gift", user_pks=[SALWA.pk]) == ["highlight 3"]
    assert "video 13" in _found(told, "nasa", user_pks=[NATGEO.pk])
    assert _found(told, "nasa", user_pks=["42"]) == []
    assert _found(told, "esa", since=NOW) == []
    assert _found(told, "esa", since=NOW - timedelta(days=9)) == ["video 14"]


@SQLITE_EVERYDAY
def test_it_can_be_asked_of_single_highlights(told: Catalog) -> None:
    """Of the highlight itself and of what is in it, whoever else has that; with kinds as ever."""
    assert _found(told, "nasa", highlight_pks=["2"]) == ["video 13", "video 11"]
    assert sorted(_found(told, "nasa", highlight_pks=["1", "2"])) == ["photo 12", "video 11", "video 13"]
    assert _found(told, "gift", highlight_pks=["3"]) == ["highlight 3"]
    assert _found(told, "gift", highlight_pks=["3"], kinds=[Kind.ITEM]) == []
    assert _found(told, "salwaaa", highlight_pks=["3"]) == []
    assert _found(told, "nat", highlight_pks=["404"]) == []


def test_a_hit_says_what_its_date_is(told: Catalog, database: str | Path) -> None:
    """When it was taken or created, as upstream says, else when it was first seen."""
    assert {hit.dated for hit in _hits(told, "nasa", kinds=[Kind.ITEM])} == {Dated.TAKEN}
    (titled,) = _hits(told, "presents", kinds=[Kind.HIGHLIGHT])
    assert titled.dated is Dated.CREATED
    execute_directly(
        database,
        "update items set taken_at = null where pk = '13'",
        "update highlights set created_at = null where pk = '1'",
    )
    told.write(update_documents)
    assert [hit.dated for hit in _hits(told, "nasa", highlight_pks=["2"])] == [Dated.FIRST_SEEN, Dated.TAKEN]
    (titled,) = _hits(told, "presents", kinds=[Kind.HIGHLIGHT])
    assert titled.dated is Dated.FIRST_SEEN


@SQLITE_EVERYDAY
def test_a_hit_tells_what_it_is_and_what_matched(told: Catalog) -> None:
    """With the names of today; what something was called once is found, and told as that."""
    (account,) = _hits(told, "geographic")
    assert account == Hit(
        Subject.USER, "787132", Kind.ACCOUNT, NOW, Dated.FIRST_SEEN, "787132", "natgeo2", None, None, None,
        False, (Said(Field.FORMER_FULL_NAME, "National Geographic"),),
    )  # fmt: skip
    (titled,) = _hits(told, "gift guide", user_pks=[NATGEO.pk], kinds=[Kind.HIGHLIGHT])
    assert titled.matched == (Said(Field.FORMER_TITLE, "Gift Guide 🎁"),)
    (item,) = _hits(told, "hubble guide")
    assert (item.user_pk, item.username, item.highlight_pk, item.title) == (
        "787132",
        "natgeo2",
        "1",
        "Presents",
    )
    assert (item.kind, item.code, item.at) == (Kind.VIDEO, "C11", NOW)
    assert item.matched == (
        Said(Field.MENTION_NAME, "Näsa Hubble"),
        Said(Field.LINK, "https://www.natgeo.com/gift-guide?utm=1"),
        Said(Field.LINK_TITLE, "Read the guide 📖"),
    )


def test_fault_x9_words_that_look_like_syntax_are_searched_as_words(catalog: Catalog, run_id: int) -> None:
    """Of SQL, of FTS5, of a tsquery: stored in a title and typed as a search, they find that title and break
    nothing.
    """
    hostile = [
        "'); DROP TABLE users--",
        "x' OR '1'='1",
        'a" NEAR(b, 2) ^c {names}: d*',
        "e:*A & !f <-> g | h\\",
        "%s %(s)s :s ?",
    ]
    listed = tray(*(highlight(str(n), title) for n, title in enumerate(hostile, 1)))
    catalog.write(record.record_tray, run_id, NATGEO.pk, listed, NOW)
    for n, title in enumerate(hostile, 1):
        assert f"highlight {n}" in _found(catalog, title), title
    assert _found(catalog, "nat\0 geo \ud800") == _found(catalog, "nat geo")
    assert len(rows(catalog, "select * from users")) == 1


@SQLITE_EVERYDAY
def test_as_many_words_may_be_sought_as_a_title_has(catalog: Catalog, run_id: int) -> None:
    """A pasted title of two hundred words finds itself, also in quotes, and neither database finds that too
    much.
    """
    title = " ".join(f"w{n}" for n in range(200))
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(highlight("1", title)), NOW)
    for typed in (title, f'"{title}"', f"{title} -{' -'.join(f'x{n}' for n in range(50))}"):
        assert _found(catalog, typed) == ["highlight 1"]


@SQLITE_EVERYDAY
def test_what_is_too_long_for_an_index_is_searched_by_its_beginning(catalog: Catalog, run_id: int) -> None:
    """A hostile title of a megabyte keeps nothing from being stored."""
    title = "start " + " ".join(f"{'a' * 60}{n}" for n in range(17_000))
    catalog.write(record.record_tray, run_id, NATGEO.pk, tray(highlight("1", title)), NOW)
    assert _found(catalog, "start") == ["highlight 1"]


def test_words_that_a_database_refuses_cost_no_fact(own_database: str | Path) -> None:
    """The one document is left out, its rows and all other documents are there."""
    refusal = (
        (
            "CREATE TRIGGER refuse BEFORE UPDATE ON search_documents WHEN new.names LIKE "
            "'%refused%' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        if isinstance(own_database, Path)
        else "ALTER TABLE search_documents ADD CHECK (names NOT LIKE '%refused%')"
    )
    with Catalog.open(own_database, write=True) as catalog:
        execute_directly(own_database, refusal)  # now: a file with a foreign trigger is not opened
        run = catalog.write(record.start_run, "run", NOW)
        shown = tray(highlight("1", "taken"), highlight("2", "refused"), highlight("3", "taken too"))
        catalog.write(record.record_tray, run, NATGEO.pk, shown, NOW)
        assert sorted(_found(catalog, "taken")) == ["highlight 1", "highlight 3"]
        assert _found(catalog, "refused") == []
        assert [kept.title for kept in catalog.stream(content.highlights, EVERYTHING)] == [
            "taken",
            "refused",
            "taken too",
        ]


@SQLITE_EVERYDAY
def test_a_word_that_is_too_long_for_an_index_costs_no_fact(
    catalog: Catalog, run_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were there one in spite of all bounds, PostgreSQL would not take it: that thing alone is not found by
    it.
    """
    monkeypatch.setattr(tokenizer, "_MAX_WORD_LENGTH", 4_000)
    shown = tray(highlight("1", "taken"), highlight("2", "a" * 3_000), highlight("3", "taken too"))
    catalog.write(record.record_tray, run_id, NATGEO.pk, shown, NOW)
    assert sorted(_found(catalog, "taken")) == ["highlight 1", "highlight 3"]
    assert len(list(catalog.stream(content.highlights, EVERYTHING))) == 3


def test_a_database_that_is_short_of_something_costs_no_words(own_database: str | Path) -> None:
    """Where it would take them another time (a deadlock, no memory, told to stop) the fact fails with them,
    and is made again.
    """
    if isinstance(own_database, Path):
        pytest.skip("no trigger of SQLite's can tell so")
    short = (
        "CREATE FUNCTION short() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'for a moment' USING ERRCODE = 'out_of_memory'; END $$"
    )
    when = "CREATE TRIGGER short BEFORE UPDATE ON search_documents FOR EACH ROW EXECUTE PROCEDURE short()"
    with Catalog.open(own_database, write=True) as catalog:
        run = catalog.write(record.start_run, "run", NOW)
        execute_directly(own_database, short, when)
        with pytest.raises(DatabaseError, match="for a moment"):
            catalog.write(record.record_tray, run, NATGEO.pk, tray(highlight("1", "taken")), NOW)
        assert list(catalog.stream(content.highlights, EVERYTHING)) == []
        execute_directly(own_database, "DROP FUNCTION short CASCADE")
        catalog.write(record.record_tray, run, NATGEO.pk, tray(highlight("1", "taken")), NOW)
        assert _found(catalog, "taken") == ["highlight 1"]


@OWN_SQLITE_EVERYDAY
def test_an_upgrade_writes_the_documents_that_its_migrations_made_stale(
    own_database: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive can be searched when its upgrade has ended."""
    with Catalog.open(own_database, write=True) as catalog:
        run = catalog.write(record.start_run, "run", NOW)
        catalog.write(record.record_tray, run, NATGEO.pk, tray(highlight("1", "北京旅行")), NOW)
    stale = "UPDATE search_documents SET at = NULL, names = NULL, filters = NULL"
    make_newer_migrations(tmp_path / "migrations", f"op.execute({stale!r})")
    monkeypatch.setattr(schema, "migrations", lambda: tmp_path / "migrations")
    with Catalog.open(own_database, write=True) as catalog:
        assert catalog.read(results.count_stale) == 0
        assert _wrong(own_database, catalog) == []
        assert _found(catalog, "行") == ["highlight 1"]


@SQLITE_EVERYDAY
def test_decorated_names_are_found_by_the_words_in_them(catalog: Catalog, run_id: int, whole: bool) -> None:
    """Names, titles and tags, whatever letters and signs are their ornaments; by all of it that somebody
    copies, too.
    """
    names = {
        "11": ("𓆩سلوى 𓆪", "سلوى"),
        "12": ("ᡣ𐭩Salwa𖦹", "salwa"),
        "13": ("୨୧ნინო୨୧", "ნინო"),
        "14": ("亗᭄Нина99᭄", "нина99"),
        "15": ("ღநிலாღ", "நிலா"),
        "16": ("ツ𝓜𝓪𝓻𝓲𝓪ツ", "maria"),
        "17": ("ʚꜱᴀʀᴀʜɞ", "sarah"),
        "18": ("꧁𓊈旅行𓊉꧂", "旅行"),
    }
    for pk, (name, _) in names.items():
        user = User(pk, f"user{pk}", name, False, False, None, "a.jpg")
        catalog.write(record.record_tray, run_id, pk, tray(highlight(f"9{pk}", f"{name}!"), user=user), NOW)
    for pk, (name, word) in names.items():
        both = {f"account {pk}", f"highlight 9{pk}"}
        for asked in (word[:2], name, *((f'"{word}"', f'"{name}"') if whole else ())):
            assert both <= set(_found(catalog, asked)), (asked, name)
        assert set(_found(catalog, word)) == both
