"""The log as a witness of what the program has told, and when: it is written at once, not once a second."""

from __future__ import annotations

import logging

from archiver.cli.log_file import GatheredLog


def write_at_once() -> None:
    """Let the thread that logs a line write it, so that a test sees whether the program told it too early."""

    def emit(log: GatheredLog, record: logging.LogRecord) -> None:
        gather(log, record)
        log.flush()

    gather = GatheredLog.emit
    setattr(GatheredLog, "emit", emit)  # noqa: B010  # a method
