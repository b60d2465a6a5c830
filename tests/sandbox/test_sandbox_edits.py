"""Edits of the stand-in's world, and which requests a fault meets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from archiver.sandbox.http_server import HttpRequest
from tests.support.standin import actions
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld
from tests.support.standin_requests import BOOKS, GIFTS, LIMITLESS, NATGEO, ask, get, page, tray


@pytest.fixture
def upstream() -> Iterator[FaultyStandIn]:
    with FaultyStandIn() as started:
        yield started


def pks(shown: Any) -> list[str]:
    """The pks of a tray's or a page's entries, in their order."""
    return [entry["pk"] for entry in (shown if isinstance(shown, list) else shown["items"])]


def profile(upstream: FaultyStandIn, name: str) -> Any:
    """What is found under a username: the status, or the pk of the user."""
    answer = ask(upstream, "/v1/user/by/username", username=name)
    return answer.json["pk"] if answer.status == 200 else answer.status


def test_rename(upstream: FaultyStandIn) -> None:
    """The new name is found and shown, the old one is not."""
    upstream.world.rename("natgeo", "natgeo2")
    assert (profile(upstream, "natgeo"), profile(upstream, "natgeo2")) == (404, 787132)
    assert tray(upstream)[0]["user"]["username"] == "natgeo2"


def test_a_name_in_use_is_not_given_away(upstream: FaultyStandIn) -> None:
    """No account can take the name that another holds; a change of case is no change of hands."""
    with pytest.raises(ValueError, match="belongs to 75885841119"):
        upstream.world.rename("natgeo", "salwaaa_ki")
    with pytest.raises(ValueError, match="belongs to 787132"):
        upstream.world.take_username("natgeo")
    upstream.world.rename("natgeo", "NatGeo")
    assert profile(upstream, "natgeo") == 787132


def test_a_freed_name_is_taken(upstream: FaultyStandIn) -> None:
    """A freed name leads to whoever took it: somebody new, or an account of the world."""
    upstream.world.rename("natgeo", "natgeo2")
    other = upstream.world.take_username("natgeo")
    assert profile(upstream, "natgeo") == int(other.pk) != 787132
    upstream.world.rename("natgeo2", "natgeo3")
    assert upstream.world.take_username("natgeo2", by="salwaaa_ki").pk == "75885841119"
    assert (profile(upstream, "natgeo2"), profile(upstream, "salwaaa_ki")) == (75885841119, 404)


def test_private_and_public(upstream: FaultyStandIn) -> None:
    """A private account's tray and pages are refused until it is public again."""
    url = f"https://www.instagram.com/stories/highlights/{GIFTS}/"
    upstream.world.set_private("natgeo")
    assert ask(upstream, "/v1/user/highlights", user_id=NATGEO).status == 403
    assert ask(upstream, "/v1/highlight/by/url", url=url).status == 403
    upstream.world.set_public(NATGEO)
    assert len(tray(upstream)) == 3
    assert page(upstream)["pk"] == GIFTS


def test_delete_and_restore_an_account(upstream: FaultyStandIn) -> None:
    """A deleted account is nowhere, and its name is free; restored, it is back with everything."""
    upstream.world.delete_account("natgeo")
    assert profile(upstream, "natgeo") == 404
    assert ask(upstream, "/v1/user/highlights", user_id=NATGEO).status == 404
    assert page(upstream)["detail"] == "Highlight not found"
    upstream.world.restore_account("natgeo")
    assert pks(tray(upstream)) == [GIFTS, BOOKS, LIMITLESS]
    upstream.world.delete_account("natgeo")
    upstream.world.take_username("natgeo")
    with pytest.raises(ValueError, match="belongs to"):
        upstream.world.restore_account(NATGEO)


def test_full_name_and_avatar(upstream: FaultyStandIn) -> None:
    """The tray shows the new full name, and a new picture under a new name with new bytes."""
    before = tray(upstream)[0]["user"]["profile_pic_url"]
    upstream.world.set_full_name("natgeo", "Nat Geo")
    media = upstream.world.change_avatar("natgeo")
    after = tray(upstream)[0]["user"]
    assert after["full_name"] == "Nat Geo"
    assert media.name in after["profile_pic_url"]
    assert media.name not in before
    assert get(after["profile_pic_url"]).body != get(before).body


def test_add_a_highlight(upstream: FaultyStandIn) -> None:
    """A new highlight stands first in the tray, with as many items as asked, all of them served."""
    made = upstream.world.add_highlight("natgeo", "Ocean 🌊", items=4)
    assert pks(tray(upstream))[0] == made.pk
    shown = page(upstream, made.pk)
    assert (shown["title"], len(shown["items"]), shown["media_count"]) == ("Ocean 🌊", 4, 4)
    assert [i["media_type"] for i in shown["items"]] == [1, 2, 1, 2]
    assert {get(i["thumbnail_url"]).status for i in shown["items"]} == {200}


