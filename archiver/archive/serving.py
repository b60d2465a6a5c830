"""Serves an open archive as web pages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from archiver.archive.archive_base import ArchiveBase
from archiver.archive.session import Session, open_for_reading
from archiver.blobs.marker import database_before_removal
from archiver.config.config_files import read_login_token, warn_if_readable
from archiver.errors import ArchiverError, JournalDiffers, UsageError, install_command
from archiver.work import StopFlag

if TYPE_CHECKING:
    from archiver.web.serve_options import ServeOptions

_SECONDS_BETWEEN_LOOKS = 2.0


class ArchiveServing(ArchiveBase):
    """Serves the archive as web pages."""

    def serve(
        self,
        options: ServeOptions,
        *,
        on_ready: Callable[[str], None],
        report: Callable[[Exception], None] = lambda error: None,
        note: Callable[[str], None] = lambda text: None,
        stop: StopFlag | None = None,
    ) -> None:
        """Serve the archive as web pages until ``stop`` is set. Call it in the main thread.

        ``on_ready`` gets the address once connections are accepted, ``report`` the errors of requests, from
        any thread, ``note`` warnings. Raises UsageError if the options would let others look without a token,
        the port cannot be used, or Starlette or uvicorn is missing.
        """
        self._require_open()
        flag = stop or StopFlag()
        with open_for_reading(self._config, self._database, is_lasting=True) as session:
            if session.lacking is not None:
                self._on_behind(session.lacking)
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
            watch = DatabaseWatch(session)
            site = WebSite(
                session.catalog,
                session.store,
                options.allowed_hosts(),
                None if token_digest is None else Login(token_digest, is_secure=options.is_secure),
                options.is_secure,
                report,
                watch.read_lacking,
            )
            app = create_app(site)
            with server.listen(endpoint) as (listener, address), watch:
                on_ready(options.name_address(address))
                server.run(app, listener, endpoint, report=report, is_stopped=lambda: flag.cause is not None)


class DatabaseWatch:
    """A thread that looks every two seconds whether the database was replaced: then nothing keeps the old one
    open. It also compares database and journal, so that no page waits for a store that is slow.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_asked = self._is_before_removal = False
        self._ended = Event()
        self._thread = Thread(target=self._run, daemon=True, name="database watch")

    def read_lacking(self) -> JournalDiffers | None:
        """Return what to say if the database lacked entries of the journal when the two were last compared.

        Raises JournalDiffers if it was from before ``archiver forget``.
        """
        self._is_asked = True
        if self._is_before_removal:
            raise database_before_removal()
        return self._session.lacking

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_LOOKS):
            with suppress(ArchiverError):  # the next request says so
                self._look()

    def _look(self) -> None:
        try:
            if self._session.compare_if_changed(is_read=self._is_asked or self._is_before_removal):
                self._is_asked = self._is_before_removal = False
        except JournalDiffers:
            self._is_before_removal = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(_SECONDS_BETWEEN_LOOKS)
