"""Listens, and runs the application in uvicorn until it is stopped, with limits on what a client may do.

uvicorn itself waits without end for a client that does not finish its request, or does not read its answer.
How many connections there may be is decided when they are accepted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import socket
import ssl
import stat
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import h11
from msgspec import Struct
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from archiver.errors import UsageError
from archiver.web.request_guard import HEADERS, IS_GONE, MAX_HEAD_BYTES

MAX_CONNECTIONS = 200
SENDING_SECONDS = 10.0
"""In which a client must end its TLS handshake; send the head of a request, and the body after it."""
_STALL_SECONDS = 60.0
"""In which a client must read what is waiting for it: about 256 kB."""
_CLOSING_SECONDS = 30.0
IDLE_SECONDS = 15
"""After which a connection without a request is closed."""
_LATE = {
    "closing": _CLOSING_SECONDS,
    "reading": _STALL_SECONDS,
    "sending": SENDING_SECONDS,
    "idle": IDLE_SECONDS,
}

_BARE_LF = re.compile(rb"(?<!\r)\n")
"""Some servers take it for the end of a line, others do not. No request that is allowed here contains it."""


class LimitedConnection(H11Protocol):
    """A connection that is dropped when its client is too slow; see ``drop_if_late``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._last = b""
        self._waiting_for: tuple[str | None, object] = "sending", None
        self._since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        self.app_state = {IS_GONE: transport.is_closing}

    def data_received(self, data: bytes) -> None:
        """Take what a client has sent."""
        if self.transport.is_closing():
            return
        if _BARE_LF.search(self._last + data, len(self._last)):
            self.send_400_response("The request has a line end without CR.")
            return
        self._last = data[-1:]
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, and end the connection."""
        if getattr(self, "cycle", None) is not None:
            self.cycle.disconnected = True  # no answer of the application may follow
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "connection": "close"}
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        events = (
            h11.Response(status_code=400, headers=fields, reason=b"Bad Request"),
            h11.Data(data=msg.encode()),
            h11.EndOfMessage(),
        )
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()

    def drop_if_late(self, now: float) -> None:
        """Drop the connection if it has waited too long for its client; called about once a second.

        Each thing that a client has to do has its time: as a whole, however often a part of it arrives.
        """
        waiting_for = self._state(), (self.cycle, self.conn.their_state)
        if waiting_for != self._waiting_for:
            self._waiting_for, self._since = waiting_for, now
        elif waiting_for[0] is not None and now - self._since > _LATE[waiting_for[0]]:
            self.transport.abort()

    def resume_writing(self) -> None:
        """Note that the client has read what was waiting."""
        self._since = self.loop.time()
        super().resume_writing()

    def _state(self) -> str | None:
        """Return what the connection waits for its client to do; None while it waits for this program."""
        if self.transport.is_closing():
            return "closing"
        if self.flow.write_paused:
            return "reading"
        if self.conn.their_state is h11.SEND_BODY:  # also if it has its answer already
            return "sending"
        if self.conn.their_state is not h11.IDLE:
            return None
        is_first = getattr(self, "cycle", None) is None  # whatever uvicorn says of its type
        return "sending" if is_first or self.conn.trailing_data[0] else "idle"


_BACKLOG = 128
_OPEN_FILES = 2 * MAX_CONNECTIONS + 100
"""A connection may have a blob open; the others are the database's, and those of Python."""
_SECONDS_TO_END = 2
_SECONDS_WITHOUT_FILES = 1.0
"""How long to wait before the next connection if no more files may be opened."""


class Endpoint(Struct, frozen=True):
    """Where to listen: ``host`` and ``port``, or the Unix socket ``uds``.

    ``peers``: the only addresses that may connect, if any are named.
    """

    host: str
    port: int
    uds: Path | None = None
    tls: ssl.SSLContext | None = None
    peers: frozenset[IPv4Address | IPv6Address] = frozenset()

    def welcomes(self, address: object) -> bool:
        """Return whether a client at this address, as the socket names it, may connect."""
        if not self.peers:
            return True
        if not isinstance(address, tuple):  # a Unix socket has no address
            return False
        found = ip_address(address[0].partition("%")[0])
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        return (mapped or found) in self.peers


def load_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context for TLS 1.2 and newer. Raises UsageError if the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError):
        reason = "they do not fit together"
    except OSError as exc:
        reason = exc.strerror or str(exc)
    else:
        return context
    message = f"the certificate {certificate} and the key {key} cannot be used: {reason}"
    raise UsageError(message, "both must be PEM files, the key without a password")


def _no_password() -> str:
    raise ValueError("the key has a password")