def test_remove_and_restore_a_highlight(upstream: FaultyStandIn) -> None:
    """A removed highlight is in no tray and has no page; restored, it is back in its place."""
    upstream.world.remove_highlight(BOOKS)
    assert pks(tray(upstream)) == [GIFTS, LIMITLESS]
    assert page(upstream, BOOKS)["detail"] == "Highlight not found"
    upstream.world.restore_highlight(BOOKS)
    assert pks(tray(upstream)) == [GIFTS, BOOKS, LIMITLESS]


def test_lose_a_page(upstream: FaultyStandIn) -> None:
    """A listed highlight can be missing from its own page until it is restored."""
    upstream.world.lose_page(BOOKS)
    assert BOOKS in pks(tray(upstream))
    assert "exc_type" in page(upstream, BOOKS)
    upstream.world.restore_highlight(BOOKS)
    assert page(upstream, BOOKS)["pk"] == BOOKS


def test_retitle_recover_and_pin(upstream: FaultyStandIn) -> None:
    """Title, cover and pin change in tray and page; the new cover has a new name."""
    media = upstream.world.recover(GIFTS)
    upstream.world.retitle(GIFTS, "Gifts")
    upstream.world.pin(GIFTS)
    for shown in (tray(upstream)[0], page(upstream)):
        assert (shown["title"], shown["is_pinned_highlight"]) == ("Gifts", True)
        assert media.name in shown["cover_media"]["cropped_image_version"]["url"]
    upstream.world.pin(GIFTS, False)
    assert tray(upstream)[0]["is_pinned_highlight"] is False


def test_reorder_the_tray(upstream: FaultyStandIn) -> None:
    """The tray takes the named order; what is not named follows as it was."""
    upstream.world.reorder_tray("natgeo", [LIMITLESS])
    assert pks(tray(upstream)) == [LIMITLESS, GIFTS, BOOKS]


@pytest.mark.parametrize("kind", ["photo", "video"])
def test_add_an_item(upstream: FaultyStandIn, kind: Any) -> None:
    """A new item stands last, and moves ``media_count`` and ``latest_reel_media``."""
    before = tray(upstream)[0]
    made = upstream.world.add_item(GIFTS, kind)
    after, shown = tray(upstream)[0], page(upstream)
    assert pks(shown)[-1] == made.pk
    assert after["media_count"] == before["media_count"] + 1 == len(shown["items"])
    assert after["latest_reel_media"] == made.taken_at > before["latest_reel_media"]
    assert bool(shown["items"][-1]["video_url"]) == (kind == "video")


def test_add_an_old_item(upstream: FaultyStandIn) -> None:
    """An item taken long ago leaves ``latest_reel_media`` where it is: only the count tells."""
    before = tray(upstream)[0]
    upstream.world.add_item(GIFTS, taken_at=1_600_000_000)
    after = tray(upstream)[0]
    assert after["latest_reel_media"] == before["latest_reel_media"]
    assert after["media_count"] == before["media_count"] + 1


def test_remove_move_and_put_items(upstream: FaultyStandIn) -> None:
    """An item leaves a highlight, goes to another, or stands in both."""
    first, second, third, *_ = pks(page(upstream))
    latest = tray(upstream)[0]["latest_reel_media"]
    upstream.world.remove_item(GIFTS, first)
    upstream.world.move_item(second, source=GIFTS, target=LIMITLESS)
    upstream.world.put_item(LIMITLESS, third, source=GIFTS)
    gifts, limitless = pks(page(upstream)), pks(page(upstream, LIMITLESS))
    assert gifts[0] == third
    assert limitless[-2:] == [second, third]
    assert tray(upstream)[0]["latest_reel_media"] == latest


def test_reorder_items(upstream: FaultyStandIn) -> None:
    """The items take the named order; what is not named follows as it was."""
    before = pks(page(upstream))
    upstream.world.reorder_items(GIFTS, before[::-1][:2])
    assert pks(page(upstream)) == [before[-1], before[-2], *before[:-2]]


def test_withhold_a_file(upstream: FaultyStandIn) -> None:
    """The answer offers null for a file that is withheld."""
    item = next(i for i in page(upstream)["items"] if i["video_url"])
    upstream.world.withhold(GIFTS, item["pk"], "video")
    upstream.world.withhold(GIFTS, item["pk"], "thumbnail")
    shown = next(i for i in page(upstream)["items"] if i["pk"] == item["pk"])
    assert (shown["video_url"], shown["thumbnail_url"], shown["media_type"]) == (None, None, 2)


def test_edits_of_what_is_not_there(upstream: FaultyStandIn) -> None:
    """An edit that names nothing of this world is a ``LookupError`` that says what it looked for."""
    world = upstream.world
    for edit in (
        lambda: world.rename("nobody", "x"),
        lambda: world.retitle("1", "x"),
        lambda: world.remove_item(GIFTS, "1"),
        lambda: world.change_bytes(GIFTS, page(upstream)["items"][2]["pk"], "video"),
    ):
        with pytest.raises(LookupError, match="no"):
            edit()


