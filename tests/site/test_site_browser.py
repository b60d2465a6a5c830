"""The site in a browser: its list of accounts, its pages, and the viewer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from msgspec.structs import replace

from tests.support.browser import Visit, chromium, open_site, serve_site
from tests.support.command_line import InProcessUser
from tests.support.site_samples import NOW, Step, account, highlight, photo, place_item, video, write_site
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
    for shown in list(account.highlights):
        world.remove_highlight(shown.pk)
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


_PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "has_touch": True}


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of twenty accounts; the third has the most items, the fourth has changed last."""

    def steps() -> Iterator[Step]:
        for n in range(1, 21):
            name = {3: "Zoë Ångström", 4: "_Émile"}.get(n, f"Person {n} with a name that has no end " * 2)
            yield account(f"user{n}", pk=str(n), full_name=name, usernames=(f"user{n}", f"former{n}"))
            yield replace(highlight(f"9{n}"), user_pk=str(n))
            for item in range(1 + 4 * (n == 3)):
                at = NOW + timedelta(days=n == 4)
                yield replace(place_item(f"{n}00{item}", highlight_pk=f"9{n}"), first_seen_at=at)

    return write_site(*steps()).write(tmp_path_factory.mktemp("site"))


def shown(visit: Visit) -> list[str]:
    """The user names of the accounts that can be seen, in their order."""
    texts = visit.page.locator(".cards > li:visible .small bdi").all_inner_texts()
    return [text.strip().lstrip("@") for text in texts]


def test_a_search_finds_accounts_as_it_is_typed(browser: Browser, twenty: Path) -> None:
    """By parts of full, current and former names, whatever their accents and case; every word counts. What
    was typed is still there after Back.
    """
    with open_site(browser, twenty) as visit:
        visit.goto(twenty / "index.html")
        assert len(shown(visit)) == 20
        search = visit.page.get_by_role("searchbox", name="Search")
        for typed, found in (
            ("angst", ["user3"]),
            ("ZOE  user", ["user3"]),
            ("émile", ["user4"]),
            ("emile zoe", []),
            ("@former7", ["user7"]),
        ):
            search.fill(typed)
            assert shown(visit) == found
            assert visit.page.inner_text("[role=status]") == f"{len(found)} of 20 found"
        visit.page.click(".card:visible")
        visit.page.go_back()
        assert search.input_value() == "@former7"
        assert shown(visit) == ["user7"]
        search.fill("")
        assert len(shown(visit)) == 20


def test_accounts_are_sorted_by_name_last_change_and_size(browser: Browser, twenty: Path) -> None:
    """Equal ones keep the order of the page, and names are in the order of a dictionary."""
    with open_site(browser, twenty) as visit:
        visit.goto(twenty / "index.html")
        sort = visit.page.get_by_label("Sort")
        sort.select_option("size")
        by_size = shown(visit)
        assert by_size[0] == "user3"
        sort.select_option("changed")
        assert shown(visit)[0] == "user4"
        sort.select_option("name")
        assert shown(visit) == ["user4", *(f"user{n}" for n in range(1, 21) if n not in (3, 4)), "user3"]
        assert sorted(by_size) == sorted(shown(visit))


@pytest.mark.parametrize("scripts", [True, pytest.param(False, marks=pytest.mark.whole)])
def test_twenty_accounts_fit_a_phone(browser: Browser, twenty: Path, scripts: bool) -> None:
    """In little more than two screens, each name on one line however long it is; without a script there are
    no controls.
    """
    with open_site(browser, twenty, java_script_enabled=scripts, **_PHONE) as visit:
        visit.goto(twenty / "index.html")
        assert visit.page.get_by_role("searchbox").count() == int(scripts)
        box = visit.page.locator("html").bounding_box()
        assert box is not None
        assert box["height"] < 2.2 * 844
        assert visit.page.locator(".cards").bounding_box()["width"] <= 390  # type: ignore[index]
        heights = {one.bounding_box()["height"] for one in visit.page.locator(".name").all()}  # type: ignore[index]
        assert len(heights) == 1


@pytest.mark.whole
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_in_the_list(
    browser: Browser, twenty: Path, scheme: Literal["light", "dark"]
) -> None:
    """With its controls, which a shorter list does not have, on a desktop and on a phone."""
    from axe_playwright_python.sync_playwright import Axe

    for device in ({}, _PHONE):
        with open_site(browser, twenty, color_scheme=scheme, **device) as visit:
            visit.goto(twenty / "index.html")
            visit.page.get_by_role("searchbox").fill("person")
            found = Axe().run(visit.page, options={"preload": False})
        assert found.response["violations"] == []


