"""The site: what an export of it writes, its list of accounts, and its HTML."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import html5lib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiver import text_format
from archiver.model.identity import Role
from archiver.model.upstream import Hashtag, WebLink
from archiver.pages import page_text
from archiver.pages.html_pages import POLICY
from tests.site.test_site_browser import LINKS, TITLES, exported, hostile
from tests.support.command_line import InProcessUser
from tests.support.site_samples import (
    NOW,
    Step,
    WrittenSite,
    account,
    file_of,
    highlight,
    highlight_saying,
    photo,
    place_item,
    write_site,
)
from tests.support.standin.faulty_standin import FaultyStandIn
from tests.support.standin.world_edits import EditableWorld

NATGEO = "787132"

# The command, in a process that kills itself before its n-th file comes to stand.
_KILLED = """
import os, signal, sys
from archiver.cli.main import main
from archiver.export.placement import Placement

left = int(sys.argv[1])

def counted(method):
    def one(*args, **more):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*args, **more)
    return one

Placement.place, Placement.link = counted(Placement.place), counted(Placement.link)
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessUser]:
    """Somebody who keeps two accounts, and whose archive no test alters."""
    with FaultyStandIn(EditableWorld.seed()) as upstream:
        person = InProcessUser(tmp_path_factory.mktemp("kept"), upstream)
        assert person.run("backup", "natgeo", "salwaaa_ki").code == 0
        yield person


def bytes_of(site: Path) -> dict[str, bytes]:
    """Every file of a site but the export's own list."""
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in files.items() if not name.startswith(".archiver-export/")
    }


def export(person: InProcessUser, site: Path, *options: str, code: int = 0) -> dict[str, object]:
    """What the command says of itself."""
    ended = person.run("export", "site", str(site), "--json", *options)
    assert ended.code == code, ended.err
    return ended.object


def test_a_second_export_does_nothing(keeper: InProcessUser, tmp_path: Path) -> None:
    """The archive being as it was, the pages are the same to the byte, and none is written again."""
    first = export(keeper, tmp_path / "site")
    assert (first["form"], first["new"], first["written"], first["failed"]) == ("site", 68, 12, 0)
    second = export(keeper, tmp_path / "site")
    assert (second["files"], second["new"], second["replaced"], second["moved"]) == (68, 0, 0, 0)


@pytest.mark.parametrize("moment", [pytest.param(25, marks=pytest.mark.whole), 68])
def test_a_killed_export_run_again_equals_one_never_killed(
    keeper: InProcessUser, tmp_path: Path, moment: int
) -> None:
    """Amid media, and before the last page."""
    site = tmp_path / "killed"
    words = [sys.executable, "-c", _KILLED, str(moment), "export", "site", str(site)]
    assert subprocess.run(words, env=keeper.environ, check=False).returncode == -signal.SIGKILL
    assert not (site / "index.html").exists()
    export(keeper, site)
    export(keeper, tmp_path / "whole")
    assert bytes_of(site) == bytes_of(tmp_path / "whole")


@pytest.mark.whole
def test_what_is_not_selected_stays_until_it_is_pruned(keeper: InProcessUser, tmp_path: Path) -> None:
    """Pages and media of another account; the first page shows what is selected."""
    site = tmp_path / "site"
    export(keeper, site)
    assert export(keeper, site, "--account", "salwaaa_ki")["others"] == 53
    assert list(site.glob("accounts/natgeo-*/index.html"))
    assert "natgeo" not in (site / "index.html").read_text()
    assert export(keeper, site, "--account", "salwaaa_ki", "--prune")["removed"] == 53
    assert [path.name for path in site.glob("accounts/*")] == ["salwaaa_ki-75885841119"]
    export(keeper, tmp_path / "alone", "--account", "salwaaa_ki")
    assert bytes_of(site) == bytes_of(tmp_path / "alone")


