"""One night among pages that are wrong in one thing: the rest of each page is kept, and nothing wrong becomes
a row.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from archiver.runner.tally import Summary
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import account_pk, edit_answer, highlight_pk, page, tray
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

BIG = 2**63 + 1
FLOAT = 3.1e18
OUT_OF_RANGE: dict[str, Json] = {"media_count": -5, "created_at": 10**13, "latest_reel_media": -1}

Object = dict[str, Json]
Change = Callable[[Object, list[Json]], None]


def first(items: list[Json]) -> Object:
    found = items[0]
    assert isinstance(found, dict)
    return found


def setting(**fields: Json) -> Change:
    """The first item of the page gets these fields."""
    return lambda _, items: first(items).update(fields)


def setting_of_page(**fields: Json) -> Change:
    """The highlight of the page gets these fields."""
    return lambda found, _: found.update(fields)


def without_thumbnail(_: Object, items: list[Json]) -> None:
    del first(items)["thumbnail_url"]


def strangers(_: Object, items: list[Json]) -> None:
    items += ["x", None, 7, {}, []]


def repeated(_: Object, items: list[Json]) -> None:
    items.append(dict(first(items), code="second"))


PAGES: dict[str, Change] = {
    "well": lambda _found, _items: None,
    "big pk": setting(pk=BIG),
    "float pk": setting(pk=FLOAT),
    "no items": setting_of_page(items="x"),
    "strangers": strangers,
    "wrong types": setting(
        user=None, video_url=[], taken_at="x", mentions={}, stickers=[7], video_duration="1"
    ),
    "null picture": setting(thumbnail_url=None),
    "no picture": without_thumbnail,
    "new kind": setting(media_type=8, product_type="hologram", hologram_url="https://cdn.example/x"),
    "repeated": repeated,
    "numbers": setting_of_page(**OUT_OF_RANGE),
}
NUMBERS = {kind: number for number, kind in enumerate(PAGES)}
TWICE, KEYS, ENDLESS = (len(PAGES) + n for n in range(3))


def as_page(change: Change) -> Callable[[Json], None]:
    def apply(tree: Json) -> None:
        assert isinstance(tree, dict)
        items = tree["items"]
        assert isinstance(items, list)
        change(tree, items)

    return apply


def listed_twice(tree: Json) -> None:
    assert isinstance(tree, list)
    tree.append(dict(first(tree), title="second"))


def with_two_titles(tree: Json) -> bytes:
    return json.dumps(tree).encode().replace(b'"title":', b'"title": "first", "title":')


def out_of_range(tree: Json) -> None:
    assert isinstance(tree, list)
    first(tree).update(OUT_OF_RANGE)


def endless_video(tree: Json) -> bytes:
    return json.dumps(tree).replace('"video_duration": 1.0', '"video_duration": 1e999').encode()


@dataclass(frozen=True)
class Night:
    """The night's summary and what the archive says of it."""

    harness: ArchiveHarness
    summary: Summary

    def items(self, kind: str) -> list[tuple[object, ...]]:
        """(pk, files) of the items of the highlight whose page was changed in this way."""
        return self.harness.rows(
            "select i.pk, count(f.id) from highlight_items h join items i on i.pk = h.item_pk"
            " left join files f on f.item_pk = i.pk where h.highlight_pk = ? group by i.pk, h.position"
            " order by h.position",
            self.pk(kind),
        )

    def is_whole(self, kind: str) -> bool:
        return self.harness.one("select completed_at from highlights where pk = ?", self.pk(kind)) is not None

    def failures(self, kind: str) -> list[tuple[str, str]]:
        return [(f.reason.value, f.detail) for f in self.summary.failures if f.subject_pk == self.pk(kind)]

    @staticmethod
    def pk(kind: str) -> str:
        return highlight_pk(NUMBERS[kind])


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """One night over an account for each kind of page, with one highlight of a photo and a video."""
    with FaultyStandIn(EditableWorld.generate(ENDLESS + 1, 1, 2)) as upstream:
        for kind, number in NUMBERS.items():
            upstream.faults.add(edit_answer(as_page(PAGES[kind])), **page(number), count=None)
        upstream.faults.add(edit_answer(out_of_range), **tray(NUMBERS["numbers"]), count=None)
        upstream.faults.add(edit_answer(listed_twice), **tray(TWICE), count=None)
        upstream.faults.add(edit_answer(with_two_titles), **tray(KEYS), count=None)
        upstream.faults.add(edit_answer(endless_video), **page(ENDLESS), count=None)
        harness = ArchiveHarness(tmp_path_factory.mktemp("items") / "archive", upstream)
        yield Night(harness, harness.night(*map(account_pk, range(ENDLESS + 1))))


