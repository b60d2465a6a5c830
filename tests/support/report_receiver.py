"""A receiver of reports and pings on a real loopback socket.

It records requests and answers as a test wants.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support import leak_detector


@dataclass(frozen=True, slots=True)
class Received:
    """One request. ``target``: path and query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class ReportReceiver:
    """``answers``: a status for each target, or where it begins with http, a redirect (307) to there; 200 for
    all others.

    ``stalls``: targets that are never answered; ``heard`` is set when one of them is asked.
    """

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: dict[str, int | str] = field(default_factory=dict)
    stalls: set[str] = field(default_factory=set)
    heard: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The paths that were requested, in order."""
        return [each.target for each in self.received]

    def at(self, target: str) -> Received:
        """Return the one request for that target."""
        (found,) = [each for each in self.received if each.target == target]
        return found


@contextmanager
def receive_reports() -> Iterator[ReportReceiver]:
    """Yield a receiver that listens inside the block."""
    box = ReportReceiver()

    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            leak_detector.note_output(
                body.decode(errors="replace")
            )  # a report holds no key and no signed query either
            box.received.append(Received(self.command, self.path, headers, body))
            if self.path in box.stalls:
                box.heard.set()
                box.over.wait(30)
                return
            answer = box.answers.get(self.path, 200)
            self.send_response(answer if isinstance(answer, int) else 307)
            if isinstance(answer, str):
                self.send_header("location", answer)
            self.send_header("content-length", "0")
            self.end_headers()

        do_POST = do_CONNECT = _take  # noqa: N815  # the names that http.server looks for

        def log_message(self, *args: object) -> None:
            """Log nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A peer that left before its answer is what some tests want."""

    with Server(("127.0.0.1", 0), Handler) as server:
        box.port = server.server_address[1]
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        serving.start()
        try:
            yield box
        finally:
            box.over.set()
            server.shutdown()
            serving.join()
