"""Answers → model: the vendor's examples field by field, and all that an item may carry."""

from __future__ import annotations

import importlib.util
import json
import sys
from datetime import UTC, datetime

import pytest

from archiver.errors import AnswerMalformed
from archiver.hiker import endpoints, wire
from archiver.model.api_calls import Call
from archiver.model.identity import Role
from archiver.model.upstream import (
    Balance,
    Hashtag,
    Item,
    Link,
    Location,
    Mention,
    Reshare,
    Sponsor,
    Sticker,
    TrayNumbers,
    User,
    WebLink,
)
from tests.support.api_answers import LIST, document, example, highlight, item

BY_NAME = endpoints.tray_by_name_call("natgeo")


def one_item(**fields: object) -> Item:
    """The only item of a page, with these fields."""
    page = wire.parse_highlight_page(document(highlight(items=[item(**fields)])))
    assert page.rejected == ()
    return page.items[0]


@pytest.mark.parametrize(
    ("name", "call", "asked", "host"),
    [("tray", LIST, "787132", "lax7"), ("tray_by_username", BY_NAME, None, "dfw6")],
)
def test_the_example_trays(name: str, call: Call, asked: str | None, host: str) -> None:
    """Both lists of the vendor's page, field by field."""
    tray = wire.parse_tray(document(example(name), call=call), asked)
    avatar = Link(Role.AVATAR, f"https://scontent-{host}-1.cdninstagram.com/...")
    owner = User("787132", "natgeo", "National Geographic", False, True, avatar, "...")
    assert tray.user == owner
    assert (tray.rejected, tray.length) == ((), 3)
    assert [(h.pk, h.title, h.numbers, h.is_pinned, h.cover_name) for h in tray.highlights] == [
        ("17983616051768088", "Gift Guide", TrayNumbers(1766242839, 12), False, "..."),
        ("18018069326790931", "BOTW 2026", TrayNumbers(1762870363, 11), False, "..."),
        ("17893209825281221", "Limitless", TrayNumbers(1752840788, 11), False, "..."),
    ]
    assert [h.created_at for h in tray.highlights] == [
        datetime(2025, 12, 4, 11, 6, 31, tzinfo=UTC),
        datetime(2025, 10, 21, 13, 7, 47, tzinfo=UTC),
        datetime(2025, 8, 8, 17, 33, 52, tzinfo=UTC),
    ]
    assert all(h.user == owner for h in tray.highlights)
    assert {h.cover.role for h in tray.highlights if h.cover} == {Role.COVER}


def test_the_example_page() -> None:
    """The highlight of the vendor's page, field by field, with its items in order."""
    page = wire.parse_highlight_page(document(example("highlight_by_url")), "18085475671830440")
    found = page.highlight
    assert (found.pk, found.title, found.is_pinned) == ("18085475671830440", "me 🦋", False)
    assert found.created_at == datetime(2025, 11, 26, 6, 32, 13, tzinfo=UTC)
    assert found.numbers == TrayNumbers(1773304526, 98)
    assert (found.user.pk, found.user.username, found.user.full_name) == (
        "75885841119",
        "salwaaa_ki",
        "𓆩سلوى 𓆪",
    )
    assert (found.user.is_private, found.user.is_verified) == (False, False)
    assert page.rejected == ()
    assert [i.pk for i in page.items] == ["3772053608293416704", "3773586006193708855", "3777839902093167269"]
    assert page.items[0] == Item(
        pk="3772053608293416704",
        user_pk="75885841119",
        code="DRZBsWEDz8A",
        taken_at=datetime(2025, 11, 23, 7, 44, 11, tzinfo=UTC),
        media_type=2,
        product_type="story",
        video_duration=20.014999389648438,
        links=(
            Link(Role.THUMBNAIL, "https://scontent-sjc3-1.cdninstagram.com/..."),
            Link(Role.VIDEO, "https://scontent-sjc3-1.cdninstagram.com/..."),
        ),
    )


