"""One night among faulty answers, an account for each: what each costs, what is told, and what stays."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from archiver.runner.tally import Summary
from archiver.sandbox.world_objects import Json
from tests.support.api_faults import (
    BROKEN,
    REFUSED,
    TRAY,
    Object,
    account_pk,
    answer_error,
    attempts,
    edit_answer,
    edit_page,
    edit_tray,
    first_entry,
    highlight_pk,
    page,
    skip_waits,
    tray,
)
from tests.support.archive_harness import ArchiveHarness
from tests.support.standin import actions
from tests.support.standin.actions import Action
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

BIG = 2**63 + 1
OUT_OF_RANGE: dict[str, Json] = {"media_count": -5, "created_at": 10**13, "latest_reel_media": -1}

NEW_KIND: dict[str, Json] = {
    "media_type": 8,
    "product_type": "hologram",
    "hologram_url": "https://cdn.example",
}
WRONG_TYPES: dict[str, Json] = {
    "user": None,
    "video_url": [],
    "taken_at": "x",
    "mentions": {},
    "stickers": [7],
    "video_duration": "1",
}
NOBODY_FREE: Json = {"detail": "", "exc_type": "NoFreeAccounts"}
NO_FACT = ("1", 1)
ITEMS = (
    "from highlight_items join items on items.pk = item_pk join highlights on highlights.pk = highlight_pk"
    " where highlight_pk = ? order by highlight_items.position"
)


def json_body(body: bytes, status: int = 200) -> Action:
    return actions.respond(status, body, {"content-type": "application/json"})


def setting(**fields: Json) -> Action:
    """Return the action: the first item of the page gets these fields."""
    return edit_page(lambda _, items: first_entry(items).update(fields))


def setting_of_page(**fields: Json) -> Action:
    """Return the action: the highlight of the page gets these fields."""
    return edit_page(lambda found, _: found.update(fields))


def owned_by_somebody(entries: list[Json]) -> None:
    owner = first_entry(entries)["user"]
    assert isinstance(owner, dict)
    owner["pk"] = "1"


def with_two_titles(tree: Json) -> bytes:
    return json.dumps(tree).encode().replace(b'"title":', b'"title": "first", "title":')


def with_strangers(_: Object, items: list[Json]) -> None:
    items += ["x", None, 7, {}, []]


def without_link(_: Object, items: list[Json]) -> None:
    del first_entry(items)["thumbnail_url"]


def with_repetition(_: Object, items: list[Json]) -> None:
    items.append(dict(first_entry(items), code="second"))


def endless_video(tree: Json) -> bytes:
    return json.dumps(tree).replace('"video_duration": 1.0', '"video_duration": 1e999').encode()


Attempts = list[tuple[int | None, int]]
"""Status and units of each in the ledger."""
ONCE: Attempts = [(200, 1)]
LOST: Attempts = [(None, 1), (200, 1)]
LOST_DIGITS = "malformed: 1 item cannot be read: it has no numeric pk"
ANOTHER = "malformed: /v1/highlight/by/url returned highlight 1 instead of {pk}"
TOO_LARGE = "larger than 16777216 bytes"
WRONG = "not\x1b[2J valid"
UNPROCESSABLE: Json = {"detail": [{"loc": ["query", "user_id"], "msg": WRONG, "type": "t"}]}
INVALID: Json = {"detail": f"user_id: {WRONG} " + "x" * 500, "exc_type": "ValidationError"}
TWO_LENGTHS = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 7\r\n\r\n[]"

TRAYS = [
    pytest.param(answer_error(403, REFUSED), [(403, 1)], "upstream: 403: no", id="test_fault_a3_a_refusal"),
    pytest.param(
        answer_error(422, UNPROCESSABLE), [(422, 0)], "user_id not [2J valid", id="test_fault_a7_with_422"
    ),
    pytest.param(
        answer_error(400, INVALID), [(400, 1)], "user_id: not [2J valid", id="test_fault_a7_with_400"
    ),
    pytest.param(answer_error(500, BROKEN), [(500, 0), (200, 1)], "", id="test_fault_a12_with_500"),
    pytest.param(actions.html(526), [(526, 0), (200, 1)], "", id="test_fault_a12_with_526"),
    pytest.param(
        json_body(b'{"state":false,{"error":"timeout"}', 504),
        [(504, 0), (200, 1)],
        "",
        id="test_fault_a14_a_504_of_broken_json",
    ),
    pytest.param(
        answer_error(500, NOBODY_FREE), [(500, 0), (200, 1)], "", id="test_fault_a14_no_free_accounts"
    ),
    pytest.param(answer_error(200, {"state": False}), ONCE, "200: ", id="test_fault_a15_a_state"),
    pytest.param(
        answer_error(200, {"detail": "Gone fishing"}), ONCE, "200: Gone fishing", id="test_fault_a15_a_detail"
    ),
    pytest.param(
        answer_error(200, {"exc_type": "Unknown"}), ONCE, "200: Unknown", id="test_fault_a15_an_exc_type"
    ),
    pytest.param(
        json_body(b'[{"title": "\x1b[2Jcut'), ONCE, '[{"title": " [2Jcut', id="test_fault_a17_a_cut_body"
    ),
    pytest.param(json_body(b"[] trailing"), ONCE, "[] trailing", id="test_fault_a17_trailing_bytes"),
    pytest.param(json_body(b"\xef\xbb\xbf[]"), ONCE, "BOM", id="test_fault_a17_a_bom"),
    pytest.param(json_body("[]".encode("utf-16")), ONCE, "Expecting value", id="test_fault_a17_utf_16"),
    pytest.param(json_body(b""), ONCE, "the body is empty", id="test_fault_a17_an_empty_body"),
    pytest.param(json_body(b"null"), ONCE, "null", id="test_fault_a17_null"),
    pytest.param(json_body(b'""'), ONCE, '""', id="test_fault_a17_an_empty_text"),
    pytest.param(actions.gzipped(40), ONCE, "gzip stream ends too early", id="test_fault_a17_broken_gzip"),
    pytest.param(json_body(b"[" + b" " * 50_000_000 + b"]"), ONCE, TOO_LARGE, id="test_fault_a18_50_mb"),
    pytest.param(actions.gzipped(expands_to=100_000_000), ONCE, TOO_LARGE, id="test_fault_a18_a_gzip_bomb"),
    pytest.param(actions.endless(), ONCE, TOO_LARGE, id="test_fault_a18_a_body_without_end"),
    pytest.param(
        json_body(b"[" * 100_000 + b"]" * 100_000),
        ONCE,
        "nested too deeply",
        id="test_fault_a19_deep_nesting",
    ),
    pytest.param(json_body(b"[" + b"9" * 5_000 + b"]"), ONCE, "limit", id="test_fault_a20_5_000_digits"),
    pytest.param(
        json_body(b'[{"media_count": NaN}]'), ONCE, "NaN is not JSON", id="test_fault_a27_nan_is_no_json"
    ),
    pytest.param(
        edit_tray(owned_by_somebody),
        ONCE,
        "highlights of user 1 among those of {pk}",
        id="test_fault_a30_a_tray_of_another_user",
    ),
    pytest.param(actions.reset(), LOST, "", id="test_fault_a32_a_reset_before_the_head_counts"),
    pytest.param(actions.reset(after=20), LOST, "", id="test_fault_a32_a_reset_in_the_body_counts"),
    pytest.param(actions.hang_up(), LOST, "", id="test_fault_a32_an_empty_reply_counts"),
    pytest.param(
        actions.raw(b"HTTP/1.1 200 OK\r\ncontent-"), LOST, "", id="test_fault_a32_an_end_in_the_head_counts"
    ),
    pytest.param(actions.truncated(50), LOST, "", id="test_fault_a32_an_end_in_the_body_counts"),
    pytest.param(
        actions.headers({"x-big": "a" * 200_000}), LOST, "", id="test_fault_a35_a_header_of_200_kb_counts"
    ),
    pytest.param(actions.raw(TWO_LENGTHS), LOST, "", id="test_fault_a35_two_lengths_count"),
    pytest.param(
        actions.raw(b"220 mail.example ESMTP\r\n\r\n"), LOST, "", id="test_fault_a35_another_protocol_counts"
    ),
    pytest.param(actions.lose(), LOST, "", id="test_fault_b1_a_lost_answer_counts_as_billed"),
    pytest.param(
        actions.headers({"x-hiker-info": '{"reqs": 3}'}), [(200, 3)], "", id="test_fault_b5_its_own_price"
    ),
]
"""What comes in place of a tray, the attempts, and what the failure says; "" if the next attempt serves."""

PAGES = [
    pytest.param(actions.html(), (), "received a web page", NO_FACT, id="test_fault_a16_a_web_page"),
    pytest.param(
        actions.gzipped(40),
        (),
        "gzip stream ends too early",
        NO_FACT,
        id="test_fault_a17_broken_gzip_of_a_page",
    ),
    pytest.param(
        setting(pk=BIG), (1, 2), "", ("items.pk", str(BIG)), id="test_fault_a21_a_pk_beyond_64_bits"
    ),
    pytest.param(setting(pk=3.1e18), (2,), LOST_DIGITS, NO_FACT, id="test_fault_a22_a_pk_that_is_a_float"),
    pytest.param(
        setting_of_page(items="x"), (), "without a list of items", NO_FACT, id="test_fault_a23_no_list"
    ),
    pytest.param(
        edit_page(with_strangers), (1, 2), "5 items cannot be read", NO_FACT, id="test_fault_a23_no_items"
    ),
    pytest.param(
        setting(**WRONG_TYPES),
        (1, 2),
        "",
        ("taken_at, video_duration", None, None),
        id="test_fault_a23_wrong_types",
    ),
    pytest.param(setting(thumbnail_url=None), (0, 2), "", NO_FACT, id="test_fault_a24_a_link_is_null"),
    pytest.param(edit_page(without_link), (0, 2), "", NO_FACT, id="test_fault_a24_no_link"),
    pytest.param(
        setting(**NEW_KIND),
        (1, 2),
        "",
        ("media_type, product_type", 8, "hologram"),
        id="test_fault_a25_a_new_kind_of_item",
    ),
    pytest.param(
        edit_page(with_repetition), (1, 2), "", ("code = 'second'", 0), id="test_fault_a26_an_item_twice"
    ),
    pytest.param(
        setting_of_page(**OUT_OF_RANGE),
        (1, 2),
        "",
        ("created_at, media_count, latest_reel_media", None, None, None),
        id="test_fault_a27_numbers_out_of_range",
    ),
    pytest.param(
        edit_answer(endless_video),
        (1, 2),
        "",
        ("max(media_type), max(video_duration)", 2, None),
        id="test_fault_a27_an_endless_video",
    ),
    pytest.param(setting_of_page(pk="1"), (), ANOTHER, NO_FACT, id="test_fault_a30_another_highlight"),
]
"""What comes in place of a page, the files of each item, what the failure says, and a fact: columns of the
first item and its highlight, and their values.
"""

NUMBERS = {param.id: number for number, param in enumerate((*TRAYS, *PAGES))}
"""The account of each fault, by the name of its test."""
LISTED_TWICE, TWO_TITLES, GOOD = (len(NUMBERS) + n for n in range(3))
REPEATED = NUMBERS["test_fault_a26_an_item_twice"]
NEW = NUMBERS["test_fault_a25_a_new_kind_of_item"]
FAILED_TRAYS = {account_pk(NUMBERS[str(row.id)]) for row in TRAYS if row.values[2]}
FAILED_PAGES = {highlight_pk(NUMBERS[str(row.id)]) for row in PAGES if row.values[2]}


@dataclass(frozen=True)
class Night:
    """The night's summary and what the archive says of it."""

    harness: ArchiveHarness
    summary: Summary

    def told(self, subject_pk: str) -> list[tuple[str, str]]:
        """Kind of the subject, and reason and text, of each failure of this subject."""
        found = [f for f in self.summary.failures if f.subject_pk == subject_pk]
        return [(f.subject, f"{f.reason.value}: {f.detail}") for f in found]

    def files(self, number: int) -> tuple[object, ...]:
        """How many files each item of this account's highlight has."""
        counted = "(select count(*) from files where files.item_pk = items.pk)"
        return tuple(n for (n,) in self.harness.rows(f"select {counted} {ITEMS}", highlight_pk(number)))

    def first_item(self, number: int) -> str:
        """The pk of the first item of this account's highlight."""
        return str(self.harness.one(f"select items.pk {ITEMS}", highlight_pk(number)))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """One night over an account for each fault, with one highlight of a photo and a video, and one that is
    well. What fails does so at every request, all else at the first.
    """
    with (
        pytest.MonkeyPatch.context() as patch,
        FaultyStandIn(EditableWorld.generate(GOOD + 1, 1, 2)) as upstream,
    ):
        skip_waits(patch)
        # So many faults in a row would be an outage.
        patch.setattr("archiver.runner.metered_api._FAILED_IN_A_ROW", 100)
        for rows, place in ((TRAYS, tray), (PAGES, page)):
            for row in rows:
                action, _, told, *_ = row.values
                count = None if told else 1
                upstream.faults.add(cast(Action, action), **place(NUMBERS[str(row.id)]), count=count)
        out_of_range = NUMBERS["test_fault_a27_numbers_out_of_range"]
        upstream.faults.add(
            edit_tray(lambda entries: first_entry(entries).update(OUT_OF_RANGE)), **tray(out_of_range)
        )
        listed_twice = edit_tray(lambda entries: entries.append(dict(first_entry(entries), title="second")))
        upstream.faults.add(listed_twice, **tray(LISTED_TWICE))
        upstream.faults.add(edit_answer(with_two_titles), **tray(TWO_TITLES))
        harness = ArchiveHarness(tmp_path_factory.mktemp("answers") / "archive", upstream)
        yield Night(harness, harness.night(*map(account_pk, reversed(range(GOOD + 1)))))


