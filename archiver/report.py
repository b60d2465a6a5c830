"""Sends the report of a run and the pings to a monitor: each once, within a time limit, never raising.

A report goes to a web address as one POST, or to any other service (ntfy, mail, Slack, …) by the package
Apprise.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from msgspec import Struct

import archiver
from archiver.errors import install_command
from archiver.hosts import is_link_local

if TYPE_CHECKING:
    from apprise import Apprise


_WEB = frozenset({"http", "https"})

_SILENCED_LOGGERS = ("apprise", "requests", "urllib3", "charset_normalizer")
SECONDS = 10.0
"""Time limit of a report or ping, from the name lookup to the answer."""
GRACE = 1.0
"""Seconds that a delivery in progress still has after a signal."""
_POLL_INTERVAL = 0.05
_TEXT = "text/plain; charset=utf-8"


class NotDelivered(Exception):
    """A report or ping was not delivered. ``str()`` says why, without the URL; ``hint`` is the next step."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class NotificationUrl:
    """A URL of the configuration that may contain a token or a password. It cannot be pickled.

    ``str`` and ``repr`` show the scheme, and the host of a web address. Other schemes show no host:
    in ``slack://TOKEN/...`` it is the token.
    """

    __slots__ = ("_may_be_link_local", "_url", "key")

    def __init__(self, url: str, key: str, *, may_be_link_local: bool = False) -> None:
        """Hold ``url``, the value of the configuration key ``key``."""
        self._url = url
        self.key = key
        self._may_be_link_local = may_be_link_local

    @property
    def scheme(self) -> str:
        """What precedes ``://``, in lower case."""
        return self._url.partition("://")[0].lower()

    @property
    def is_web(self) -> bool:
        """Whether the scheme is http or https. All others are sent by Apprise."""
        return self.scheme in _WEB

    def reveal(self) -> str:
        """Return the URL itself, for the code that sends and nothing else."""
        return self._url

    def add_path(self, name: str) -> NotificationUrl:
        """Return this URL with ``/name`` appended to its path: the name says what a ping means."""
        parts = urlsplit(self._url)
        path = f"{parts.path.rstrip('/')}/{name}"
        url = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
        return NotificationUrl(url, self.key, may_be_link_local=self._may_be_link_local)

    def require_not_link_local(self, address: str) -> None:
        """Raise NotDelivered if ``address``, the host's IP address, is link-local and that is not allowed.

        At a link-local address, clouds serve the credentials of their machines. Without this check, anyone
        who can set the URL could have them requested.
        """
        if is_link_local(address) and not self._may_be_link_local:
            raise NotDelivered(
                f"its host is at {address}, a link-local address",
                f"check {self.key}; report.allow_link_local = true permits it",
            )

    def __str__(self) -> str:
        host = urlsplit(self._url).hostname if self.is_web else None
        return f"{self.scheme}://{host or '…'}"

    def __repr__(self) -> str:
        return f"NotificationUrl({self})"

    def __reduce__(self) -> str:
        raise TypeError("a NotificationUrl cannot be pickled")


def post(to: NotificationUrl, body: bytes, content_type: str, *, seconds: float) -> None:
    """Send the body once; ``seconds`` limits each step. Raise NotDelivered unless the status is a success.

    No redirect is followed: the body must not go to a host that is not configured. Only the status of the
    answer is read. For https, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, ``SSL_CERT_FILE`` and
    ``SSL_CERT_DIR`` apply, as they do for the API. Plain http never goes through a proxy, which could read
    the body.
    """
    for name in ("httpx", "httpcore"):  # at INFO and DEBUG they log whole URLs
        logging.getLogger(name).setLevel(logging.WARNING)
    headers = {"user-agent": f"archiver/{archiver.__version__}", "content-type": content_type}
    extensions = {"trace": _refuse_link_local_peer(to)}
    use_proxy = to.scheme == "https"
    try:
        with (
            httpx.Client(
                trust_env=use_proxy, follow_redirects=False, timeout=seconds, headers=headers
            ) as client,
            client.stream("POST", to.reveal(), content=body, extensions=extensions) as answer,
        ):
            status = answer.status_code
    except httpx.TimeoutException:
        raise NotDelivered(f"no answer within {seconds:g} seconds", f"check {to.key}") from None
    except httpx.TransportError as error:
        why = "no connection" if isinstance(error, httpx.NetworkError) else type(error).__name__
        raise NotDelivered(why, f"check {to.key}, and that this machine can reach its host") from None
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # The error text may quote the URL. ImportError: the proxy is of a kind that needs another package.
        raise NotDelivered(
            f"it cannot be used ({type(error).__name__})",
            f"check {to.key}, and HTTPS_PROXY and SSL_CERT_FILE if they are set",
        ) from None
    if 300 <= status < 400:
        raise NotDelivered(
            f"it answered {status}, and redirects are not followed", f"set {to.key} to the final address"
        )
    if not 200 <= status < 300:
        raise NotDelivered(f"it answered {status}", f"check {to.key}")