@contextmanager
def listen(endpoint: Endpoint) -> Iterator[tuple[socket.socket, str]]:
    """Listen, and yield the socket and its address for people. Raises UsageError if that is impossible."""
    with ExitStack() as stack:
        if endpoint.uds is not None:
            yield stack.enter_context(_listen_on_path(endpoint.uds)), f"unix:{endpoint.uds}"
            return
        listener = stack.enter_context(_listen_on_port(endpoint.host, endpoint.port))
        scheme = "http" if endpoint.tls is None else "https"
        host, port = listener.getsockname()[:2]
        name = f"[{host}]" if listener.family == socket.AF_INET6 else host
        yield listener, f"{scheme}://{name}:{port}/"


def _listen_on_port(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UsageError(f"--host {host} is not an address of this machine") from None
    family, _, _, _, address = found[0]
    # asyncio sends small pieces at once (TCP_NODELAY) only if the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise UsageError(
            f"{host} port {port} cannot be used: {exc.strerror}", "choose another with --port, or 0 for any"
        ) from None
    return listener


@contextmanager
def _listen_on_path(path: Path) -> Generator[socket.socket, None, None]:
    """Listen on a Unix socket that its user and group can use, and remove it at the end."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        mask = os.umask(0o117)
        try:
            listener.bind(str(path))
            listener.listen(_BACKLOG)
        except OSError as exc:
            reason = exc.strerror or str(exc)
            raise UsageError(f"the socket {path} cannot be made: {reason}", "name another file") from None
        finally:
            os.umask(mask)
        try:
            yield listener
        finally:
            with suppress(OSError):
                path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket on which nobody listens any more. Raises UsageError for anything else."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            if not is_socket:
                raise UsageError(f"{path} exists already, and is not a socket", "name another file")
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise UsageError(f"the socket {path} cannot be used: {exc.strerror}") from None
        else:
            raise UsageError(f"another process listens on {path}", "name another file")


def run(
    app: ASGIApp,
    listener: socket.socket,
    endpoint: Endpoint,
    *,
    report: Callable[[Exception], None],
    is_stopped: Callable[[], bool],
) -> None:
    """Answer requests until ``is_stopped``, then finish those that are under way, for two seconds.

    ``report`` is called with errors outside requests, such as a connection that could not be accepted.
    """
    _allow_open_files()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the application reports its errors
    config = Config(
        app,
        loop="asyncio",
        http=LimitedConnection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=_SECONDS_TO_END,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    _StoppableServer(config, endpoint, report, is_stopped).run([listener])


def _allow_open_files() -> None:
    """Raise the number of files that this process may open, if it is too low for all connections.

    macOS begins with 256. Where no more are allowed, clients wait until others have left.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _StoppableServer(Server):
    """A server that leaves signals, and errors of the event loop, to the caller."""

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint,
        report: Callable[[Exception], None],
        is_stopped: Callable[[], bool],
    ) -> None:
        super().__init__(config)
        self._endpoint, self._report, self._is_stopped = endpoint, report, is_stopped
        self._accepting: set[asyncio.Task[None]] = set()
        self._beginning: set[LimitedConnection] = set()
        """Connections that were accepted and are not open yet: TLS begins with a handshake."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the handlers of signals as they are."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections. asyncio's own server shows them only after their TLS handshake."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._report_error)
        self.servers = []
        for listener in sockets or ():
            listener.setblocking(False)
            self._begin(self._accept(listener))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and finish the requests that are under way."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)

    async def _accept(self, listener: socket.socket) -> None:
        """Accept connections, but none from elsewhere, and no more than there may be."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)  # a flood of connections must not keep others from being answered
            try:
                accepted, address = await loop.sock_accept(listener)
            except ConnectionError:
                continue
            except OSError as exc:
                self._report(exc)
                await asyncio.sleep(_SECONDS_WITHOUT_FILES)
                continue
            present = len(self._beginning | self.server_state.connections)
            if present < MAX_CONNECTIONS and self._endpoint.welcomes(address):
                self._begin(self._connect(accepted))
            else:
                accepted.close()

    async def _connect(self, accepted: socket.socket) -> None:
        """Give a connection to the application, after its TLS handshake if there is one."""
        loop, tls = asyncio.get_running_loop(), self._endpoint.tls
        connection = LimitedConnection(
            config=self.config, server_state=self.server_state, app_state={}, _loop=loop
        )
        self._beginning.add(connection)
        seconds = None if tls is None else SENDING_SECONDS
        try:
            with suppress(OSError):  # a handshake that fails, or takes too long
                await loop.connect_accepted_socket(
                    lambda: connection, accepted, ssl=tls, ssl_handshake_timeout=seconds
                )
        finally:
            self._beginning.discard(connection)

    def _report_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._report(error if isinstance(error, Exception) else RuntimeError(context["message"]))

    async def on_tick(self, counter: int) -> bool:
        """Drop connections whose clients are too slow; return whether to end. Called ten times a second."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, LimitedConnection):
                    connection.drop_if_late(connection.loop.time())
        self.should_exit = self.should_exit or self._is_stopped()
        return await super().on_tick(counter)