def test_fault_a23_the_night_ends_with_what_cannot_be_read_recorded(night: Night) -> None:
    """Code 3 and no bug: three pages have something unreadable, all others are whole."""
    assert night.summary.exit_code == 3
    troubled = {f.subject_pk for f in night.summary.failures}
    assert troubled == {night.pk(kind) for kind in ("float pk", "no items", "strangers")}
    unfinished = night.harness.rows("select pk from highlights where completed_at is null")
    assert {pk for (pk,) in unfinished} == troubled


def test_fault_a21_a_pk_beyond_64_bits_keeps_its_digits(night: Night) -> None:
    """It came as an integer and is stored as the text of it, with its file."""
    assert (str(BIG), 1) in night.items("big pk")
    assert night.is_whole("big pk")


def test_fault_a22_a_pk_that_came_as_a_float_is_refused(night: Night) -> None:
    """It has lost its last digits: no row stands under a made-up pk, the failure says so, and the other item
    is held.
    """
    assert len(night.items("float pk")) == 1
    assert night.harness.one("select count(*) from items where pk like '%e%' or pk like '31000%'") == 0
    assert night.failures("float pk") == [("malformed", "1 item cannot be read: it has no numeric pk")]


def test_fault_a23_a_page_without_a_list_of_items_is_no_empty_highlight(night: Night) -> None:
    """It failed; nothing is taken for an empty page that was read."""
    assert night.items("no items") == []
    assert "without a list of items" in night.failures("no items")[0][1]


def test_fault_a23_what_is_no_item_costs_nothing_else(night: Night) -> None:
    """Text, null, a number, {} and [] among the items: the two true ones are kept with their files."""
    assert [files for _, files in night.items("strangers")] == [1, 2]
    assert night.failures("strangers")[0][1].startswith("5 items cannot be read")


def test_fault_a23_a_field_of_a_wrong_type_is_null(night: Night) -> None:
    """The item stands with its picture; what could not be read of it is null."""
    ((pk, files), _) = night.items("wrong types")
    assert files == 1
    assert night.harness.rows("select taken_at, video_duration from items where pk = ?", pk) == [(None, None)]
    assert night.is_whole("wrong types")


@pytest.mark.parametrize("kind", ["null picture", "no picture"])
def test_fault_a24_an_item_without_a_link_is_held_without_a_file(night: Night, kind: str) -> None:
    """What is not offered is no failure and holds nothing back."""
    assert [files for _, files in night.items(kind)] == [0, 2]
    assert night.is_whole(kind)
    assert night.failures(kind) == []


def test_fault_a25_a_new_kind_of_item_is_kept_with_what_is_known_of_it(night: Night) -> None:
    """``media_type`` 8 has its row and its picture; the kept answer holds the field that nobody knows."""
    ((pk, files), _) = night.items("new kind")
    assert files == 1
    assert night.harness.rows("select media_type, product_type from items where pk = ?", pk) == [
        (8, "hologram")
    ]
    ((segment, offset, length),) = night.harness.rows(
        (
            "select a.segment, a.offset, a.length from items i join answers a on a.id = "
            "i.answer_id where i.pk = ?"
        ),
        pk,
    )
    kept = (night.harness.root / "answers" / str(segment)).read_bytes()[int(str(offset)) :][
        : int(str(length))
    ]
    assert b"hologram_url" in gzip.decompress(kept)


def test_fault_a26_an_item_that_is_repeated_is_one_row(night: Night) -> None:
    """The first of them counts; it is downloaded once."""
    assert [files for _, files in night.items("repeated")] == [1, 2]
    pk = str(night.items("repeated")[0][0])
    assert night.harness.one("select code from items where pk = ?", pk) != "second"
    assert len(night.harness.upstream.requests.cdn_requests(item=pk)) == 1


def test_fault_a26_a_highlight_that_is_listed_twice_is_one_row_and_one_unit(night: Night) -> None:
    """Of two entries with one pk the first counts; of two equal keys in one object the last."""
    twice = highlight_pk(TWICE)
    assert night.harness.rows("select title from highlights where pk = ?", twice) == [("Highlight 0",)]
    assert night.harness.one("select count(*) from api_calls where subject = ?", twice) == 1
    assert night.harness.one("select title from highlights where pk = ?", highlight_pk(KEYS)) == "Highlight 0"


def test_fault_a27_a_number_out_of_range_is_null(night: Night) -> None:
    """A negative count, a date in the year 318857, a video that lasts for ever: the rows stand without
    them.
    """
    facts = "select created_at, media_count, latest_reel_media from highlights where pk = ?"
    assert night.harness.rows(facts, night.pk("numbers")) == [(None, None, None)]
    assert night.is_whole("numbers")
    durations = (
        "select video_duration from items i join highlight_items h on h.item_pk = i.pk"
        " where h.highlight_pk = ? and i.media_type = 2"
    )
    assert night.harness.rows(durations, highlight_pk(ENDLESS)) == [(None,)]
    assert night.harness.rows(durations, night.pk("well")) != [(None,)]
