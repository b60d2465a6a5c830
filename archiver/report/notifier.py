"""Sends the report of a run and the pings to a monitor: each once, within a time limit, never raising."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from archiver.report import apprise_service, webhook
from archiver.report.notification_url import NotDelivered, NotificationUrl

SECONDS = 10.0
"""Time limit of a report or ping, from the name lookup to the answer."""

GRACE = 1.0
"""Seconds that a delivery in progress still has after a signal."""

_POLL_INTERVAL = 0.05
_TEXT = "text/plain; charset=utf-8"


class Notification(Struct, frozen=True):
    """How a run ended. ``document`` is the JSON object that ``--json`` shows.

    ``title`` and ``text`` are for people and safe for a terminal. ``is_success``: the exit code was 0.
    """

    title: str
    text: str
    document: bytes
    is_success: bool


class _Delivery(Struct, frozen=True):
    """One thing to send: what to say if that fails, where it goes, and the function that sends it."""

    failure: str
    to: NotificationUrl
    send: Callable[[], None]


class Notifier:
    """Sends to the configured URLs; None means not configured.

    Methods return a line for each problem, without secrets. A problem that ``notify_start`` returned is not
    returned again by ``notify_end``. ``is_stopped`` returns whether a signal asked the run to end: then
    nothing waits longer than ``GRACE``. A delivery that takes longer than ``seconds`` is abandoned on its
    daemon thread.
    """

    def __init__(
        self,
        report: NotificationUrl | None = None,
        ping: NotificationUrl | None = None,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
        seconds: float = SECONDS,
    ) -> None:
        self._report, self._ping = report, ping
        self._is_stopped, self._seconds = is_stopped, seconds
        self._reported_problems: set[tuple[str, str]] = set()

    def notify_start(self) -> list[str]:
        """Ping the monitor, and check that the report can be sent when the run has ended."""
        deliveries = [*self._pings("start", b"")]
        if self._report is not None and not self._report.is_web:
            report = self._report
            check = _Delivery("the report cannot be sent", report, lambda: apprise_service.check_url(report))
            deliveries.append(check)
        return self._deliver(deliveries)

    def notify_end(self, notification: Notification, *, send_report: bool = True) -> list[str]:
        """Ping the monitor and, if ``send_report``, send the report, both at the same time."""
        body = f"{notification.title}\n{notification.text}\n".encode()
        deliveries = [*self._pings("" if notification.is_success else "fail", body)]
        if self._report is not None and send_report:
            report = self._report
            send = _Delivery("the report was not sent", report, lambda: self._send(report, notification))
            deliveries.append(send)
        return self._deliver(deliveries)

    def _send(self, to: NotificationUrl, notification: Notification) -> None:
        if to.is_web:
            webhook.post(to, notification.document, "application/json", seconds=self._seconds)
        else:
            apprise_service.send(to, notification.title, notification.text)

    def _pings(self, path: str, body: bytes) -> Iterator[_Delivery]:
        if self._ping is not None:
            to = self._ping.add_path(path) if path else self._ping
            yield _Delivery(
                "the ping was not sent", to, lambda: webhook.post(to, body, _TEXT, seconds=self._seconds)
            )

    def _deliver(self, deliveries: list[_Delivery]) -> list[str]:
        """Run all deliveries at once, on threads.

        Only threads limit the time of name lookups and of Apprise.
        """
        attempts = [_Attempt(delivery) for delivery in deliveries]
        deadline = time.monotonic() + self._seconds
        while any(attempt.is_alive() for attempt in attempts) and (now := time.monotonic()) < deadline:
            if self._is_stopped():
                deadline = min(deadline, now + GRACE)
            for attempt in filter(_Attempt.is_alive, attempts):
                attempt.join(_POLL_INTERVAL)
        why = (
            "the run was stopped" if self._is_stopped() else f"not finished within {self._seconds:g} seconds"
        )
        late = NotDelivered(why, "the next run tries again")
        lines = []
        for delivery, attempt in zip(deliveries, attempts, strict=True):
            error = attempt.error if attempt.has_ended.is_set() else late
            if error is not None and (delivery.to.key, str(error)) not in self._reported_problems:
                self._reported_problems.add((delivery.to.key, str(error)))
                lines.append(f"{delivery.failure} to {delivery.to}: {error} ({error.hint})")
        return lines


class _Attempt(threading.Thread):
    """A delivery, started at once on a daemon thread, which does not keep the process from exiting."""

    def __init__(self, delivery: _Delivery) -> None:
        super().__init__(name="report", daemon=True)
        self._delivery = delivery
        self.error: NotDelivered | None = None
        self.has_ended = threading.Event()
        try:
            self.start()
        except RuntimeError:  # the system allows no more threads
            self.error = NotDelivered("no thread can be started", "see the limit: ulimit -u")
            self.has_ended.set()

    def run(self) -> None:
        """Send, and keep the error if that fails."""
        try:
            self._delivery.send()
        except NotDelivered as error:
            self.error = error
        except BaseException as error:  # from a library that knows the URL: its text may quote it
            self.error = NotDelivered(
                f"an unexpected {type(error).__name__}", "check the settings of [report]"
            )
        self.has_ended.set()