MANY = 70
_BAR = """() => [...document.querySelectorAll(".bar > span")].map((one) => one.className)"""
_PART = """() => Number(document.querySelector(".bar").style.getPropertyValue("--part"))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A highlight of a photo, a video of a second and a photo, and one of many photos."""
    few = photo("100", code="DSd4Z8fgAAC"), video("101"), photo("102")
    many = (photo(str(n), highlight_pk="11") for n in range(1000, 1000 + MANY))
    written = write_site(account(is_verified=True), highlight(), *few, highlight("11"), *many)
    return written.write(tmp_path_factory.mktemp("viewer"))


def open_viewer(visit: Visit, site: Path, item: int = 0, page: str = "10") -> dict[str, Any]:
    """Open the page of a highlight, and an item with a click."""
    visit.goto(next(site.glob(f"accounts/*/{page}.html")))
    visit.page.click(f"a.tile >> nth={item}")
    return visit.shown()


def wait_until(visit: Visit, condition: str) -> None:
    """Wait for JavaScript to be true. The policy of the page allows playwright's own wait no evaluation."""
    until = time.monotonic() + 10
    while not visit.page.evaluate(condition):
        assert time.monotonic() < until, condition
        visit.page.wait_for_timeout(10)


def place(visit: Visit) -> str:
    return str(visit.page.evaluate("location.hash"))


def test_a_tap_goes_on_and_on_the_left_third_back(browser: Browser, site: Path) -> None:
    """With a finger or the mouse; at both ends nothing happens. The bar has a segment for each item."""
    with open_site(browser, site, **_PHONE) as visit:
        assert open_viewer(visit, site)["position"] == "Photo 1 of 3"
        for x, item, bar in (
            (20, "100", ["current", "", ""]),
            (125, "100", ["current", "", ""]),
            (140, "101", ["seen", "current", ""]),
            (370, "102", ["seen", "seen", "current"]),
            (200, "102", ["seen", "seen", "current"]),
            (120, "101", ["seen", "current", ""]),
        ):
            visit.page.touchscreen.tap(x, 300)
            assert place(visit) == f"#i{item}"
            assert visit.page.evaluate(_BAR) == bar
        visit.page.mouse.click(20, 300)
        assert place(visit) == "#i100"
        visit.page.mouse.click(300, 300, button="right")
        assert place(visit) == "#i100"


def test_holding_pauses_until_it_is_let_go(browser: Browser, site: Path) -> None:
    """A video stands still, the buttons are out of the way, and letting go moves nowhere."""
    with open_site(browser, site, **_PHONE) as visit:
        finger = visit.page.context.new_cdp_session(visit.page)
        down = {"type": "touchStart", "touchPoints": [{"x": 300, "y": 300}]}
        visit.repeat_videos()
        open_viewer(visit, site, 1)
        visit.page.wait_for_selector("[data-state=playing]")
        finger.send("Input.dispatchTouchEvent", down)
        visit.page.wait_for_selector("[data-held][data-state=paused]")
        assert visit.page.evaluate("document.querySelector('video').paused")
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        visit.page.wait_for_selector("[data-state=playing]:not([data-held])")
        assert place(visit) == "#i101"


@pytest.mark.whole
def test_the_viewer_moves_on_when_a_video_ends(browser: Browser, site: Path) -> None:
    """And not after a photo, unless the reader wants that too, which is remembered; the setting also stops
    both.
    """
    with open_site(browser, site) as visit:
        open_viewer(visit, site, 1)
        wait_until(visit, "location.hash === '#i102'")
        assert visit.page.get_attribute("dialog", "data-state") == "still"

        visit.press("Home")
        visit.page.select_option("[data-part=moves]", "all")
        visit.page.wait_for_selector("[data-state=playing]")
        wait_until(visit, f"({_PART})() > 0")
        visit.press("Escape")
        open_viewer(visit, site, page="11")
        assert visit.page.input_value("[data-part=moves]") == "all"
        visit.page.clock.install()
        visit.page.reload()
        for _ in range(80):
            visit.page.clock.run_for(100)
        assert place(visit) == "#i1001"
        visit.page.keyboard.press("Space")
        assert visit.page.get_attribute("dialog", "data-state") == "paused"
        for _ in range(80):
            visit.page.clock.run_for(100)
        assert place(visit) == "#i1001"

        visit.page.select_option("[data-part=moves]", "never")
        assert visit.page.get_attribute("dialog", "data-state") == "still"
        open_viewer(visit, site, 1)
        wait_until(visit, "document.querySelector('video').ended")
        assert place(visit) == "#i101"


