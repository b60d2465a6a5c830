"""Measure how long it takes to make the site of an account, and to open its pages in a browser.

    python benchmarks/export_site.py [--items 5000]

The items are in 50 highlights of 100 items, then in one highlight of 5,000. Their rows are generated, and
share a few pictures. The browser is Chromium at /usr/bin/chromium, at full speed and with its processor
slowed down to a quarter.

The times are medians of three, in milliseconds. Counted from the start of the navigation: first paint, page
parsed, page and visible pictures loaded. Then for the viewer: opening it, going to the last item.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from archiver.export import site_builder
from archiver.export.export_entry import GeneratedText
from archiver.model.archived import Blob, KeptAccount, KeptFile, KeptHighlight, KeptItem, Owner, Placed
from archiver.model.identity import Digest, Role, Subject
from archiver.model.upstream import Mention, WebLink
from archiver.sandbox.media_files import PHOTOS, base

START = datetime(2025, 1, 1, tzinfo=UTC)

LOADED = """() => {
  const page = performance.getEntriesByType("navigation")[0];
  return [performance.getEntriesByType("paint")[0]?.startTime ?? 0, page.domInteractive, page.loadEventEnd];
}"""
OPENED = """async () => {
  const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const times = [performance.now()];
  document.querySelector("a.tile").click();
  await drawn();
  times.push(performance.now());
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true }));
  await drawn();
  times.push(performance.now());
  return [times[1] - times[0], times[2] - times[1]];
}"""


def account_content(highlights: int, items: int) -> Iterator[KeptAccount | KeptHighlight | Placed]:
    """Yield an account of this size, in the order in which an archive is read."""
    yield KeptAccount("1", "big", "Big", False, False, START, START)
    for place in range(highlights):
        pk = str(100 + place)
        yield KeptHighlight(pk, "1", f"Highlight {place}", place, START, False, items, START, START)
        for number in range(items):
            yield Placed(pk, number, make_item(place * items + number), START, START)


def make_item(number: int) -> KeptItem:
    """Return a photo with a mention and a link."""
    pk = str(1_000_000 + number)
    blob = Blob(Digest(hashlib.sha256(pk.encode()).hexdigest()), 7000, "image/jpeg", 180, 320)
    file = KeptFile(Owner(Subject.ITEM, pk), Role.THUMBNAIL, blob, "", START, START)
    at = START + timedelta(minutes=number)
    return KeptItem(
        pk,
        "1",
        "C",
        at,
        1,
        None,
        None,
        START,
        (file,),
        (Mention("somebody", "3", "Some Body"),),
        (WebLink("https://example.org/a", "A link"),),
    )


def build_site(root: Path, highlights: int, items: int) -> tuple[float, int]:
    """Write the site. Return the CPU seconds that making its pages took, and their size in bytes."""
    pictures = [root / name for name in PHOTOS]
    for picture in pictures:
        picture.write_bytes(base(picture.name))
    started = time.process_time()
    files = list(site_builder.site_entries(account_content(highlights, items), lambda pk: {}))
    seconds, size = time.process_time() - started, 0
    for number, file in enumerate(files):
        path = root.joinpath(*file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file.content, GeneratedText):
            path.write_bytes(file.content.bytes)
            size += file.size
        else:
            os.link(pictures[number % len(pictures)], path)
    return seconds, size


def measure_page(browser: Browser, page: Path, slowdown: int) -> list[int]:
    """Return the five times of a page, in milliseconds."""
    runs = []
    for _ in range(3):
        tab = browser.new_page(viewport={"width": 390, "height": 844} if slowdown > 1 else None)
        tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
        tab.goto(page.as_uri())
        runs.append([*tab.evaluate(LOADED), *tab.evaluate(OPENED)])
        tab.close()
    return [round(statistics.median(times)) for times in zip(*runs, strict=True)]


def main() -> None:
    """Measure many small highlights, then one large highlight."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=5000)
    items = parser.parse_args().items
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", chromium_sandbox=False)
        print(f"Chromium {browser.version}, {os.cpu_count()} cores")
        for highlights in (items // 100, 1):
            with tempfile.TemporaryDirectory() as place:
                per_highlight = items // highlights
                seconds, size = build_site(Path(place), highlights, per_highlight)
                print(f"{highlights} x {per_highlight} items: pages in {seconds:.2f} s, {size / 1e6:.1f} MB")
                for slowdown in (1, 4):
                    for name in ("index", "100"):
                        page = next(Path(place).glob(f"accounts/*/{name}.html"))
                        times = measure_page(browser, page, slowdown)
                        steps = "paint, parsed, loaded, opened, end"
                        print(f"  1/{slowdown} speed, {name}.html: {steps} {times}")
        browser.close()


if __name__ == "__main__":
    main()