def test_everything_attached_to_an_item() -> None:
    """Mentions, links, link stickers, hashtags, locations, stickers, polls, reshares and sponsors become
    values.
    """
    found = one_item(
        mentions=[
            {"user": {"pk": 5, "username": "bob", "full_name": "Bob"}, "x": 0.5, "y": 1, "rotation": 0.0}
        ],
        links=[{"webUri": "https://a.example/?x=1"}],
        stickers=[
            {
                "id": "s1",
                "type": "story_link",
                "story_link": {"url": "https://b.example/", "link_title": "B", "display_url": "b.example"},
            },
            {"id": "s2", "extra": {"z": 1, "gif": "https://x.fbcdn.net/v/a.webp?oh=SIGN&oe=68A1B2C3"}},
        ],
        polls=[{"question": "Tea?", "tallies": [{"text": "yes", "count": 3}]}],
        hashtags=[{"hashtag": {"id": "17", "name": "sea"}, "x": 0.1}],
        locations=[{"location": {"pk": 9, "name": "Pier", "lat": 1.5, "lng": -2, "address": "?"}}],
        medias=[{"media_pk": 3, "media_code": "C", "user_id": 4, "product_type": "clips", "x": 0.1}],
        sponsor_tags=[{"pk": "6", "username": "acme", "full_name": "Acme"}],
    )
    assert found.mentions == (Mention("bob", "5", "Bob", 0.5, 1.0, None, None, 0.0),)
    assert found.web_links == (
        WebLink("https://a.example/?x=1"),
        WebLink("https://b.example/", "B", "b.example", "sticker"),
    )
    assert found.hashtags == (Hashtag("sea", "17"),)
    assert found.locations == (Location("Pier", "9", 1.5, -2.0),)
    assert found.reshares == (Reshare("3", "C", "4", "clips"),)
    assert found.sponsors == (Sponsor("acme", "6"),)
    assert [s.kind for s in found.stickers] == ["story_link", "sticker", "poll"]
    assert found.stickers[1] == Sticker(
        "sticker", '{"extra":{"gif":"https://x.fbcdn.net/v/a.webp","z":1},"id":"s2"}'
    )
    assert json.loads(found.stickers[2].extra) == {
        "question": "Tea?",
        "tallies": [{"text": "yes", "count": 3}],
    }


def test_an_entry_that_says_nothing_is_left_out() -> None:
    """An unreadable or empty entry of a side list costs only itself."""
    nothing: list[object] = [None, 1, "x", [], {}, {"user": None, "hashtag": {}, "location": 3, "webUri": ""}]
    found = one_item(
        mentions=[*nothing, {"user": {"username": "bob"}}],
        links=[*nothing, {"webUri": "https://a.example"}],
        hashtags=[*nothing, {"hashtag": {"name": "sea"}}],
        locations=[*nothing, {"location": {"pk": "1"}}],
        medias=nothing,
        sponsor_tags=nothing,
        stickers=[None, 1, {"extra": "x" * 70_000}],
        polls={"not": "a list"},
    )
    assert found.mentions == (Mention("bob"),)
    assert found.web_links == (WebLink("https://a.example"),)
    assert found.hashtags == (Hashtag("sea"),)
    assert found.locations == (Location(None, "1"),)
    assert (found.reshares, found.sponsors, found.stickers) == ((), (), ())


def test_links_carry_their_expiry() -> None:
    """``oe`` of the signed URL, hexadecimal Unix time, is when a Link ends; the URL stays verbatim."""
    url = "https://scontent.cdninstagram.com/v/a.jpg?oe=68A1B2C3&oh=x"
    found = one_item(media_type=1, thumbnail_url=url, video_url=None)
    assert found.links == (Link(Role.THUMBNAIL, url, datetime.fromtimestamp(0x68A1B2C3, UTC)),)


def test_cover_and_avatar_prefer_the_larger_picture() -> None:
    """The full cover over the cropped one, the HD avatar over the small one; the name is the path's
    basename.
    """
    raw = highlight(
        user={
            "pk": "1",
            "profile_pic_url": "https://c/s.jpg?oe=1",
            "profile_pic_url_hd": "https://c/hd.jpg?oe=2",
        },
        cover_media={
            "cropped_image_version": {"url": "https://c/150.jpg"},
            "full_image_version": {"url": "https://c/full.jpg?x=1"},
        },
    )
    found = wire.parse_highlight_page(document(raw)).highlight
    assert (found.cover, found.cover_name) == (Link(Role.COVER, "https://c/full.jpg?x=1"), "full.jpg")
    assert found.user.avatar_name == "hd.jpg"


def test_unknown_kinds_and_fields_are_no_trouble() -> None:
    """A new media_type or product_type is kept as it is, and whatever known link comes with it (A25)."""
    found = one_item(media_type=8, product_type="hologram", thumbnail_url="https://c/a", brand_new={"a": 1})
    assert (found.media_type, found.product_type, len(found.links)) == (8, "hologram", 1)


def test_a_poorer_user_says_less_instead_of_something_else() -> None:
    """``username: null, full_name: ""`` is not said; an empty full name beside a username is one."""
    raw = [
        highlight(pk="1", user={"pk": "7", "username": None, "full_name": ""}),
        highlight(pk="2", user={"pk": "7", "username": "ann", "full_name": "", "is_private": False}),
        highlight(pk="3", user=None),
    ]
    tray = wire.parse_tray(document(raw, call=LIST))
    assert tray.user == User("7", "ann", "", False)
    assert [h.user.full_name for h in tray.highlights] == [None, "", ""]


