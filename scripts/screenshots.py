#!/usr/bin/env python3
"""Take screenshots of a site and of ``archiver serve`` in a browser. Some of them are in docs/site/.

    scripts/screenshots.py WORK TO [NAME...]

The archive of invented accounts and its site are made in WORK, and used again the next time. The
screenshots are written to TO: all of them, or those with the given names.

Requirements: the packages of the extra ``test``, Chromium at /usr/bin/chromium, and fonts (Debian:
fonts-noto-core, fonts-noto-color-emoji).
"""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from archiver.archive.archive import Archive
from archiver.archive.creation import create_archive
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.catalog.record.stored_files import StoredFile
from archiver.config import Config, load
from archiver.media.formats import detect_format
from archiver.model.archived import Blob, File, Owner
from archiver.model.identity import Role, Subject
from archiver.model.upstream import (
    Hashtag,
    Highlight,
    HighlightPage,
    Item,
    Location,
    Mention,
    Sticker,
    Tray,
    TrayNumbers,
    User,
    WebLink,
)
from archiver.sandbox import media_files
from archiver.sandbox.world_objects import SandboxFile
from tests.support.disk_limits import disk_blobs

NOW = datetime(2026, 3, 1, 5, 0, tzinfo=UTC)
SIZE = (540, 960)

MUSEUM = User("5550010", "lanternbay", "Lantern Bay Maritime Museum", False, True)
WALKER = User("5550020", "ove_on_foot", "Ove on foot", False, False)
CHOIR = User("5550030", "harbour.choir", "The Harbour Choir", False, False)

# Title, colours (upper sky, lower sky, sun, hills), number of items.
HIGHLIGHTS = (
    ("First light", ("#27476e", "#f4b183", "#fff2d0", "#3a3550"), 17),
    ("The lighthouse", ("#7fb2d6", "#e8f1f2", "#fffbe8", "#35626b"), 9),
    ("🐋 Whale week", ("#0f3b57", "#5fa8b8", "#e9f5e1", "#0b2940"), 12),
    ("Restoring “Maren”", ("#b9794b", "#f2dcc0", "#fff6e5", "#5a3422"), 22),
    ("سفر", ("#dd7f4f", "#f9d9a8", "#fff1c9", "#7d3b2d"), 6),
    ("Night sky", ("#0a1029", "#38406f", "#f5f2ff", "#05070f"), 14),
    ("Θάλασσα", ("#8fa6b2", "#dfe7ea", "#ffffff", "#4a5a63"), 8),
    ("Summer fair ☀️", ("#4aa3d0", "#fbe7a1", "#fff7c2", "#3f7d4e"), 11),
    ("Storm Ingrid", ("#3d454c", "#9aa5a8", "#e4e8e6", "#23292d"), 5),
)
# Accounts that make the first page longer.
OTHERS = (
    ("mill_lane_bakery", "Mill Lane Bakery"),
    ("ferry.timetables", "Ferry timetables"),
    ("dr.astrid.holm", "Dr Astrid Holm, veterinary surgeon and keeper of the island’s last grey sheep"),
    ("kiosk62", ""),
    ("nordlys_radio", "Nordlys Radio 🎙️"),
    ("مرفأ", "مرفأ الفوانيس"),
    ("island_library", "Island Library"),
    ("rowing_club_1911", "Rowing Club of 1911"),
    ("tideline.pottery", "Tideline Pottery"),
    ("east_pier_cinema", "East Pier Cinema"),
    ("the.weather.post", "The Weather Post"),
    ("zeina_draws", "Zeina draws"),
)
SERVED = {"timeline": "timeline", "search": "search?q=slowsea", "changes": "changes", "accounts": ""}
GONE = 8  # the position of the highlight that its owner has removed


def draw_scene(draw: random.Random, colours: tuple[str, str, str, str], width: int, height: int) -> str:
    """Return a landscape with rows of hills, as SVG."""
    upper, lower, sun, hills = colours
    x, y = draw.uniform(0.2, 0.8) * width, draw.uniform(0.22, 0.5) * height
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg"',
        f' viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<defs><linearGradient id="s" x2="0" y2="1"><stop stop-color="{upper}"/>',
        f'<stop offset=".75" stop-color="{lower}"/></linearGradient>',
        f'<radialGradient id="g"><stop stop-color="{sun}"/>',
        f'<stop offset="1" stop-color="{sun}" stop-opacity="0"/></radialGradient></defs>',
        f'<rect width="{width}" height="{height}" fill="url(#s)"/>',
        f'<circle cx="{x}" cy="{y}" r="{0.42 * width}" fill="url(#g)" opacity=".55"/>',
        f'<circle cx="{x}" cy="{y}" r="{draw.uniform(0.05, 0.1) * width}" fill="{sun}"/>',
    ]
    for layer in range(5):
        waves = [(draw.uniform(0.5, 4.5) * (k + 1), draw.uniform(0, 7), 0.035 / (k + 1)) for k in range(4)]
        base = 0.52 + 0.11 * layer
        heights = (base + sum(a * math.sin(f * x / 60 + p) for f, p, a in waves) for x in range(61))
        line = " ".join(f"{x / 60 * width:.0f},{height * level:.0f}" for x, level in enumerate(heights))
        parts.append(
            f'<polygon points="0,{height} {line} {width},{height}" fill="{hills}"'
            f' opacity="{0.3 + 0.17 * layer:.2f}"/>'
        )
    return "".join((*parts, "</svg>"))


