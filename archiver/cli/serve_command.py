"""``archiver serve``."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click

from archiver.cli import load, output, signals
from archiver.cli.decorators import plain
from archiver.cli.options import GlobalOptions, PathType, WholeNumber
from archiver.errors import ArchiverError
from archiver.web.serve_options import ServeOptions
from archiver.work import StopFlag

_SILENT_SECONDS = 60.0


@plain("serve")
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Listen on this address.  [127.0.0.1]")
@click.option(
    "--port",
    type=WholeNumber(0, 65535),
    default=8000,
    metavar="N",
    help="Listen on this port; 0: any free one.  [8000]",
)
@click.option("--uds", type=PathType("file"), metavar="PATH", help="Listen on a Unix socket instead.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Answer requests for this host name too.",
)
@click.option("--token-file", type=PathType("file"), metavar="FILE", help="Ask for the token in this file.")
@click.option("--tls-cert", type=PathType("file"), metavar="FILE", help="Certificate for https, in PEM.")
@click.option("--tls-key", type=PathType("file"), metavar="FILE", help="Its key, in PEM.")
@click.option(
    "--behind-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Let only this address connect: that of a proxy that speaks https.",
)
def command(
    options: GlobalOptions,
    host: str,
    port: int,
    uds: Path | None,
    allow_hosts: tuple[str, ...],
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    proxies: tuple[str, ...],
) -> None:
    """Show the archive in a browser: accounts, highlights, items, with their pictures and videos. Reads
    only, also during a run; costs nothing. Ends with Ctrl-C.

    Only this machine can look, unless --host names another address. Then a token is asked for, and the
    connection must be encrypted, by --tls-cert and --tls-key or by a proxy. See docs/serve.md.

    The first line on stdout is the address. It needs Starlette and uvicorn, the extra "serve".

    \b
    Examples:
      archiver serve
      archiver serve --port 0
      archiver serve --host 192.0.2.7 --token-file token --tls-cert cert.pem --tls-key key.pem
      archiver serve --uds /run/archiver/web --token-file token --allow-host archive.example
    """
    chosen = ServeOptions(host, port, uds, allow_hosts, token_file, tls_cert, tls_key, proxies)
    stop = StopFlag()
    with load.open_archive(options) as archive, signals.stop_on_signal(stop, quiet=True):
        archive.serve(
            chosen,
            on_ready=lambda address: output.print_data(f"{address}\n"),
            report=_reporter(options),
            note=lambda text: output.print_messages(f"archiver: note: {text}"),
            stop=stop,
        )
    stop.check()


def _reporter(options: GlobalOptions) -> Callable[[Exception], None]:
    """Return what prints the errors of requests, each at most once a minute.

    Of errors that are not our own, one of each kind: their texts may be a stranger's.
    """
    last: dict[object, float] = {}

    def report(error: Exception) -> None:
        if isinstance(error, ArchiverError):
            hint = options.complete_hint(error.slug, error.hint)
            text = f"{error} ({hint})" if hint else str(error)
        elif isinstance(error, OSError):
            text = error.strerror or str(error)
        else:
            text = f"a request failed: {type(error).__name__}: {error}"
        key, now = text if isinstance(error, ArchiverError) else type(error), time.monotonic()
        if now - last.get(key, -_SILENT_SECONDS) >= _SILENT_SECONDS:
            if len(last) > 100:
                last.clear()
            last[key] = now
            output.print_messages(f"archiver: serve: {text}")

    return report