def test_fault_a17_a_broken_answer_harms_nobody_else(night: Night) -> None:
    """Code 3, and only what is expected to has failed. Five calls that upstream did not take count, since
    nobody can know that, and so does a page of HTML; the call that states its price costs two units more.
    """
    assert night.summary.exit_code == 3
    assert sorted(f.subject_pk for f in night.summary.failures) == sorted(FAILED_TRAYS | FAILED_PAGES)
    unfinished = night.harness.rows("select pk from highlights where completed_at is null")
    assert {pk for (pk,) in unfinished} == FAILED_PAGES
    assert night.harness.one("select count(*) from highlights") == GOOD + 1 - len(FAILED_TRAYS)
    assert night.summary.units == night.harness.upstream.units + 5 + 1 + 2
    assert night.harness.one("select sum(units) from api_calls") == night.summary.units


@pytest.mark.parametrize(("action", "expected", "told"), TRAYS)
def test_a_faulty_tray(
    night: Night, action: Action, expected: Attempts, told: str, request: pytest.FixtureRequest
) -> None:
    """As many attempts as it may cost; a failure that says in 200 printable characters what came, and nothing
    else; or a whole account.
    """
    number = NUMBERS[request.node.callspec.id]
    pk = account_pk(number)
    assert attempts(night.harness, pk) == expected
    asked = [call for call in night.harness.upstream.requests.api_calls(TRAY) if call.subject.user == pk]
    assert len(asked) == len(expected)
    if told:
        ((subject, detail),) = night.told(pk)
        assert (subject, told.replace("{pk}", pk) in detail) == ("target", True), detail
        assert len(detail.partition(": ")[2]) <= 200
        assert detail.isprintable()
        assert night.harness.rows("select pk from users where pk in (?, '1')", pk) == []
    else:
        assert night.told(pk) == []
        assert night.files(number) == (1, 2)


