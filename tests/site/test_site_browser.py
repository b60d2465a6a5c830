"""The site in a real browser, opened from the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.support.browser import Visit, chromium, open_site, serve_site
from tests.support.command_line import InProcessUser
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NATGEO = "787132"
TITLES = (
    "<img src=x onerror=alert(1)>",
    "</title></script><script>alert(1)</script>",
    "\"' onmouseover=alert(1) autofocus onfocus=alert(2) x='",
    "{{ 7 * 7 }} &lt;b&gt;",
    "\u202egnp.exe\u2066",
    "🦋" * 2000,
    "",
)
LINKS = (
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    'https://example.com/"><img/src=x>',
)


_STILL: dict[str, Any] = {"reduced_motion": "reduce"}  # the viewer does not move on after a short video

# Whether the item that has the focus can be seen.
_IN_SIGHT = """() => {
  const box = document.activeElement.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this module."""
    with chromium() as found:
        yield found


def exported(home: Path, world: EditableWorld, *names: str) -> Path:
    """The site of an archive of these accounts."""
    with FaultyStandIn(world) as upstream:
        person = InProcessUser(home, upstream)
        assert person.run("backup", *names).code == 0
        ended = person.run("export", "site", str(home / "site"), "--json")
    assert ended.code == 0, ended.err
    return home / "site"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the archive that ``archiver demo`` makes."""
    return exported(tmp_path_factory.mktemp("demo"), EditableWorld.seed(), "natgeo", "salwaaa_ki")


def hostile(home: Path) -> Path:
    """The site of an account whose owner would like to harm its readers."""
    world = EditableWorld.seed()
    account = world.account(NATGEO)
    account.full_name = TITLES[1]
    for highlight in list(account.highlights):
        world.remove_highlight(highlight.pk)
    for title in TITLES:
        item = world.add_highlight(NATGEO, title, 1).items[0]
        item.links = [{"webUri": link} for link in LINKS]
        item.hashtags = [{"hashtag": {"id": "1", "name": TITLES[2]}}]
        item.mentions = [{"user": {"pk": "1", "username": TITLES[0], "full_name": TITLES[1]}}]
    return exported(home, world, "natgeo")


def addresses(visit: Visit, selector: str) -> list[str]:
    """Where these links lead."""
    found: list[str] = visit.page.eval_on_selector_all(selector, "all => all.map((a) => a.href)")
    return found


@pytest.mark.whole
def test_every_highlight_opens_and_keys_move_through_its_items(
    browser: Browser, demo: Path, whole: bool
) -> None:
    """From the first page on: each item comes to be seen in its turn, Home and End lead to both ends, which
    hold; Escape goes back to where it was, and the reader stands there. Every day one highlight of each
    account.
    """
    seen = 0
    with open_site(browser, demo, **_STILL) as visit:
        visit.goto(demo / "index.html")
        for account in addresses(visit, "a.card"):
            visit.page.goto(account)
            for highlight in addresses(visit, "a.cover")[: None if whole else 1]:
                visit.page.goto(highlight)
                ids = visit.page.eval_on_selector_all("li.item", "all => all.map((li) => li.id)")
                visit.page.focus("a.tile")
                shown = visit.press("Enter")
                for at, pk in enumerate(ids, start=1):
                    assert shown["open"]
                    assert shown["medium"] in ("img", "video")
                    assert shown["position"].endswith(f" {at} of {len(ids)}")
                    assert (shown["hash"], shown["focus"]) == (f"#{pk}", "viewer")
                    shown = visit.press("ArrowRight")
                seen += len(ids)
                assert shown["hash"] == f"#{ids[-1]}"
                assert visit.press("Home")["hash"] == visit.press("ArrowLeft")["hash"] == f"#{ids[0]}"
                assert visit.press("End")["hash"] == f"#{ids[-1]}"
                after = visit.press("Escape")
                assert (after["open"], after["medium"], after["focus"], after["hash"]) == (
                    False,
                    None,
                    ids[-1],
                    "",
                )
    assert seen == (37 if whole else 15)


@pytest.mark.whole
def test_a_video_plays_and_the_space_bar_stops_it(browser: Browser, demo: Path) -> None:
    """By itself once it is opened, even behind a button that was clicked."""
    playing = "async () => { const v = document.querySelector('video'); const t = v.currentTime;" + (
        "for (let i = 0; i < 100 && v.currentTime <= t; i++) await new Promise((r) => setTimeout(r, 20));"
        "return [v.currentTime > t, v.paused, v.videoWidth > 0]; }"
    )
    paused = "() => document.querySelector('video').paused"
    with open_site(browser, demo) as visit:
        visit.repeat_videos()
        visit.goto(next(demo.glob("accounts/natgeo-*/[0-9]*.html")))
        visit.page.click("a.tile >> nth=0")
        visit.page.click("[aria-label=Next]")
        assert visit.shown()["medium"] == "video"
        assert visit.page.evaluate(playing) == [True, False, True]
        visit.page.keyboard.press("Space")
        assert visit.page.evaluate(paused)
        visit.page.keyboard.press("Space")
        assert visit.page.evaluate(playing) == [True, False, True]
        assert visit.press("ArrowRight")["medium"] == "img"


@pytest.mark.whole
def test_who_reads_by_keyboard_or_ear_is_not_lost(browser: Browser, demo: Path) -> None:
    """The focus stays in the viewer whatever is tabbed, a link to an item opens it, nothing moves by itself
    where that is not wanted.
    """
    with open_site(browser, demo, reduced_motion="reduce", color_scheme="dark") as visit:
        visit.goto(next(demo.glob("accounts/natgeo-*/index.html")))
        link = str(visit.page.get_attribute(".details a[href*='#i']", "href"))
        page = next(demo.glob("accounts/natgeo-*")) / link.partition("#")[0]
        visit.goto(page, "#" + link.partition("#")[2])
        assert visit.shown()["hash"] == f"#{link.partition('#')[2]}"
        names = set()
        for _ in range(8):
            visit.page.keyboard.press("Tab")
            names.add(
                visit.page.evaluate(
                    "() => { const a = document.activeElement;"
                    " return a === document.body || a.closest('dialog') ? a.ariaLabel || "
                    "a.localName : 'lost'; }"
                )
            )
        assert {"Close", "Previous", "Next"} <= names
        assert "lost" not in names
        visit.press("Home")
        assert visit.press("ArrowRight")["medium"] == "video"
        assert visit.page.evaluate("() => document.querySelector('video').paused")


@pytest.mark.whole
def test_keys_move_in_a_viewer_that_a_link_opened(browser: Browser, demo: Path) -> None:
    """From outside, from another page of the site, and from within the page: nobody has to tab or click
    first. Browsers end a journey to a fragment by taking the focus away, after the page's script has run.
    """
    pages = demo.glob("accounts/natgeo-*/[0-9]*.html")
    page = max(pages, key=lambda one: one.read_text().count('class="item'))
    with open_site(browser, demo, **_STILL) as visit:
        visit.goto(page)
        first, *_, before, last = visit.page.eval_on_selector_all("li.item", "all => all.map((li) => li.id)")
        visit.goto(demo / "index.html")
        visit.goto(page, f"#{last}")
        assert visit.press("ArrowLeft")["hash"] == f"#{before}"  # whoever has the focus by then
        visit.goto(demo / "index.html")
        visit.goto(page, f"#{last}")
        visit.settle()
        assert (visit.shown()["hash"], visit.shown()["focus"]) == (f"#{last}", "viewer")
        assert visit.press("ArrowLeft")["hash"] == f"#{before}"
        assert visit.press("End")["hash"] == f"#{last}"

        visit.goto(page.with_name("index.html"))
        visit.page.click("a.tile >> nth=0")
        link = visit.page.locator("dialog .details a[href*='#i']").first
        wanted = str(link.get_attribute("href")).partition("#")[2]
        link.click()
        visit.page.wait_for_url(f"**#{wanted}")
        visit.page.wait_for_selector("dialog[open]")
        visit.settle()
        assert (visit.shown()["hash"], visit.shown()["focus"]) == (f"#{wanted}", "viewer")
        visit.press("Home")
        assert visit.press("ArrowRight")["hash"] != visit.press("Home")["hash"]

        visit.goto(page)
        for wanted in (last, first):
            visit.page.evaluate("(id) => { location.hash = id; }", wanted)
            visit.settle()
            assert (visit.shown()["hash"], visit.shown()["focus"]) == (f"#{wanted}", "viewer")
        assert visit.press("End")["hash"] == f"#{last}"


@pytest.mark.parametrize("place", ["disk", pytest.param("server", marks=pytest.mark.whole)])
def test_fault_h47_back_closes_the_viewer(browser: Browser, demo: Path, place: str) -> None:
    """And stays on the page; Forward opens it again. Closed otherwise it leaves no entry that leads back into
    it. A link from outside has the page that it came from before it. From the disk and from a web server."""
    page = max(
        demo.glob("accounts/natgeo-*/[0-9]*.html"), key=lambda one: one.read_text().count('class="item')
    )
    with ExitStack() as stack:
        base = stack.enter_context(serve_site(demo)) if place == "server" else ""
        visit = stack.enter_context(open_site(browser, demo, base, **_STILL))
        index, here = (
            f"{base or demo.as_uri()}/{one.relative_to(demo)}" for one in (demo / "index.html", page)
        )

        def travel(way: str, to: str) -> dict[str, Any]:
            """What is shown after Back or Forward, which the browser does in its own time."""
            visit.page.evaluate(f"() => history.{way}()")
            visit.page.wait_for_url(to)
            visit.settle()
            return visit.shown()

        visit.page.goto(index)
        visit.page.goto(here)
        first, *_, last = visit.page.eval_on_selector_all("li.item", "all => all.map((li) => li.id)")
        visit.page.click("a.tile >> nth=0")
        assert visit.press("End")["hash"] == f"#{last}"
        closed = travel("back", here)
        assert (closed["open"], closed["medium"], closed["focus"], closed["hash"]) == (False, None, last, "")
        assert visit.page.evaluate(_IN_SIGHT)
        shown = travel("forward", f"{here}#{last}")
        assert (shown["open"], shown["hash"], shown["focus"]) == (True, f"#{last}", "viewer")

        for _ in range(3):  # no entry more each time
            visit.press("Escape")
            visit.page.wait_for_url(here)
            visit.settle()
            assert visit.shown()["focus"] == last
            assert visit.page.evaluate(_IN_SIGHT)
            assert visit.press("Enter")["open"]
        visit.page.click("[aria-label=Close]")
        visit.page.keyboard.press("Enter")  # before the browser has gone back
        assert visit.shown()["open"]
        visit.press("Escape")
        visit.page.wait_for_url(here)
        visit.page.go_back()
        assert visit.page.url == index

        visit.page.goto(f"{here}#{first}")
        assert visit.shown()["open"]
        assert not visit.press("Escape")["open"]
        assert visit.page.url == here
        visit.page.go_back()
        assert visit.page.url == index


@pytest.mark.whole
@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.whole), "dark"])
def test_axe_finds_no_barrier(browser: Browser, demo: Path, scheme: Literal["light", "dark"]) -> None:
    """axe-core, all its rules: contrast, names, roles, landmarks, order of headings; on every kind of page,
    and in the viewer.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = {}
    with open_site(browser, demo, color_scheme=scheme) as visit:
        (index,) = demo.glob("accounts/natgeo-*/index.html")
        (*_, highlight) = sorted(index.parent.glob("[0-9]*.html"))
        for page in (demo / "index.html", index, highlight):
            visit.goto(page)
            found[page.name] = Axe().run(visit.page, options={"preload": False})
        visit.page.click("a.tile")
        visit.shown()
        found["viewer"] = Axe().run(visit.page, options={"preload": False})
    assert {name: one.response["violations"] for name, one in found.items()} == {name: [] for name in found}


@pytest.mark.whole
def test_fingers_swipe(browser: Browser, demo: Path) -> None:
    """Sideways to the next and back, down to close."""

    def swipe(visit: Visit, across: int, down: int) -> dict[str, Any]:
        finger = visit.page.context.new_cdp_session(visit.page)
        for kind, part in (("touchStart", 0), ("touchMove", 0.5), ("touchMove", 1)):
            point = {"x": 200 + part * across, "y": 300 + part * down}
            finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        return visit.shown()

    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "has_touch": True, **_STILL}
    with open_site(browser, demo, **phone) as visit:
        visit.goto(next(demo.glob("accounts/natgeo-*/[0-9]*.html")))
        visit.page.tap("a.tile")
        first = visit.shown()["hash"]
        assert swipe(visit, 20, 0)["hash"] == first
        assert swipe(visit, -120, 10)["hash"] != first
        assert swipe(visit, 120, -10)["hash"] == first
        assert not swipe(visit, 5, 160)["open"]
        width = visit.page.evaluate("() => document.documentElement.scrollWidth")
        assert width == 390  # nothing sticks out


@pytest.mark.whole
def test_fault_x7_a_hostile_archive_is_text_in_the_browser_too(browser: Browser, tmp_path: Path) -> None:
    """FormerTitles and names stand there as they were written, no dialog opens, nothing of theirs is loaded,
    and the one link that may be followed tells its host.
    """
    site = hostile(tmp_path)
    titles = []
    with open_site(browser, site) as visit:
        visit.goto(site / "index.html")
        assert visit.page.inner_text(".card .name") == TITLES[1]
        visit.page.click("a.card")
        pages = addresses(visit, "a.cover")
        for page in pages:
            visit.page.goto(page)
            titles.append(visit.page.text_content("h1"))
            visit.page.click("a.tile")
            shown = visit.shown()
            assert (shown["open"], shown["medium"]) == (True, "img")
            links = "dialog .details a:not([href^='https://www.instagram.com/p/'])"
            assert addresses(visit, links) == ["https://example.com/%22%3E%3Cimg/src=x%3E"]
            assert "example.com" in visit.page.inner_text("dialog .details")
            assert LINKS[0] in visit.page.inner_text("dialog .details")
    assert titles == [title or "Untitled" for title in reversed(TITLES)]


@pytest.mark.whole
def test_without_a_script_a_tile_is_a_link_to_its_file(browser: Browser, demo: Path) -> None:
    """And what is known of an item stands below it."""
    with open_site(browser, demo, java_script_enabled=False) as visit:
        visit.goto(next(demo.glob("accounts/natgeo-*/[0-9]*.html")))
        assert visit.page.is_visible(".item .details time >> nth=0")
        visit.page.click("a.tile >> nth=0")
        assert visit.page.url.startswith(f"{demo.as_uri()}/media/")