def render_jpeg(browser: Browser, svg: str, width: int, height: int) -> bytes:
    """Return an SVG picture as JPEG, rendered by the browser."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_content(f"<style>body{{margin:0}}svg{{display:block}}</style>{svg}")
    picture = page.screenshot(type="jpeg", quality=82)
    page.close()
    return picture


def make_item(draw: random.Random, pk: str, at: datetime, place: int) -> Item:
    """Return a story item. ``place`` decides which mentions, links and other entries it has."""
    more: dict[str, object] = {}
    if place % 3 == 0:
        more["mentions"] = (
            Mention("ove_on_foot", WALKER.pk, "Ove on foot"),
            Mention("harbour.choir", CHOIR.pk, "The Harbour Choir"),
        )
        more["locations"] = (Location("Lantern Bay", "212", 62.4722, 6.1549),)
    if place % 4 == 0:
        more["web_links"] = (
            WebLink("https://museum.example/visit?from=story", "Plan your visit", source="sticker"),
        )
    if place % 5 == 0:
        more["hashtags"] = (Hashtag("lanternbay"), Hashtag("slowsea"))
    if place % 7 == 1:
        options = '[{"text":"Sail ⛵","count":812},{"text":"Steam 🚢","count":431}]'
        poll = f'{{"question":"Sail or steam?","options":{options}}}'
        more["stickers"] = (Sticker("poll", poll),)
    is_video = place % 4 == 1
    duration = draw.uniform(6, 58) if is_video else None
    return Item(pk, MUSEUM.pk, f"D{pk}", at, 2 if is_video else 1, None, duration, **more)  # type: ignore[arg-type]


class ArchiveFiller:
    """Fills an archive with accounts, highlights, items and their files."""

    def __init__(self, catalog: Catalog, store: BlobStore, browser: Browser) -> None:
        self.catalog, self.store, self.browser = catalog, store, browser
        self.run = catalog.write(record.start_run, "run", NOW)

    def add_file(self, subject: Subject, pk: str, role: Role, content: bytes, size: tuple[int, int]) -> None:
        """Store a file and record its rows."""
        with self.store.writer() as writer:
            writer.write(content)
            digest, length = writer.commit()
        media = detect_format(content[:64])
        assert media is not None
        blob = Blob(digest, length, media.mime, *size)
        file = File(Owner(subject, pk), role, blob, "https://scontent.cdninstagram.com/drawn")
        self.catalog.write(record.record_files, [StoredFile(file, None, NOW)], run_id=self.run)

    def add_picture(
        self, subject: Subject, pk: str, role: Role, colours: tuple[str, str, str, str], size: tuple[int, int]
    ) -> None:
        """Draw a picture and add it as a file."""
        svg = draw_scene(random.Random(f"{role} {pk}"), colours, *size)
        self.add_file(subject, pk, role, render_jpeg(self.browser, svg, *size), size)

    def add_account(self, user: User, places: range) -> None:
        """Add an account with the HIGHLIGHTS at these places."""
        highlights = [
            Highlight(f"{user.pk}{n}", user, HIGHLIGHTS[n][0], NOW - timedelta(days=24 + 30 * n))
            for n in places
        ]
        self.catalog.write(record.record_tray, self.run, user.pk, Tray(user, tuple(highlights)), NOW)
        self.add_picture(Subject.USER, user.pk, Role.AVATAR, HIGHLIGHTS[places.start][1], (320, 320))
        for highlight, place in zip(highlights, places, strict=True):
            self.add_highlight(highlight, place)

    def add_highlight(self, highlight: Highlight, place: int) -> None:
        """Add a highlight with its cover, its items and their files."""
        _, colours, count = HIGHLIGHTS[place]
        draw = random.Random(highlight.pk)
        items = [
            make_item(
                draw, f"{highlight.pk}{n:03}", NOW - timedelta(days=20 + 30 * place, minutes=-47 * n), n
            )
            for n in range(count)
        ]
        numbers = TrayNumbers(None, count)
        self.catalog.write(
            record.record_page, self.run, None, HighlightPage(highlight, tuple(items)), numbers, NOW
        )
        self.add_picture(Subject.HIGHLIGHT, highlight.pk, Role.COVER, colours, (320, 320))
        for item in items:
            item_colours = draw.choice((colours, colours, HIGHLIGHTS[draw.randrange(len(HIGHLIGHTS))][1]))
            self.add_picture(Subject.ITEM, item.pk, Role.THUMBNAIL, item_colours, SIZE)
            if item.media_type == 2:
                clip = SandboxFile("/v/x.mp4", media_files.VIDEOS[1], item.pk)
                self.add_file(Subject.ITEM, item.pk, Role.VIDEO, media_files.body(clip), (144, 256))


def fill(config: Config, browser: Browser) -> None:
    """Create and fill the archive. One highlight disappears on the second night."""
    root = config.archive.directory
    create_archive(config)
    with Catalog.open(root / "archive.db", write=True) as catalog, disk_blobs(root) as store:
        store.prepare()
        filler = ArchiveFiller(catalog, store, browser)
        filler.add_account(MUSEUM, range(len(HIGHLIGHTS)))
        filler.add_account(WALKER, range(2, 5))
        filler.add_account(CHOIR, range(7, 9))
        for n, (username, full_name) in enumerate(OTHERS):
            user = User(f"55501{n:02}0", username, full_name, n == 4, n % 5 == 2)
            filler.add_account(user, range(n % 9, n % 9 + 1))
        next_night = NOW + timedelta(days=1)
        gone = f"{MUSEUM.pk}{GONE}"
        left = tuple(
            Highlight(f"{MUSEUM.pk}{n}", MUSEUM, HIGHLIGHTS[n][0])
            for n in range(len(HIGHLIGHTS))
            if n != GONE
        )
        catalog.write(record.record_tray, filler.run, MUSEUM.pk, Tray(MUSEUM, left), next_night, gone=(gone,))
        catalog.write(record.finish_run, filler.run, next_night, "ok", 0)


def views() -> Iterator[tuple[str, str, dict[str, object], str | None]]:
    """Yield name, page, options of the browser page, and the item to open for each screenshot."""
    desk: dict[str, object] = {"viewport": {"width": 1280, "height": 800}}
    phone: dict[str, object] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5}
    phone |= {"has_touch": True, "is_mobile": True}
    account = f"accounts/lanternbay-{MUSEUM.pk}/"
    first = f"{account}{MUSEUM.pk}0.html"
    for scheme in ("light", "dark"):
        for device, options in (("desktop", desk), ("phone", phone)):
            yield f"index-{device}-{scheme}", "index.html", options | {"color_scheme": scheme}, None
            yield (
                f"account-{device}-{scheme}",
                f"{account}index.html",
                options | {"color_scheme": scheme},
                None,
            )
            yield f"highlight-{device}-{scheme}", first, options | {"color_scheme": scheme}, None
            year = f"{account}items-2025.html"
            yield f"year-{device}-{scheme}", year, options | {"color_scheme": scheme}, None
            for name, item in (("viewer", 12), ("video", 5)):
                shown = f"i{MUSEUM.pk}0{item:03}"
                yield f"{name}-{device}-{scheme}", first, options | {"color_scheme": scheme}, shown
            for name, page in SERVED.items():
                yield f"serve-{name}-{device}-{scheme}", page, options | {"color_scheme": scheme}, None


def take_screenshots(browser: Browser, site: str, server: str, to: Path, names: Sequence[str]) -> None:
    """Write the screenshots with these names to ``to``, or all of them if there are no names.

    ``site`` and ``server``: the addresses of the first pages, with a slash at the end.
    """
    to.mkdir(parents=True, exist_ok=True)
    for name, path, options, item_id in views():
        if names and name not in names:
            continue
        page = browser.new_page(**options)  # type: ignore[arg-type]
        first = server if name.startswith("serve-") else site
        page.goto(f"{first}{path}" + (f"#{item_id}" if item_id else ""))
        page.wait_for_function("[...document.images].every((i) => i.complete || i.loading === 'lazy')")
        page.wait_for_timeout(300)
        page.screenshot(path=to / f"{name}.jpg", type="jpeg", quality=80)
        page.close()


@contextmanager
def serve(archive: Path) -> Iterator[str]:
    """Serve the archive on a free port of this machine; yield the address."""
    command = (sys.executable, "-m", "archiver", "serve", "--archive", str(archive), "--port", "0")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Make the archive unless it exists, export the site, and take the screenshots."""
    work, to = Path(sys.argv[1]), Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    work.joinpath("config.toml").touch(mode=0o600)
    config = load(
        work / "config.toml", {}, {"archive.directory": str(work / "archive"), "archive.reserve": 0}
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", chromium_sandbox=False)
        if not (work / "archive" / "archive.json").exists():
            fill(config, browser)
        with Archive(config) as archive:
            archive.export_site(work / "site")
        with serve(work / "archive") as server:
            take_screenshots(browser, f"{(work / 'site').as_uri()}/", server, to, sys.argv[3:])
        browser.close()


if __name__ == "__main__":
    main()