@pytest.mark.parametrize(("action", "files", "told", "fact"), PAGES)
def test_a_faulty_page(
    night: Night,
    action: Action,
    files: tuple[int, ...],
    told: str,
    fact: tuple[object, ...],
    request: pytest.FixtureRequest,
) -> None:
    """Paid for once. Its items have their rows and files, and what could not be read is told."""
    number = NUMBERS[request.node.callspec.id]
    pk, (columns, *values) = highlight_pk(number), fact
    assert attempts(night.harness, pk) == ONCE
    assert night.files(number) == files
    if files:
        assert night.harness.rows(f"select {columns} {ITEMS} limit 1", pk) == [tuple(values)]
    if told:
        ((subject, detail),) = night.told(pk)
        assert (subject, told.replace("{pk}", pk) in detail) == ("highlight", True), detail
    else:
        assert night.told(pk) == []


def test_fault_a22_no_row_stands_under_a_made_up_pk(night: Night) -> None:
    """Neither of the float, nor of a highlight that nobody asked for."""
    assert night.harness.one("select count(*) from items where pk like '%e%' or pk like '31000%'") == 0
    assert night.harness.one("select count(*) from highlights where pk = '1'") == 0


def test_fault_a25_the_kept_answer_holds_what_nobody_knows(night: Night) -> None:
    """The field of a new kind of item."""
    ((segment, offset, length),) = night.harness.rows(
        'select a.segment, a."offset", a.length from items i join answers a on a.id = i.answer_id'
        " where i.pk = ?",
        night.first_item(NEW),
    )
    begin = int(str(offset))
    kept = (night.harness.root / "answers" / str(segment)).read_bytes()[begin : begin + int(str(length))]
    assert b"hologram_url" in gzip.decompress(kept)


def test_fault_a26_an_item_that_is_repeated_is_downloaded_once(night: Night) -> None:
    """Its picture."""
    pk = night.first_item(REPEATED)
    assert len(night.harness.upstream.requests.cdn_requests(item=pk)) == 1


def test_fault_a26_a_highlight_that_is_listed_twice_is_one_row_and_one_unit(night: Night) -> None:
    """Of two entries with one pk the first counts; of two equal keys in one object the last."""
    twice = highlight_pk(LISTED_TWICE)
    assert night.harness.rows("select title from highlights where pk = ?", twice) == [("Highlight 0",)]
    assert night.harness.one("select count(*) from api_calls where subject = ?", twice) == 1
    title = night.harness.one("select title from highlights where pk = ?", highlight_pk(TWO_TITLES))
    assert title == "Highlight 0"


def test_fault_a27_a_good_video_has_its_duration(night: Night) -> None:
    """Else a missing one would tell nothing."""
    durations = "select count(*) from items where media_type = 2 and video_duration is null"
    assert night.harness.one(durations) == 1