def test_a_file_of_somebody_else_stays_and_is_told(keeper: InProcessUser, tmp_path: Path) -> None:
    """A page that could have another name would not be found by those that lead to it."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("mine")
    found = export(keeper, site, "--account", "salwaaa_ki", code=3)
    assert (found["failed"], found["outcome"]) == (1, "partial")
    assert "index.html" in str(found["troubles"])
    assert (site / "index.html").read_text() == "mine"


def test_an_edit_moves_and_rewrites_pages(tmp_path: Path) -> None:
    """A renamed account has its pages under its new name alone; they tell its old name, the old title, and
    what is gone, or not that.
    """
    world = EditableWorld.seed()
    gifts, books, limitless = (highlight.pk for highlight in world.account(NATGEO).highlights)
    with FaultyStandIn(world) as upstream:
        person = InProcessUser(tmp_path, upstream)
        assert person.run("backup", NATGEO).code == 0
        export(person, tmp_path / "site")
        old = world.highlight(gifts).title
        world.rename(NATGEO, "natgeo2")
        world.retitle(gifts, "Presents")
        world.remove_highlight(books)
        world.remove_item(limitless, world.highlight(limitless).items[0].pk)
        assert person.run("backup", NATGEO).code == 0
        export(person, tmp_path / "site", "--prune")
        export(person, tmp_path / "shown", "--no-gone")
    (place,) = (tmp_path / "site" / "accounts").iterdir()
    assert place.name == "natgeo2-787132"
    texts = {path.stem: path.read_text() for path in place.iterdir()}
    assert "formerly <bdi>@natgeo</bdi>" in texts["index"]
    assert f"Formerly <bdi>{old}</bdi>" in texts[gifts]
    assert "This highlight is no longer shown" in texts[books]
    assert texts[limitless].count("No longer shown in the highlight") == 1
    shown = {path.stem: path.read_text() for path in (tmp_path / "shown" / "accounts" / place.name).iterdir()}
    assert shown.keys() == {"index", gifts, limitless}
    assert "No longer shown" not in "".join(shown.values())


VERSION = "26.9.27"
_TEXTS = (
    *TITLES,
    "a\x00b\x0bc\x7f",
    "\ufffe\U0010ffff\ue000",
    "\u0301e\u0301",
    "]]>--><!--",
    "&amp;&notanentity;&#0;",
)
_URLS = (
    *LINKS,
    *(
        f"https://example.com/{odd}?{odd}#{odd}#"
        for odd in ("\\", "|`^{}[]<>\"'", "%zz%", "\u00fc\U0001f98b", "\ufffe")
    ),
    "https://xn--bcher-kva.example/",
    "https://b\u00fccher.example/",
    "HTTPS://EXAMPLE.COM:443/a b",
)
# Warnings about what somebody wrote, which stays as it was written; and one of files from the disk, which
# browsers take for 'self' of the policy.
_LEFT = re.compile(
    "(?:Document uses the Unicode Private Use Area|Text run starts with a composing character|"
    "The value of attribute .data-name. on element .li. .* starts with a composing character|"
    "This document appears to be written in |.* is not in Unicode Normalization Form C|"
    r"Resource violates Content Security Policy \(meta tag\): )"
)


@pytest.fixture(scope="session")
def checker(shared_tmp: Path) -> list[str]:
    """The command that checks files: Debian's Java, and the jar from npm, kept for the next time."""
    java, npm = shutil.which("java"), shutil.which("npm")
    base = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archiver-tests" / f"vnu-{VERSION}"
    )
    jar = base / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
    if java is None or (npm is None and not jar.exists()):
        told = "the Nu checker needs Java, and npm to fetch it: install default-jre-headless and npm"
        if sys.platform != "linux":
            pytest.skip(told)
        pytest.fail(told)
    if not jar.exists():
        assert npm is not None
        new = shared_tmp / "vnu"
        install = [npm, "install", "--silent", "--no-audit", "--prefix", str(new), f"vnu-jar@{VERSION}"]
        new.mkdir()
        subprocess.run(install, check=True, timeout=300)
        base.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(base, ignore_errors=True)
        shutil.move(new, base)
    return [java, "-jar", str(jar), "--format", "json", "--stdout", "--exit-zero-always"]


