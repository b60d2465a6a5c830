"""Serves an open archive as web pages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

from archiver.archive.session import Session
from archiver.config.config_files import read_login_token, warn_if_readable
from archiver.errors import DatabaseError, UsageError, install_command

if TYPE_CHECKING:
    from archiver.catalog import Catalog
    from archiver.web.serve_options import ServeOptions

_SECONDS_BETWEEN_LOOKS = 2.0
_COMPARED_SECONDS = 10.0
"""How often database and journal are compared while somebody looks."""


def serve(
    session: Session,
    options: ServeOptions,
    *,
    on_ready: Callable[[str], None],
    report: Callable[[Exception], None],
    note: Callable[[str], None],
    is_stopped: Callable[[], bool],
) -> None:
    """Serve the archive until ``is_stopped``; see ``Archive.serve``."""
    options.check()
    token_digest = None
    if options.token_file is not None:
        token_digest, warnings = read_login_token(options.token_file)
        for warning in warnings:
            note(warning)
    try:
        from archiver.web import server
        from archiver.web.login import Login
        from archiver.web.web_app import WebSite, create_app
    except ImportError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in ("anyio", "starlette", "uvicorn"):
            raise
        raise UsageError(
            "the packages Starlette and uvicorn, which archiver serve needs, are not installed",
            f"install them: {install_command('starlette')} uvicorn",
        ) from None
    tls = None
    if options.tls_cert is not None and options.tls_key is not None:
        tls = server.load_tls(options.tls_cert, options.tls_key)
        for warning in warn_if_readable(options.tls_key, "--tls-key"):
            note(warning)
    endpoint = server.Endpoint(options.host, options.port, options.uds, tls, options.peers())
    site = WebSite(
        session.catalog,
        session.store,
        options.allowed_hosts(),
        None if token_digest is None else Login(token_digest, is_secure=options.is_secure),
        options.is_secure,
        report,
        _watch_journal(session),
    )
    app = create_app(site)
    with server.listen(endpoint) as (listener, address), _following(session.catalog):
        on_ready(options.name_address(address))
        server.run(app, listener, endpoint, report=report, is_stopped=is_stopped)


@contextmanager
def _following(catalog: Catalog) -> Iterator[None]:
    """Look every two seconds whether the database was replaced: then nothing keeps the old one open."""
    ended = Event()

    def follow() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            with suppress(DatabaseError):  # the next request says so
                catalog.follow()

    thread = Thread(target=follow, daemon=True, name="follow the database")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_SECONDS_BETWEEN_LOOKS)


def _watch_journal(session: Session) -> Callable[[], bool]:
    """Return what says whether the database is an older copy now. It raises JournalDiffers."""
    last = time.monotonic()

    def is_behind() -> bool:
        nonlocal last
        if time.monotonic() - last >= _COMPARED_SECONDS:
            last = -math.inf  # while it raises, it is called again for every page
            session.compare_with_journal()
            last = time.monotonic()
        return session.is_behind

    return is_behind
