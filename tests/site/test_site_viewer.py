"""The viewer in a real browser, used as people use stories: taps, holding, moving on by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.support.browser import Visit, chromium, open_site
from tests.support.site_samples import account, highlight, photo, video, write_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MANY = 70
_PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 800}, "has_touch": True}

_BAR = """() => [...document.querySelectorAll(".bar > span")].map((one) => one.className)"""
_PART = """() => Number(document.querySelector(".bar").style.getPropertyValue("--part"))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


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