def _refuse_link_local_peer(to: NotificationUrl) -> Callable[[str, dict[str, Any]], None]:
    """Return a trace function for httpcore that closes a connection to a link-local address before use.

    It checks the peer of the socket, not the name, because a second lookup may give another address.
    """

    def check_peer(step: str, info: dict[str, Any]) -> None:
        if step != "connection.connect_tcp.complete":
            return
        stream = info["return_value"]
        try:
            to.require_not_link_local(str(stream.get_extra_info("server_addr")[0]))
        except NotDelivered:
            stream.close()
            raise

    return check_peer


def check_service(to: NotificationUrl) -> None:
    """Raise NotDelivered if Apprise is not installed or cannot use the URL. Send nothing."""
    _open_service(to)


def send_with_apprise(to: NotificationUrl, title: str, text: str) -> None:
    """Send title and text once, to a URL that is no web address. Raise NotDelivered if that fails.

    Apprise uses requests, which uses the proxies in the environment. Here it follows no redirects and stores
    nothing on disk. Its log is silenced, as it contains whole URLs.
    """
    service = _open_service(to)
    _require_no_link_local_host(to, service)
    if not service.notify(title=title, body=text):
        raise NotDelivered(
            f"the {to.scheme}:// service refused the report",
            f"check {to.key}; for details: apprise -vv -b test 'URL'",
        )


def _open_service(to: NotificationUrl) -> Apprise:
    for name in _SILENCED_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports modules that Python has deprecated, in add() too
        try:
            from apprise import Apprise, AppriseAsset
        except ImportError:
            raise NotDelivered(
                f"{to.scheme}:// needs the package Apprise", f"install it: {install_command('apprise')}"
            ) from None
        service = Apprise(asset=AppriseAsset(async_mode=False, http_redirects=False))
        is_usable = service.add(to.reveal())
    if not is_usable:
        raise NotDelivered(
            f"Apprise cannot use this {to.scheme}:// address",
            f"compare {to.key} with the services that Apprise documents",
        )
    return service


def _require_no_link_local_host(to: NotificationUrl, service: Apprise) -> None:
    """Raise NotDelivered if the host of the URL, or the mail server in its query, is link-local.

    For most services the host of the URL is a token, which must not be looked up.
    """
    for plugin in service:
        templates: Iterable[str] = plugin.templates
        hosts = [plugin.host] if any("{host}" in template for template in templates) else []
        for host in filter(None, (*hosts, getattr(plugin, "smtp_host", None))):
            with suppress(OSError, UnicodeError):  # the service itself reports an unknown name
                for entry in socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM):
                    to.require_not_link_local(str(entry[4][0]))


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
            check = _Delivery("the report cannot be sent", report, lambda: check_service(report))
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
            post(to, notification.document, "application/json", seconds=self._seconds)
        else:
            send_with_apprise(to, notification.title, notification.text)

    def _pings(self, path: str, body: bytes) -> Iterator[_Delivery]:
        if self._ping is not None:
            to = self._ping.add_path(path) if path else self._ping
            yield _Delivery("the ping was not sent", to, lambda: post(to, body, _TEXT, seconds=self._seconds))

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