def test_an_entry_without_owner_belongs_to_whom_was_asked_for() -> None:
    """Without a user of its own an entry is the asked user's; where nobody was asked for it is rejected, and
    only it.
    """
    raw = [highlight(pk="3", user=None)]
    assert wire.parse_tray(document(raw, call=LIST), "7").highlights[0].user == User("7")
    assert wire.parse_tray(document(raw, call=LIST), "7").user is None
    assert [r.pk for r in wire.parse_tray(document(raw, call=BY_NAME)).rejected] == ["3"]


@pytest.mark.parametrize(
    ("users", "asked"), [(["1", "2"], None), (["2"], "1"), (["1", "1", "2"], "1"), (["2", None], "1")]
)
def test_a_tray_of_somebody_else_is_malformed(users: list[str | None], asked: str | None) -> None:
    """One entry of another user spoils the list (A30)."""
    raw = [highlight(pk=str(n), user={"pk": u}) for n, u in enumerate(users)]
    with pytest.raises(AnswerMalformed, match="of user 2 among those of 1"):
        wire.parse_tray(document(raw, call=LIST), asked)


def test_a_page_of_another_highlight_is_malformed() -> None:
    """The pk must be the one asked for (A30); a prefix ``highlight:`` is none of its digits."""
    assert wire.parse_highlight_page(document(highlight(pk="highlight:17")), "17").highlight.pk == "17"
    with pytest.raises(AnswerMalformed, match="highlight 17 instead of 18"):
        wire.parse_highlight_page(document(highlight()), "18")


def test_what_is_asked_for_by_name_is_of_that_name() -> None:
    """A tray that states no name is left to a look at the account; one that states no owner is no tray of
    anybody.
    """
    raw = {"pk": "3", "user": {"pk": "7", "username": "Ann"}}
    assert wire.parse_tray(document([raw], call=BY_NAME), username="ann").length == 1
    nameless = wire.parse_tray(document([{"pk": "3", "user": {"pk": "7"}}], call=BY_NAME), username="ann")
    assert nameless.user == User("7")
    assert wire.parse_tray(document([], call=BY_NAME), username="ann").length == 0
    for name, wrong in (("bob", [raw]), ("ann", [{"pk": "3"}]), ("ann", [None])):
        with pytest.raises(AnswerMalformed):
            wire.parse_tray(document(wrong, call=BY_NAME), username=name)
    assert wire.parse_user(document({"pk": "7", "username": "ANN"}), username="ann").pk == "7"
    for other in ({"pk": "7", "username": "bob"}, {"pk": "7"}):
        with pytest.raises(AnswerMalformed):
            wire.parse_user(document(other), username="ann")


def test_an_empty_tray_is_a_tray() -> None:
    """No highlights, no owner, nothing rejected."""
    tray = wire.parse_tray(document([], call=LIST), "1")
    assert (tray.user, tray.highlights, tray.length) == (None, (), 0)


def test_user_and_balance() -> None:
    """An account and the balance, as documented."""
    account = {"pk": 787132, "username": "natgeo", "is_private": True, "follower_count": 1}
    asked = endpoints.user_call("787132")
    assert wire.parse_user(document(account, call=asked), "787132") == User("787132", "natgeo", None, True)
    with pytest.raises(AnswerMalformed, match="account 787132 instead of 1"):
        wire.parse_user(document(account, call=asked), "1")
    stated = {"requests": 1992006, "rate": 15, "currency": "USD", "amount": 916.32}
    assert wire.parse_balance(document(stated, call=endpoints.balance_call())) == Balance(1992006, 15)
    unusable = {"requests": 0, "rate": "many"}
    assert wire.parse_balance(document(unusable, call=endpoints.balance_call())) == Balance(0)
    with pytest.raises(AnswerMalformed, match="/sys/balance returned no balance"):
        wire.parse_balance(document({"rate": 15}, call=endpoints.balance_call()))


def test_the_shapes_are_complete_when_they_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing about a shape is worked out at its first use: two threads that did so at once would end the
    process (msgspec 0.22, a null pointer). Seen by taking away what it is worked out from.
    """
    found = importlib.util.find_spec("archiver.hiker.wire.shapes")
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location("shapes_anew", found.origin)
    assert spec is not None
    assert spec.loader is not None
    anew = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shapes_anew", anew)
    spec.loader.exec_module(anew)
    kinds = [kind for name, kind in vars(anew).items() if name.startswith("Wire")]
    for name in ("Raw", "Entries", "Identity", "Count", "Url", "Moment"):
        delattr(anew, name)
    assert len(kinds) > 10
    assert all(anew.read_object(kind, {}) == kind() for kind in kinds)
