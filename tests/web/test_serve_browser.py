"""``archiver serve`` in a real browser: with a keyboard, on a desktop and a phone, in light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from archiver.model.identity import Role
from tests.support.archive_copies import ArchiveCopies
from tests.support.browser import Visit, chromium, open_site
from tests.support.databases import NOW
from tests.support.export_archive import ExportHarness
from tests.support.media_samples import png
from tests.support.web_server import ServedArchive, served, write_token

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests of this module."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, archive_copies: ArchiveCopies) -> ExportHarness:
    """An archive with pictures that a browser can show."""

    def fill(archive: ExportHarness) -> None:
        archive.fill()
        pictures = [("10", Role.THUMBNAIL, png()), ("11", Role.THUMBNAIL, png())]
        archive.keep_all([*pictures, ("1", Role.COVER, png()), ("787132", Role.AVATAR, png())], NOW)

    return ExportHarness.copied(tmp_path_factory.mktemp("shown"), archive_copies, "served-shown", fill)


@pytest.fixture(scope="module")
def running(shown: ExportHarness) -> Iterator[ServedArchive]:
    """A server of it."""
    with served(shown.environ) as started:
        yield started


def visit_pages(visit: Visit, base: str) -> Iterator[str]:
    """Open each kind of page, and yield its name."""
    views = ("timeline", "changes", "search?q=travel", "gaps", "costs")
    of_account = ("accounts/natgeo-787132/", "accounts/natgeo-787132/1.html", "item/10")
    for path in ("", *of_account, *views, "nothing"):
        visit.page.goto(f"{base}/{path}")
        visit.settle()
        yield path


@pytest.mark.parametrize(
    ("device", "scheme"),
    [
        pytest.param(DESKTOP, "light", id="desktop-light"),
        pytest.param(DESKTOP, "dark", id="desktop-dark", marks=pytest.mark.whole),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.whole),
        pytest.param(PHONE, "dark", id="phone-dark"),
    ],
)
def test_axe_finds_no_barrier_on_served_pages(
    browser: Browser,
    running: ServedArchive,
    device: dict[str, object],
    scheme: Literal["light", "dark"],
) -> None:
    """All rules of axe-core, on each kind of page that the server has; and no page is wider than a screen."""
    from axe_playwright_python.sync_playwright import Axe

    base = running.address.rstrip("/")
    violations, widths = {}, {}
    with open_site(browser, Path("/"), base, color_scheme=scheme, **device) as visit:
        for name in visit_pages(visit, base):
            violations[name] = Axe().run(visit.page, options={"preload": False}).response["violations"]
            widths[name] = visit.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            visit.complaints[:] = [text for text in visit.complaints if "status of 404" not in text]
    assert violations == {name: [] for name in violations}
    assert widths == dict.fromkeys(widths, 0)


def test_accounts_are_found_while_somebody_types(browser: Browser, running: ServedArchive) -> None:
    """By the keyboard alone: the list, its number and the address follow, without a new page."""
    base = running.address.rstrip("/")
    with open_site(browser, Path("/"), base, **DESKTOP) as visit:
        visit.page.goto(f"{base}/")
        visit.page.evaluate("window.isSamePage = true")
        visit.page.get_by_label("Filter accounts").focus()
        visit.page.keyboard.type("nobody")
        visit.page.get_by_text("No account has these words").wait_for()
        assert visit.page.locator(".card").count() == 0
        assert "q=nobody" in visit.page.url
        for _ in "nobody":
            visit.page.keyboard.press("Backspace")
        visit.page.keyboard.type("natGEO")
        visit.page.locator(".card").wait_for()
        visit.page.get_by_label("Sort by").select_option("size")
        visit.page.wait_for_url("**/?q=natGEO&sort=size")
        assert visit.page.evaluate("window.isSamePage")
        assert visit.page.locator("#found").inner_text().startswith("1 account")


def test_the_list_says_that_the_server_does_not_answer(browser: Browser, running: ServedArchive) -> None:
    """The accounts on the page stay there, and it is no longer said how many were found."""
    base = running.address.rstrip("/")
    with open_site(browser, Path("/"), base) as visit:
        visit.page.goto(f"{base}/")
        visit.page.route("**/?q=*", lambda route: route.abort("connectionrefused"))
        visit.page.get_by_label("Filter accounts").fill("n")
        visit.page.get_by_text("The server does not answer").wait_for()
        assert visit.page.locator(".card").count() == 1
        visit.complaints.clear()


def test_the_list_works_without_scripts(browser: Browser, running: ServedArchive) -> None:
    """As a form with a button."""
    base = running.address.rstrip("/")
    with open_site(browser, Path("/"), base, java_script_enabled=False) as visit:
        visit.page.goto(f"{base}/")
        visit.page.get_by_label("Filter accounts").fill("nobody")
        visit.page.get_by_role("button", name="Show").click()
        assert "No account has these words" in visit.page.content()


def test_the_viewer_opens_on_a_served_page(browser: Browser, running: ServedArchive) -> None:
    """Its script runs under the policy of the server, and a link with an item leads to it."""
    base = running.address.rstrip("/")
    with open_site(browser, Path("/"), base) as visit:
        visit.page.goto(f"{base}/accounts/natgeo-787132/1.html?item=10#i10")
        visit.page.wait_for_function("document.querySelector('dialog').open")
        assert visit.page.evaluate("location.hash") == "#i10"


def test_somebody_logs_in(browser: Browser, shown: ExportHarness, tmp_path: Path) -> None:
    """The right token leads to the page that was asked for; no script sees the cookie."""
    token = write_token(tmp_path / "token", "a token of some length")
    with served(shown.environ, "--token-file", str(token)) as locked:
        base = locked.address.rstrip("/")
        with open_site(browser, Path("/"), base) as visit:
            visit.page.goto(f"{base}/accounts/natgeo-787132/?page=1")
            visit.settle()  # the browser complains of a field that has the focus before the page gives it
            visit.page.get_by_label("Token").fill("guess")
            visit.page.keyboard.press("Enter")
            visit.page.get_by_text("This is not the token").wait_for()
            visit.settle()
            visit.page.get_by_label("Token").fill("a token of some length")
            visit.page.keyboard.press("Enter")
            visit.page.wait_for_url("**/accounts/natgeo-787132/?page=1")
            assert visit.page.evaluate("document.cookie") == ""
            visit.complaints[:] = [text for text in visit.complaints if "status of 403" not in text]
