"""A real browser that opens pages from the disk and records what they load and report."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

CHROMIUM = Path(os.environ.get("ARCHIVER_TEST_CHROMIUM", "/usr/bin/chromium"))

_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Whatever it would like to ask on its own account.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)

# What the viewer shows, once that is there to be seen. It closes first, and is told so a moment later.
_SHOWN = """async () => {
  const dialog = document.querySelector("dialog");
  const closing = () => !dialog.open && dialog.querySelector(".media > *");
  for (let i = 0; i < 200 && closing(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  const medium = dialog.querySelector(".media > *");
  if (medium instanceof HTMLImageElement) await medium.decode();
  else if (medium && medium.readyState < 2) {
    await new Promise((resolve, reject) => { medium.onloadeddata = resolve; medium.onerror = reject; });
  }
  return {
    open: dialog.open,
    medium: medium ? medium.localName : null,
    position: dialog.querySelector("h2").textContent,
    focus: dialog.contains(document.activeElement) ? "viewer" : document.activeElement.closest("li")?.id,
    hash: location.hash,
  };
}"""


@dataclass(slots=True)
class Visit:
    """Somebody's look at pages: ``asked`` are the addresses that were loaded, ``complaints`` what the
    console, dialogs and the policy said.
    """

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("requestfailed", lambda request: self._failed(request))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("dialog", lambda dialog: self._answer(dialog))

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the reader went on to another page meanwhile
            self.complaints.append(f"{request.failure}: {request.url}")

    def _answer(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def goto(self, path: Path, fragment: str = "") -> None:
        """Open a page of the disk."""
        self.page.goto(path.as_uri() + fragment)

    def repeat_videos(self) -> None:
        """Have videos of the pages that are opened next begin again at their end, so that none ends."""
        self.page.add_init_script("addEventListener('play', (on) => { on.target.loop = true; }, true)")

    def shown(self) -> dict[str, Any]:
        """What the viewer shows: ``open``, ``medium``, ``position``, ``focus``, ``hash``. Waits until the
        medium can be seen.
        """
        found = self.page.evaluate(_SHOWN)
        assert isinstance(found, dict)
        return found

    def settle(self) -> None:
        """Wait until the page is loaded and painted."""
        self.page.wait_for_load_state("load")
        self.page.evaluate(
            "() => new Promise((on) => requestAnimationFrame(() => "
            "requestAnimationFrame(() => setTimeout(on, 50))))"
        )

    def press(self, key: str) -> dict[str, Any]:
        """What the viewer shows after a key; Escape has ended when the address names no item any more."""
        self.page.keyboard.press(key)
        if key == "Escape":  # it goes back in the history, which a browser does in its own time
            until = time.monotonic() + 10
            while self.page.evaluate("location.hash") and time.monotonic() < until:
                self.page.wait_for_timeout(10)
        return self.shown()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield Debian's Chromium. On Linux a test fails without it; elsewhere it is skipped with a reason."""
    if not CHROMIUM.exists():
        told = f"{CHROMIUM} is not there: install chromium, or name it in ARCHIVER_TEST_CHROMIUM"
        if sys.platform != "linux":
            pytest.skip(told)
        pytest.fail(told)
    from playwright.sync_api import sync_playwright  # not for each worker that only collects

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET, chromium_sandbox=False)
        yield browser
        browser.close()


@contextmanager
def serve_site(site: Path) -> Iterator[str]:
    """Serve the site on this machine, and yield its address without a slash at the end."""
    handler = partial(_Silent, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def open_site(browser: Browser, site: Path, base: str = "", **device: Any) -> Iterator[Visit]:
    """A look at a site, from the disk or from a web server at ``base``, in a window of its own. In the end
    nothing was loaded but files of the site, and nothing complained of."""
    context = browser.new_context(**{"viewport": {"width": 820, "height": 480}, **device})
    visit = Visit(context.new_page())
    yield visit
    context.close()
    assert not visit.complaints, visit.complaints
    strange = [address for address in visit.asked if not address.startswith(f"{base or site.as_uri()}/")]
    assert not strange, strange
