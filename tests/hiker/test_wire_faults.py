"""Answers that are wrong in part or in whole: one bad thing costs only itself, and nothing raises but
AnswerMalformed.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.errors import AnswerMalformed
from archiver.hiker import wire
from archiver.hiker.wire import Document, json_document, shapes
from archiver.model.identity import is_pk
from archiver.model.upstream import HighlightPage, TrayNumbers, TrayPage
from tests.support.api_answers import FETCH, LIST, document, example, highlight, item


def page(*items: object, **fields: object) -> HighlightPage:
    """A page with these items and fields."""
    return wire.parse_highlight_page(document(highlight(items=list(items), **fields)))


@pytest.mark.parametrize("pk", [3.1e18, 1.0, True, None, "", "abc", "-1", -1, "1" * 41, "１２", ["1"], "1 "])
def test_fault_a22_an_element_without_a_usable_pk_is_rejected_alone(pk: object) -> None:
    """A float has lost its last digits, and text is no pk: that item fails, the others stand (A22)."""
    found = page(item(pk="1"), item(pk=pk), "no object", item(pk="2"))
    assert [i.pk for i in found.items] == ["1", "2"]
    assert [r.detail for r in found.rejected] == ["it has no numeric pk", "it is not an object"]
    tray = wire.parse_tray(document([highlight(pk="1"), highlight(pk=pk), None], call=LIST))
    assert ([h.pk for h in tray.highlights], tray.length) == (["1"], 3)


@pytest.mark.parametrize("pk", [2**63 + 1, 10**39, str(2**70)])
def test_fault_a21_pks_beyond_64_bits_keep_their_digits(pk: object) -> None:
    """A pk is text, whether it came as integer or string (A21)."""
    assert page(item(pk=pk)).items[0].pk == str(pk)


def test_fault_a26_the_first_of_equal_pks_wins() -> None:
    """A list that repeats a pk gives one element (A26)."""
    assert [(i.pk, i.code) for i in page(item(code="a"), item(code="b")).items] == [("99", "a")]
    tray = wire.parse_tray(document([highlight(title="a"), highlight(title="b")], call=LIST))
    assert [h.title for h in tray.highlights] == ["a"]


@pytest.mark.parametrize("following", [["x"], {"a": 1}, 1.5, True, "x" * 5000])
def test_a_next_page_that_cannot_be_asked_for_is_no_last_page(following: object) -> None:
    """Taken for the end it would hide the rest, whose absence would be evidence; null, nothing and '' are the
    end.
    """
    body = {"response": {"tray": [highlight()]}, "next_page_id": following}
    with pytest.raises(AnswerMalformed, match="next page"):
        wire.parse_tray_page(document(body, call=LIST), "1")
    for end in ({"next_page_id": None}, {"next_page_id": ""}, {}):
        assert (
            wire.parse_tray_page(document({"response": body["response"], **end}, call=LIST), "1").next_page_id
            is None
        )


def test_a_raw_cover_is_the_best_of_its_candidates() -> None:
    """Where there is neither a full nor a cropped picture, the first one counts that has a URL."""
    cover = {
        "image_versions2": {
            "candidates": [{"width": 9}, {"url": "https://a/b.jpg"}, {"url": "https://a/c.jpg"}]
        }
    }
    body = {"response": {"tray": [highlight(cover_media=cover)]}}
    assert wire.parse_tray_page(document(body, call=LIST), "1").tray.highlights[0].cover_name == "b.jpg"


WRONG: list[object] = [{}, [], 7, 1.5, True, "x", ""]


@pytest.mark.parametrize("wrong", WRONG)
def test_fault_a23_a_wrong_type_makes_an_optional_field_none(wrong: object) -> None:
    """Every optional field of an item may be of any type: the item stands (A23)."""
    names = json.loads(example("highlight_by_url"))["items"][0].keys() - {"pk"}
    found = page(item(**dict.fromkeys(names | {"polls"}, wrong)))
    assert (len(found.items), found.rejected) == (1, ())
    assert found.items[0].taken_at is None or wrong == 7


@pytest.mark.parametrize("wrong", WRONG)
def test_fault_a23_a_wrong_type_makes_a_field_of_a_highlight_none(wrong: object) -> None:
    """The same for a highlight of a tray whose owner is known."""
    names = json.loads(example("tray"))[0].keys() - {"pk"}
    tray = wire.parse_tray(document([highlight(**dict.fromkeys(names, wrong))], call=LIST), "1")
    assert len(tray.highlights) == 1


@pytest.mark.parametrize("items", [None, {}, "x", 3])
def test_fault_a23_a_page_without_a_list_of_items_is_malformed(items: object) -> None:
    """It says nothing about what is in it, which is not the same as an empty highlight (A23)."""
    with pytest.raises(AnswerMalformed, match="without a list of items"):
        wire.parse_highlight_page(document(highlight(items=items)))
    assert page().items == ()


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        ("2025-11-26T06:32:13+00:00", datetime(2025, 11, 26, 6, 32, 13, tzinfo=UTC)),
        ("2025-11-26T06:32:13Z", datetime(2025, 11, 26, 6, 32, 13, tzinfo=UTC)),
        ("2025-11-26T08:32:13.5+02:00", datetime(2025, 11, 26, 6, 32, 13, 500_000, tzinfo=UTC)),
        ("2025-11-26T06:32:13", datetime(2025, 11, 26, 6, 32, 13, tzinfo=UTC)),
        (1764138733, datetime(2025, 11, 26, 6, 32, 13, tzinfo=UTC)),
        (10**10 * 100, None),
        (10**300, None),
        (-1, None),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("2025-13-01T00:00:00Z", None),
        ("1764138733", None),
        ("x", None),
        (True, None),
        (1.5, None),
        (None, None),
    ],
)
def test_fault_a27_times_that_are_none(stated: object, read: datetime | None) -> None:
    """ISO 8601 with Z, offset or neither, and Unix seconds; whatever is out of range or no time is None
    (A27).
    """
    assert page(item(taken_at=stated)).items[0].taken_at == read
    assert page(created_at=stated).highlight.created_at == read


def test_fault_a27_numbers_out_of_range_are_none() -> None:
    """A negative or gigantic count, a negative or infinite duration (A27)."""
    raw = json.dumps(highlight(media_count=-1, latest_reel_media=2**63, items=[item(video_duration=-0.5)]))
    found = wire.parse_highlight_page(document(raw.encode()))
    assert found.highlight.numbers == TrayNumbers()
    assert found.items[0].video_duration is None
    found = wire.parse_highlight_page(document(raw.replace("-0.5", "1e999").encode()))
    assert found.items[0].video_duration is None


def test_strings_are_clean_and_bounded() -> None:
    """NUL goes, lone surrogates and broken UTF-8 become U+FFFD, a title ends after 64 kB between two
    characters (X2, X3, X5).
    """
    assert page(title="a\x00b").highlight.title == "ab"
    assert page(title="a\ud83db").highlight.title == "a\ufffdb"
    assert page(title="\udfff").highlight.title == "\ufffd"
    assert page(title="\ud83e\udd8b").highlight.title == "🦋"
    raw = json.dumps(highlight(title="TITLE")).encode().replace(b"TITLE", b"a\xff\xed\xa0\xbdb")
    assert wire.parse_highlight_page(document(raw)).highlight.title == "a\ufffd\ufffd\ufffd\ufffdb"
    long = page(title="a" + "🦋" * 20_000).highlight.title
    assert long == "a" + "🦋" * 16_383
    assert page(item(thumbnail_url="https://c/" + "a" * 20_000)).items[0].links == ()


def test_a_list_ends_after_ten_thousand() -> None:
    """The rest is one Rejected, so that nobody takes the list for whole."""
    found = page(*(item(pk=n) for n in range(10_003)))
    assert len(found.items) == 10_000
    assert [(r.detail, r.count) for r in found.rejected] == [
        ("the list has more than 10,000 entries: the rest was not read", 3)
    ]
    assert found.length == 10_003


def test_a_list_of_an_item_that_is_cut_says_how_long_it_is() -> None:
    """What is beyond 10,000 mentions gets no row, and the item says so; a list of just so many is whole."""
    mention = {"user": {"pk": "5"}}
    one, other = page(
        item(pk="1", mentions=[mention] * 10_001, links=[{}] * 10_002),
        item(pk="2", mentions=[mention] * 10_000),
    ).items
    assert (len(one.mentions), one.cut_lists) == (10_000, (("mentions", 10_001), ("links", 10_002)))
    assert (len(other.mentions), other.cut_lists) == (10_000, ())


def test_fault_a26_an_entry_that_repeats_an_item_counts_as_an_entry() -> None:
    """What a page lists is counted as the API counts it: with its repetitions, and with what cannot be
    read."""
    found = page(item(pk="1"), item(pk="2"), item(pk="1"), None)
    assert (len(found.items), found.repeat_count, found.length) == (2, 1, 4)


@pytest.mark.parametrize("field", ["pk", "id"])
def test_fault_a39_a_highlight_of_products_is_no_fault_of_its_tray(field: str) -> None:
    """Its id begins with ``shop:``: known, counted, and neither a highlight nor malformed; other words are
    malformed."""
    shop = highlight(**{"pk": "9", field: "shop:17854360229135492"})
    tray = wire.parse_tray(document([shop, highlight(), highlight(pk="store:8")], call=LIST), "1")
    assert tray.unsupported == ("shop:17854360229135492",)
    assert ([h.pk for h in tray.highlights], len(tray.rejected), tray.length) == (["17"], 1, 3)
    with pytest.raises(AnswerMalformed, match="not a highlight of stories"):
        wire.parse_highlight_page(document(shop))


def test_a_page_of_v2_is_read_with_items_of_either_shape() -> None:
    """In an envelope by the highlight's id; items as in v1, or raw with versions of their picture and
    video."""
    raw = {
        "pk": 5,
        "taken_at": 1764138733,
        "media_type": 2,
        "image_versions2": {"candidates": [{"url": "https://c/best.jpg"}, {"url": "https://c/small.jpg"}]},
        "video_versions": [{"width": 720}, {"url": "https://c/best.mp4"}],
    }
    old = item(pk="4", thumbnail_url="https://c/a.jpg", image_versions2=raw["image_versions2"])
    reel = highlight(pk="highlight:17", items=[old, raw])
    body = {"response": {"reels": {"highlight:17": reel}, "status": "ok"}}
    found = wire.parse_highlight_page(document(body), "17")
    assert [(i.pk, [link.url for link in i.links]) for i in found.items] == [
        ("4", ["https://c/a.jpg"]),
        ("5", ["https://c/best.jpg", "https://c/best.mp4"]),
    ]
    assert found.items[1].taken_at == datetime(2025, 11, 26, 6, 32, 13, tzinfo=UTC)
    for several in ({}, {"1": reel, "2": reel}, None):
        with pytest.raises(AnswerMalformed):
            wire.parse_highlight_page(document({"response": {"reels": several}}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[",
        b"{}",
        b'{"pk": "17"}',
        b"7",
        b'"x"',
        b"<html>",
        b"[" * 100_000,
        b"9" * 5_000,
        b'{"a": NaN}',
    ],
)
def test_fault_a17_an_answer_that_is_unusable_as_a_whole(body: bytes) -> None:
    """Whatever it is instead, every reader raises AnswerMalformed, chained to nothing that holds the body."""
    readings = (
        lambda a: wire.parse_tray(a),
        _page_of_1,
        lambda a: wire.parse_highlight_page(a),
        lambda a: wire.parse_balance(a),
    )
    for reading in readings:
        with pytest.raises(AnswerMalformed) as caught:
            reading(document(body))
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        (b"[" + b"[]," * 1_500_000 + b"[]]", False),
        pytest.param(b"[" + b"{}," * 1_500_000 + b"{}]", False, marks=pytest.mark.whole),
        (b"{" + b",".join(b'"%d":{}' % n for n in range(200_000)) + b"}", False),
        pytest.param(
            b"{" + b",".join(b'"\\n%d":0' % n for n in range(400_000)) + b"}", False, marks=pytest.mark.whole
        ),
        pytest.param(b"[" + '"😀",'.encode() * 2_000_000 + b"0]", False, marks=pytest.mark.whole),
        pytest.param(
            b"[" + b'{"user":{"pk":"5","username":"u"},"x":0.5,"y":0.5},' * 100_000 + b"0]",
            True,
            marks=pytest.mark.whole,
        ),
        (b'["' + b"," * 500_000 + b'"]', True),
    ],
    ids=["lists", "objects", "keys", "escaped keys", "wide texts", "mentions", "commas"],
)
def test_fault_a38_a_document_is_measured_before_it_is_parsed(body: bytes, is_read: bool) -> None:
    """Millions of values, or keys that all differ, are refused; 100,000 mentions and a long text are not."""
    if is_read:
        assert json_document.parse_json(body) is not None
        return
    with pytest.raises(ValueError, match="far more values"):
        json_document.parse_json(body)


def test_fault_a19_deep_nesting_is_refused_wherever_python_gives_up() -> None:
    """A tree deeper than any honest answer is a ValueError, no RecursionError."""
    for depth in (100, 900, 5_000, 100_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            json_document.parse_json(b"[" * depth + b"]" * depth)


def _page_of_1(given: Document) -> TrayPage:
    return wire.parse_tray_page(given, "1")


def readable(given: Document) -> None:
    """Read an answer in every way; only AnswerMalformed may come, and what is read keeps its promises."""
    for reading in (
        wire.parse_tray,
        _page_of_1,
        wire.parse_highlight_page,
        wire.parse_user,
        wire.parse_balance,
    ):
        found: object = None
        with suppress(AnswerMalformed):
            found = reading(given)
        if isinstance(found, HighlightPage):
            pks = [i.pk for i in found.items]
            assert all(map(is_pk, [found.highlight.pk, found.highlight.user.pk, *pks]))
            assert len(set(pks)) == len(pks)
            for one in found.items:
                assert len({link.role for link in one.links}) == len(one.links)
                assert all(json.loads(s.extra) is not None for s in one.stickers)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "pk",
                    "user",
                    "items",
                    "requests",
                    "title",
                    "cover_media",
                    "response",
                    "tray",
                    "next_page_id",
                ]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(trees)
def test_fault_a23_any_json_is_a_model_or_malformed(tree: object) -> None:
    """Nothing but AnswerMalformed ever leaves ``wire``, whatever JSON comes."""
    readable(document(tree))


@given(
    st.sampled_from(["highlight_by_url", "tray"]),
    st.integers(),
    st.lists(scalars | trees, min_size=1, max_size=6),
)
def test_fault_a23_any_change_of_a_good_answer_is_survived(
    name: str, seed: int, values: list[object]
) -> None:
    """A good answer with some of its nodes replaced by anything still reads, or is malformed (A23)."""
    tree = json.loads(example(name))
    rich = item(
        mentions=[{"user": {"pk": "5"}, "x": 1}],
        stickers=[{"story_link": {"url": "https://b"}, "extra": {"a": [1]}}],
        locations=[{"location": {"pk": 1, "lat": 1.0}}],
        hashtags=[{"hashtag": {"id": 1, "name": "n"}}],
        medias=[{"media_pk": 1}],
        links=[{"webUri": "https://a"}],
    )
    if isinstance(tree, dict):
        tree["items"].append(rich)
    chance = random.Random(seed)
    for value in values:
        node, key = chance.choice(list(_places(tree)))
        node[key] = copy.deepcopy(value)
    readable(document(tree, call=FETCH if name == "highlight_by_url" else LIST))


def _places(node: object) -> Iterator[tuple[dict[object, object], object]]:
    """Every place of a tree, as the container and the key or index in it."""
    if isinstance(node, (dict, list)):
        container = cast("dict[object, object]", node)  # both are assigned to in the same way
        for key, child in list(node.items() if isinstance(node, dict) else enumerate(node)):
            yield container, key
            yield from _places(child)


_JSON_PIECES = st.sampled_from(
    [
        b'"',
        b"\\u0000",
        b"\\ud83d",
        b"\\ude00",
        b"\xff",
        b"NaN",
        b"1e999",
        b"-0",
        b"9" * 25,
        b"{",
        b"]",
        b",",
        b"\n",
    ]
)


@given(trees, st.booleans(), st.lists(st.tuples(st.integers(0, 400), _JSON_PIECES), max_size=3))
def test_both_parsers_of_json_read_the_same(
    tree: object, is_ascii: bool, insertions: list[tuple[int, bytes]]
) -> None:
    """What the fast parser reads, the careful one reads too, to the last digit and key."""
    body = json.dumps(tree, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    for place, piece in insertions:
        body = body[:place] + piece + body[place:]
    found, expected = (
        _read(parse, body) for parse in (json_document.parse_json, json_document._parse_carefully)
    )
    assert found == expected or not body.strip()


def _read(parse: Callable[[bytes], object], body: bytes) -> str:
    try:
        return repr(parse(body))
    except ValueError as error:
        return f"ValueError: {error}"


@given(st.data())
def test_both_ways_to_read_an_object_agree(data: st.DataObject) -> None:
    """A shape that is read as a whole is what it is field by field, whatever the values are."""
    kind = data.draw(
        st.sampled_from([k for k in msgspec.Struct.__subclasses__() if k.__module__ == shapes.__name__])
    )
    numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
    values = scalars | trees | numbers | st.sampled_from(["", "a" * 20_000, 2**63 - 1, 2**63, -1])
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    raw = data.draw(st.dictionaries(st.sampled_from([*names, "other"]), values))
    assert shapes.read_object(kind, raw) == shapes._read_field_by_field(kind, raw)
