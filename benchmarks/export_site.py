"""How long the pages of 5,000 items take to be made, and a browser to open them: as 50 highlights of 100 items, and as one of 5,000.

    python benchmarks/export_site.py [--items 5000]

Generated rows over a few pictures; Chromium at /usr/bin/chromium, once as it is and once with its processor slowed to a quarter. Times are
medians of three, in milliseconds since the navigation began: first paint, the page parsed, the page loaded with what is seen of it; then the
viewer: opened, and sent to the last item.
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

from archiver.export.export_entry import GeneratedText
from archiver.export.site import site_builder
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


def shelf(highlights: int, items: int) -> Iterator[KeptAccount | KeptHighlight | Placed]:
    """An account of that size, as a walk tells it."""
    yield KeptAccount("1", "big", "Big", False, False, START, START)
    for place in range(highlights):
        pk = str(100 + place)
        yield KeptHighlight(pk, "1", f"Highlight {place}", place, START, False, items, START, START)
        for number in range(items):
            yield Placed(pk, number, item(place * items + number), START, START)


def item(number: int) -> KeptItem:
    """A photo with a mention and a link."""
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


def make(root: Path, highlights: int, items: int) -> tuple[float, int]:
    """Write the site; returns the seconds that its pages took, and their bytes."""
    pictures = [root / name for name in PHOTOS]
    for picture in pictures:
        picture.write_bytes(base(picture.name))
    began = time.process_time()
    files = list(site_builder.site_entries(shelf(highlights, items), lambda pk: {}))
    took, size = time.process_time() - began, 0
    for number, file in enumerate(files):
        path = root.joinpath(*file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file.content, GeneratedText):
            path.write_bytes(file.content.bytes)
            size += file.size
        else:
            os.link(pictures[number % len(pictures)], path)
    return took, size


def look(browser: Browser, page: Path, slowed: int) -> list[int]:
    """The five times for a page."""
    runs = []
    for _ in range(3):
        tab = browser.new_page(viewport={"width": 390, "height": 844} if slowed > 1 else None)
        tab.context.new_cdp_session(tab).send("Emulation.setCPUThrottlingRate", {"rate": slowed})
        tab.goto(page.as_uri())
        runs.append([*tab.evaluate(LOADED), *tab.evaluate(OPENED)])
        tab.close()
    return [round(statistics.median(times)) for times in zip(*runs, strict=True)]


def main() -> None:
    """Measure both shapes."""
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
                took, size = make(Path(place), highlights, items // highlights)
                print(
                    f"{highlights} x {items // highlights} items: pages in {took:.2f} s, {size / 1e6:.1f} MB"
                )
                for slowed in (1, 4):
                    for name in ("index", "100"):
                        times = look(browser, next(Path(place).glob(f"accounts/*/{name}.html")), slowed)
                        print(f"  1/{slowed} speed, {name}.html: paint, parsed, loaded, opened, end {times}")
        browser.close()


if __name__ == "__main__":
    main()