@pytest.mark.whole
def test_the_nu_checker_finds_nothing_on_any_page(checker: list[str], tmp_path: Path) -> None:
    """No error, and no warning that is ours to heed: of the demo, of an account whose owner would like to
    harm, of texts and links of all kinds."""
    for name in ("demo", "hostile"):
        (tmp_path / name).mkdir()
    exported(tmp_path / "demo", EditableWorld.seed(), "natgeo", "salwaaa_ki")
    hostile(tmp_path / "hostile")
    for n, text in enumerate(_TEXTS):
        for m, url in enumerate(_URLS):
            for path, page in write_site(*highlight_saying(text, url)).pages.items():
                there = tmp_path / f"made-{n}-{m}" / path
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_text(page, encoding="utf-8")
    pages = [str(path) for path in tmp_path.rglob("*.html")]
    assert len(pages) > 4 * len(_TEXTS) * len(_URLS)
    done = subprocess.run([*checker, *pages], capture_output=True, text=True, check=True, timeout=600)
    messages = json.loads(done.stdout)["messages"]
    odd = [one for one in messages if one["type"] == "error" or not _LEFT.match(one["message"])]
    assert not odd, f"{len(odd)}, of them " + json.dumps(odd[:5], indent=1)


HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</title></script><script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='",
    "{{ 7 * 7 }} {% raw %} &amp; &lt; &#x3c;",
    "\u202egnp.exe\u2066\u200b\u2069",
    "👩‍👩‍👧‍👦" * 30,
    "\x00\x0b\x1b[2J\x7f\x80\ufffe\U0001ffff\ud800\r\n\u2028-->]]>",
)


