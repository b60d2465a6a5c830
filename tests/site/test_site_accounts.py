"""The list of accounts in a real browser: searched and sorted by ``accounts.js``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from msgspec.structs import replace

from tests.support.browser import Visit, chromium, open_site
from tests.support.site_samples import NOW, Step, account, highlight, place_item, write_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of twenty accounts; the third has the most items, the fourth has changed last."""

    def steps() -> Iterator[Step]:
        for n in range(1, 21):
            name = {3: "Zoë Ångström", 4: "_Émile"}.get(n, f"Person {n} with a name that has no end " * 2)
            yield account(f"user{n}", pk=str(n), full_name=name, usernames=(f"user{n}", f"former{n}"))
            yield replace(highlight(f"9{n}"), user_pk=str(n))
            for item in range(1 + 4 * (n == 3)):
                at = NOW + timedelta(days=n == 4)
                yield replace(place_item(f"{n}00{item}", highlight_pk=f"9{n}"), first_seen_at=at)

    return write_site(*steps()).write(tmp_path_factory.mktemp("twenty"))


def shown(visit: Visit) -> list[str]:
    """The user names of the accounts that can be seen, in their order."""
    texts = visit.page.locator(".cards > li:visible .small bdi").all_inner_texts()
    return [text.strip().lstrip("@") for text in texts]


def test_a_search_finds_accounts_as_it_is_typed(browser: Browser, site: Path) -> None:
    """By parts of full, current and former names, whatever their accents and case; every word counts. What
    was typed is still there after Back.
    """
    with open_site(browser, site) as visit:
        visit.goto(site / "index.html")
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


def test_accounts_are_sorted_by_name_last_change_and_size(browser: Browser, site: Path) -> None:
    """Equal ones keep the order of the page, and names are in the order of a dictionary."""
    with open_site(browser, site) as visit:
        visit.goto(site / "index.html")
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
def test_twenty_accounts_fit_a_phone(browser: Browser, site: Path, scripts: bool) -> None:
    """In little more than two screens, each name on one line however long it is; without a script there are
    no controls.
    """
    with open_site(browser, site, java_script_enabled=scripts, **_PHONE) as visit:
        visit.goto(site / "index.html")
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
    browser: Browser, site: Path, scheme: Literal["light", "dark"]
) -> None:
    """With its controls, which a shorter list does not have, on a desktop and on a phone."""
    from axe_playwright_python.sync_playwright import Axe

    for device in ({}, _PHONE):
        with open_site(browser, site, color_scheme=scheme, **device) as visit:
            visit.goto(site / "index.html")
            visit.page.get_by_role("searchbox").fill("person")
            found = Axe().run(visit.page, options={"preload": False})
        assert found.response["violations"] == []