@pytest.mark.whole
def test_nothing_moves_if_the_system_asks_for_less_motion(browser: Browser, site: Path) -> None:
    """A video waits for its button, and the viewer stays at its end. The setting says so."""
    with open_site(browser, site, reduced_motion="reduce") as visit:
        open_viewer(visit, site, 1)
        assert visit.page.get_attribute("dialog", "data-state") == "paused"
        assert visit.page.is_disabled("[data-part=moves]")
        assert visit.page.is_visible("[data-part=calm]")
        visit.page.click("[aria-label=Play]")
        wait_until(visit, "document.querySelector('video').ended")
        visit.page.wait_for_selector("[data-state=paused]")
        assert place(visit) == "#i101"


@pytest.mark.whole
def test_the_viewer_stays_while_its_details_are_read(browser: Browser, site: Path) -> None:
    """Somebody who has gone to the details with the keyboard is not taken away from them."""
    with open_site(browser, site) as visit:
        open_viewer(visit, site, 1)
        visit.page.focus("[data-part=panel]")
        wait_until(visit, "document.querySelector('video').ended")
        visit.settle()
        assert place(visit) == "#i101"


@pytest.mark.whole
def test_the_sound_can_be_switched_off(browser: Browser, site: Path) -> None:
    """For this video and those after it; a photo has no such button."""
    with open_site(browser, site) as visit:
        visit.repeat_videos()
        open_viewer(visit, site)
        sound = visit.page.locator("[data-part=sound]")
        assert not sound.is_visible()
        visit.press("ArrowRight")
        assert sound.get_attribute("aria-pressed") == "true"
        sound.focus()
        visit.press("Home")
        visit.settle()
        assert visit.shown()["focus"] == "viewer"  # the button went
        visit.press("ArrowRight")
        sound.click()
        visit.page.wait_for_selector("[data-part=sound][aria-pressed=false]")
        visit.press("Home")
        visit.press("ArrowRight")
        assert visit.page.evaluate("document.querySelector('video').muted")


@pytest.mark.whole
def test_a_bar_of_many_items_is_one_line(browser: Browser, site: Path) -> None:
    """It shows how far the reader is in all of them."""
    with open_site(browser, site) as visit:
        assert open_viewer(visit, site, page="11")["position"] == f"Photo 1 of {MANY}"
        assert visit.page.evaluate(_BAR) == ["current"]
        assert visit.page.evaluate(_PART) == pytest.approx(1 / MANY)
        assert visit.press("End")["position"] == f"Photo {MANY} of {MANY}"
        assert visit.page.evaluate(_PART) == 1


def test_the_setting_is_used_by_keyboard_and_the_title_is_never_empty(browser: Browser, site: Path) -> None:
    """Keys choose within the setting, and move nowhere."""
    with open_site(browser, site) as visit:
        visit.goto(next(site.glob("accounts/*/10.html")))
        assert visit.page.text_content("#viewer-title")
        open_viewer(visit, site)
        visit.page.focus("[data-part=moves]")
        visit.page.keyboard.press("ArrowDown")
        assert visit.page.input_value("[data-part=moves]") == "all"
        visit.page.keyboard.press("End")
        assert visit.page.input_value("[data-part=moves]") == "never"
        assert place(visit) == "#i100"
        visit.press("Escape")
        assert visit.page.text_content("#viewer-title") == "Photo 1 of 3"


@pytest.mark.whole
def test_dates_are_under_tiles_and_a_badge_beside_the_name(browser: Browser, site: Path) -> None:
    """Without the details, which the viewer shows; a link there leads to Instagram."""
    with open_site(browser, site) as visit:
        visit.goto(next(site.glob("accounts/*/index.html")))
        assert visit.page.get_by_role("img", name="verified").is_visible()
        assert visit.page.inner_text("li.item >> nth=0") == "4 Dec 2025"
        open_viewer(visit, site)
        link = visit.page.get_by_role("dialog").get_by_role("link", name="View on Instagram")
        assert link.get_attribute("href") == "https://www.instagram.com/p/DSd4Z8fgAAC/"


@pytest.mark.whole
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier_in_the_viewer(
    browser: Browser, site: Path, scheme: Literal["light", "dark"]
) -> None:
    """With a photo and a video that is paused, on a desktop and on a phone; and on the page of a year."""
    from axe_playwright_python.sync_playwright import Axe

    for device in ({}, _PHONE):
        with open_site(browser, site, color_scheme=scheme, reduced_motion="reduce", **device) as visit:
            visit.goto(next(site.glob("accounts/*/items-2025.html")))
            found = [Axe().run(visit.page, options={"preload": False})]
            for item in (0, 1):
                open_viewer(visit, site, item)
                found.append(Axe().run(visit.page, options={"preload": False}))
        assert [one.response["violations"] for one in found] == [[], [], []]