def elements(page: str) -> list[Element]:
    """All elements of a page. Raises html5lib's ParseError for what is no valid HTML."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return list(parser.parse(page).iter())


# The links to Instagram, which are there only if a name is valid.
_INSTAGRAM = re.compile(
    r'(<span>)?<a href="https://www\.instagram\.com/[\w./-]+" rel="noopener noreferrer nofollow">'
    r"View on Instagram</a>(</span>)?"
)


def shape(site: WrittenSite) -> dict[tuple[int, str], list[tuple[str, list[str]]]]:
    """What stands on the pages but for what it says: elements and the names of their attributes."""
    return {
        (path.count("/"), path.rpartition("/")[2]): [
            (e.tag, list(e.attrib)) for e in elements(_INSTAGRAM.sub("", page))
        ]
        for path, page in site.pages.items()
    }


def addresses(page: str) -> Iterator[tuple[str, str]]:
    """Each address that a page names, with the element that names it."""
    for element in elements(page):
        for name in ("src", "href", "poster", "data", "action", "srcset"):
            if name in element.attrib:
                yield element.tag, element.attrib[name]


_PLAIN = shape(write_site(*highlight_saying("x", "ftp://x")))


@settings(max_examples=12, deadline=None)
@example("".join(HOSTILE))
@given(st.text(max_size=60))
def test_fault_x7_no_text_makes_an_element_or_an_attribute(text: str) -> None:
    """Whatever an account says, the pages have the elements and attributes that they have if it says «x», and
    are valid HTML.
    """
    assert shape(write_site(*highlight_saying("x" + text, "javascript:" + text))) == _PLAIN


def test_fault_x7_what_was_said_is_shown_as_it_was_said() -> None:
    """As text: marks of direction and emoji too, within an element that keeps them to themselves."""
    for text in HOSTILE[:6]:
        page = write_site(*highlight_saying(text, "ftp://x")).page("10")
        assert [text] == [e.text for h1 in elements(page) if h1.tag == "h1" for e in h1.iter("bdi")]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com/a?b=c#d", "example.com"),
        ("HTTP://EXAMPLE.com:8080", "example.com"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://ｅxample.com", "example.com"),
        ("https://127.0.0.1/", "127.0.0.1"),
        ("https://0x7f.1/", None),
        ("https://example.com.0177", None),
        ("javascript:alert(1)", None),
        (" javascript:alert(1)", None),
        ("java\nscript:alert(1)", None),
        ("data:text/html,<script>", None),
        ("vbscript:x", None),
        ("file:///etc/passwd", None),
        ("//example.com", None),
        ("example.com", None),
        ("", None),
        ("https://", None),
        ("https:///example.com", None),
        ("https://google.com@evil.example", None),
        ("https://evil.example\\@google.com", None),
        ("https://evil.example\t.google.com", None),
        ("https://google.com%2eevil.example", None),
        ("https://[::1]/", None),
        ("https://example.com:port/", None),
        ("https://exa mple.com", None),
        ("https://\ud800.example", None),
        ("https://" + "a" * 70 + "é.example", None),
    ],
)
def test_fault_x7_only_links_that_lead_where_they_say_are_followed(url: str, host: str | None) -> None:
    """http and https, to a host that Python and browsers read alike; the link leads to that host, in ASCII,
    and it stands beside it."""
    found = page_text.web_address(url)
    assert (found.host if found else None) == host
    page = write_site(account(), highlight(), photo(web_links=(WebLink(url, "Click"),))).page("10")
    page = _INSTAGRAM.sub("", page)
    links = [e for e in elements(page) if e.tag == "a" and e.get("rel") == "noopener noreferrer nofollow"]
    leads_to = [urlsplit(str(link.get("href"))).hostname for link in links]
    assert leads_to == ([host] if host else [])
    assert host is None or f"<bdi>{host}</bdi>" in page


@pytest.mark.parametrize(
    ("url", "href"),
    [
        ("https://example.com/a?b=c#d", "https://example.com/a?b=c#d"),
        ("HTTP://EXAMPLE.com:8080", "http://example.com:8080"),
        ("https://b\u00fccher.example/\u00fc", "https://xn--bcher-kva.example/%C3%BC"),
        ('https://example.com/"><img/src=x>', "https://example.com/%22%3E%3Cimg/src=x%3E"),
        ("https://example.com/a\\b?c\\d#e#f", "https://example.com/a/b?c%5Cd#e%23f"),
        ("https://example.com/100%/%41%zz", "https://example.com/100%25/%41%25zz"),
        ("https://example.com//twice//", "https://example.com//twice//"),
    ],
)
def test_a_link_is_a_valid_url(url: str, href: str) -> None:
    """As a browser would read it."""
    found = page_text.web_address(url)
    assert found is not None
    assert found.href == href


def test_fault_x7_a_page_loads_nothing_but_the_files_of_the_site() -> None:
    """Each page has the policy, no script or style of its own, and every address leads to a file that was
    written.
    """
    site = write_site(*highlight_saying("natgeo", "https://example.com/"), photo("102", highlight_pk="11"))
    assert "unsafe" not in POLICY
    for path, page in site.pages.items():
        page = _INSTAGRAM.sub("", page)
        found = elements(page)
        assert [e.get("content") for e in found if "http-equiv" in e.attrib] == [POLICY]
        assert all(e.get("src") for e in found if e.tag == "script")
        assert not [n for e in found for n in e.attrib if n.startswith("on") or n in ("style", "srcdoc")]
        assert not {e.tag for e in found} & {"style", "iframe", "object", "embed", "form", "base"}
        for tag, address in addresses(page):
            if tag == "a" and address.startswith("https://example.com"):
                continue
            parts = urlsplit(address)
            assert not parts.scheme
            assert not parts.netloc
            there = posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(parts.path)))
            assert not parts.path or there in site.files or there in site.media


def test_ids_and_headings_lead_through_a_page() -> None:
    """No id twice, each label there, one first heading, no level left out, a text for each picture that tells
    something.
    """
    for page in write_site(*highlight_saying("natgeo", "https://example.com/")).pages.values():
        found = elements(page)
        ids = Counter(e.get("id") for e in found if "id" in e.attrib)
        assert set(ids.values()) == {1}
        assert {e.get("aria-labelledby") for e in found} - {None} <= ids.keys()
        assert [e.tag for e in found if e.tag in ("h1", "main", "footer", "title")].count("h1") == 1
        assert all("alt" in e.attrib for e in found if e.tag == "img")
        assert next(e for e in found if e.tag == "html").get("lang") == "en"


@pytest.mark.parametrize("text", ["Gifts", "", " \n", "\u200b\u2060", "\u3164", "\u2800\ufe0f", "\u202e"])
def test_no_heading_is_empty(text: str) -> None:
    """Nor is the name of a link to a highlight or an account, where what somebody wrote cannot be seen."""
    for page in write_site(*highlight_saying(text, "https://example.com/")).pages.values():
        for element in elements(page):
            if element.tag in ("h1", "h2", "title") or "name" in element.get("class", "").split():
                shown = "".join(element.itertext())
                assert re.search(r"[A-Za-z0-9]", shown), (element.tag, shown)


@pytest.mark.parametrize("mime", ["text/html", "image/svg+xml", "image/heic", "application/pdf", ""])
def test_fault_x8_what_no_browser_shows_as_a_picture_is_a_download(mime: str) -> None:
    """HTML and SVG get no name under which they would run, and no element that would show them."""
    site = write_site(account(), highlight(), place_item("100", file_of("100", Role.THUMBNAIL, mime)))
    page = site.page("10")
    (path,) = site.media
    assert path.endswith(".heic" if mime == "image/heic" else ".bin")
    named = [(e.tag, sorted(e.attrib)) for e in elements(page) if path in str(e.attrib.values())]
    assert named == [("a", ["download", "href"])]


def test_fault_x8_a_file_is_called_what_its_bytes_are() -> None:
    """By the type found in its first bytes, whatever else it may be at once: the address had another name for
    it.
    """
    site = write_site(account(), highlight(), photo())
    assert [path[-4:] for path in site.media] == [".jpg"]


def test_what_is_gone_and_what_is_lacking_is_told() -> None:
    """Of an account, a highlight, an item; of a file that is not held, and of a video of which only the
    poster is.
    """
    picture = file_of("101", Role.THUMBNAIL, "image/jpeg")
    site = write_site(
        account(gone_at=NOW),
        highlight(gone_at=NOW),
        photo(gone_at=NOW),
        place_item("101", picture, media_type=2),
        place_item("102"),
    )
    page = site.page("10")
    assert "This highlight is no longer shown; noticed on" in page
    assert page.count("No longer shown in the highlight; noticed on") == 1
    assert page.count("Its video is not in this archive.") == 1
    assert page.count("Its file is not in this archive.") == 1
    assert "This account no longer exists; noticed on" in site.page("index")
    assert '<span class="state">gone</span>' in site.pages["index.html"]


def test_an_item_in_two_highlights_counts_once() -> None:
    """And stands once among the latest, which lead to the highlight that shows it."""
    site = write_site(account(), highlight(), photo(), highlight("11"), photo(highlight_pk="11"), photo("7"))
    page = site.page("index")
    assert "<span>2 items</span>" in page
    assert [a for _, a in addresses(page) if "#i" in a] == ["10.html#i100", "11.html#i7"]


def instagram_links(page: str) -> list[str]:
    """Where the links to Instagram lead, each of which keeps the reader's page to itself."""
    links = [e for e in elements(page) if e.tag == "a" and "instagram" in str(e.get("href"))]
    assert {e.get("rel") for e in links} <= {"noopener noreferrer nofollow"}
    return [str(e.get("href")) for e in links]