def test_generated_worlds_are_lazy_and_the_same() -> None:
    """A huge world costs nothing before it is asked; the same arguments give the same answers, for any
    highlight first.
    """
    world = EditableWorld.generate(1000, 20, 10, thumbnail_size=(80_000, 300_000))
    with FaultyStandIn(world) as one, FaultyStandIn(EditableWorld.generate(1000, 20, 10)) as two:
        pk = world.accounts[999].highlights[19].pk
        assert page(one, pk)["media_ids"] == page(two, pk)["media_ids"]
        assert pks(tray(one, "70000000999")) == pks(tray(two, "70000000999"))
        sizes = {len(get(i["thumbnail_url"]).body) for i in page(one, pk)["items"]}
        assert len(sizes) > 5
        assert all(80_000 <= size <= 300_000 for size in sizes)


def test_generated_pks_are_unique() -> None:
    """No two items or highlights of a generated world share a pk, and a stranger's pk finds nothing."""
    world = EditableWorld.generate(20, 10, 10)
    highlights = [h for a in world.accounts for h in a.highlights]
    assert len({h.pk for h in highlights}) == 200
    assert len({i.pk for h in highlights for i in h.items}) == 2000
    assert all(world.highlight(h.pk) is h for h in highlights)
    for pk in ("17800000000000010", "17800000000200000", "1", "x"):
        assert world.find_page(pk) is None


def test_generated_worlds_can_be_edited() -> None:
    """Edits of a generated world hold, though it is made as it is asked."""
    with FaultyStandIn(EditableWorld.generate(2, 3, 2)) as upstream:
        made = upstream.world.add_highlight("account0001", "New", items=1)
        listed = pks(tray(upstream, "70000000001"))
        assert (len(listed), listed[0]) == (4, made.pk)
        upstream.world.add_item(listed[1])
        assert tray(upstream, "70000000001")[1]["media_count"] == 3
        assert len(page(upstream, listed[1])["items"]) == 3


def test_matching(upstream: FaultyStandIn) -> None:
    """A fault meets only the listener, path, user, highlight, item and role that it names."""
    other, item = [i for i in page(upstream, BOOKS)["items"] if i["video_url"]][:2]
    failing = actions.respond(500)
    upstream.faults.add(failing, count=None, user="75885841119")
    upstream.faults.add(failing, count=None, highlight=BOOKS, listener="api")
    upstream.faults.add(failing, count=None, item=item["pk"], role="video")
    upstream.faults.add(failing, count=None, path="/v2/")
    assert ask(upstream, "/v1/user/highlights", user_id=NATGEO).status == 200
    assert ask(upstream, "/v1/user/by/username", username="salwaaa_ki").status == 500
    assert ask(upstream, "/v2/user/highlights", user_id=NATGEO).status == 500
    statuses = [
        ask(
            upstream, "/v1/highlight/by/url", url=f"https://www.instagram.com/stories/highlights/{pk}/"
        ).status
        for pk in (GIFTS, BOOKS)
    ]
    assert statuses == [200, 500]
    files = (item["thumbnail_url"], item["video_url"], other["video_url"])
    assert [get(url).status for url in files] == [200, 500, 200]


def test_a_highlight_is_met_however_it_is_asked_for(upstream: FaultyStandIn) -> None:
    """By its link, its id or its share link, and under its owner too."""
    upstream.faults.add(actions.respond(500), count=None, highlight=GIFTS, user=NATGEO)
    share = "https://www.instagram.com/s/aGlnaGxpZ2h0OjE3OTgzNjE2MDUxNzY4MDg4"
    assert ask(upstream, "/v2/highlight/by/id", id=GIFTS).status == 500
    assert ask(upstream, "/v1/share/by/url", url=share).status == 500
    assert ask(upstream, "/v2/highlight/by/id", id=BOOKS).status == 200


def test_nth_and_count(upstream: FaultyStandIn) -> None:
    """A fault waits for its ``nth`` request and then acts ``count`` times; the next in line takes over."""
    fault = upstream.faults.add(actions.respond(500), nth=2, count=2)
    upstream.faults.add(actions.respond(503), nth=2, count=1)
    statuses = [ask(upstream, "/sys/balance").status for _ in range(6)]
    assert statuses == [200, 500, 500, 503, 200, 200]
    assert fault.acted == 2


def test_remove_and_clear(upstream: FaultyStandIn) -> None:
    """Removed and cleared faults no longer act."""
    first = upstream.faults.add(actions.respond(500), count=None)
    upstream.faults.add(actions.respond(503), count=None)
    upstream.faults.remove(first)
    assert ask(upstream, "/sys/balance").status == 503
    upstream.faults.clear()
    assert ask(upstream, "/sys/balance").status == 200


def test_the_hook_runs_before_the_answer(upstream: FaultyStandIn) -> None:
    """``before`` sees the request before anything is billed, and without an action the answer is the true
    one.
    """
    seen: list[tuple[HttpRequest, int]] = []
    upstream.faults.add(
        before=lambda request: seen.append((request, upstream.balance)), path="/v1/user/highlights"
    )
    assert len(tray(upstream)) == 3
    ((request, balance),) = seen
    assert request.params["user_id"] == NATGEO
    assert balance == upstream.balance + 1