def test_pages_lead_to_instagram_while_it_shows_what_they_show() -> None:
    """An account by its name, a highlight by its pk, an item by its code; none that is gone."""
    at = "https://www.instagram.com/"
    shown = photo(code="DSd4Z8fgAAC"), photo("101", code="DSeCtH_gAAD", gone_at=NOW)
    gone = highlight("11", gone_at=NOW), photo("102", highlight_pk="11", code="DSeCtH_gAAE")
    site = write_site(account("natgeo"), highlight(), *shown, *gone)
    assert instagram_links(site.page("10")) == [f"{at}stories/highlights/10/", f"{at}p/DSd4Z8fgAAC/"]
    assert instagram_links(site.page("11")) == []
    assert instagram_links(site.page("index")) == [f"{at}natgeo/", f"{at}p/DSd4Z8fgAAC/"]
    assert instagram_links(write_site(account(gone_at=NOW)).page("index")) == []


@pytest.mark.parametrize(
    "text", [*HOSTILE, "", ".", "..", "p", "Accounts", "a/b", "a?b", "a#b", "é", "a" * 31]
)
def test_fault_x7_only_valid_names_and_codes_lead_to_instagram(text: str) -> None:
    """Whatever else an account or an item is called, there is no link that it would change."""
    site = write_site(account(text), highlight(), photo(code=text + "%"))
    assert instagram_links(site.page("index")) == []


def test_all_items_of_an_account_are_on_pages_of_their_years() -> None:
    """The latest first, each once, those without a date last; the page of the account leads there. A year of
    many items is divided so that new ones leave the first part as it is.
    """
    years = {str(n): NOW.replace(year=2023 + n % 3) + timedelta(seconds=n) for n in range(100, 160)}
    many = {str(n): NOW.replace(year=2020) + timedelta(seconds=n) for n in range(1000, 1601)}
    dated = years | many
    steps: list[Step] = [account(), highlight(), *(photo(pk, taken_at=at) for pk, at in dated.items())]
    steps += [photo("7", taken_at=None), place_item("8"), highlight("11", "\ud800")]
    steps += [photo("100", highlight_pk="11"), photo("9", highlight_pk="11", hashtags=(Hashtag("\ud800"),))]
    site = write_site(*steps)
    index = site.page("index")
    names = [href for _, href in addresses(index) if href.startswith("items-")]
    assert names == [
        *("items-2025.html", "items-2024.html", "items-2023.html", "items-2020-2.html", "items-2020.html"),
        "items-undated.html",
    ]
    assert '2020, part 2 <span class="small">101 items</span>' in index
    found = [
        str(e.get("id")).removeprefix("i")
        for name in names
        for e in elements(site.page(name.removesuffix(".html")))
        if e.tag == "li" and e.get("class") == "item"
    ]
    dated |= {pk: NOW + timedelta(seconds=int(pk)) for pk in ("8", "9")}
    assert found == [*sorted(dated, key=lambda pk: (dated[pk], pk))[::-1], "7"]
    late = NOW.replace(year=2020, month=12, day=31)
    more = write_site(*steps, photo("5", highlight_pk="11", taken_at=late))
    assert _LINKED.sub("", more.page("items-2020")) == _LINKED.sub("", site.page("items-2020"))


_LINKED = re.compile('<nav class="years".*?</nav>', re.DOTALL)


def test_a_small_account_has_no_pages_of_years() -> None:
    """Its own page shows all its items."""
    site = write_site(account(), highlight(), *(photo(str(n)) for n in range(100, 124)))
    assert "All items, latest first" in site.page("index")
    assert not [path for path in site.pages if "items-" in path]


def test_highlights_lead_to_each_other_and_former_names_are_told() -> None:
    """Each to the one before and the one after; what it and its account were called before stands beside."""
    steps = (account(usernames=("natgeo", "geo")), highlight(), highlight("11"), highlight("12"))
    site = write_site(*steps, titles=lambda pk: {"11": ("Old", "Older")})
    page = site.page("11")
    assert [(e.get("rel"), e.get("href")) for e in elements(page) if e.get("rel") in ("prev", "next")] == [
        ("prev", "10.html"),
        ("next", "12.html"),
    ]
    assert "<bdi>Old</bdi>, <bdi>Older</bdi>" in page
    assert "formerly <bdi>@geo</bdi></span>" in site.page("index")


def test_the_same_archive_gives_the_same_bytes() -> None:
    """Nothing of the time at which it is made, and nothing of the order of a set."""
    steps = list(highlight_saying("natgeo", "https://example.com/"))
    assert write_site(*steps) == write_site(*steps)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (page_text.format_moment(NOW), "4 December 2025, 15:00 UTC"),
        (page_text.format_iso_time(NOW), "2025-12-04T15:00:00Z"),
        (page_text.format_span(NOW, NOW), "4 December 2025"),
        (page_text.format_span(NOW.replace(day=1), NOW), "1 – 4 December 2025"),
        (page_text.format_span(NOW.replace(year=2019), NOW), "Dec 2019 – Dec 2025"),
        (page_text.format_duration(0.2), "0:01"),
        (page_text.format_duration(3723), "1:02:03"),
        (text_format.pluralize(1, "item"), "1 item"),
        (text_format.pluralize(5000, "item"), "5,000 items"),
        (text_format.format_size(999), "999 B"),
        (text_format.format_size(1_234_567), "1.2 MB"),
        (text_format.format_size(999_999), "1.0 MB"),
        (page_text.shorten("  a\n b  "), "a b"),
        (page_text.shorten("abcdef", 4), "abc…"),
        (page_text.shorten("\u202egnp.exe\u2066"), "gnp.exe"),
        (page_text.shorten(" " * 400 + "a", 4), "…"),
    ],
)
def test_dates_and_numbers_in_words(made: str, expected: str) -> None:
    """In English, in UTC, whatever the machine speaks."""
    assert made == expected
