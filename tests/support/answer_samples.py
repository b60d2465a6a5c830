"""Sample API answers, and a limit on the size of files, for the tests of stored answers."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from archiver.model.api_calls import Answer, Call

STARTED = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)


def answer(body: bytes, subject: str = "1") -> Answer:
    call = Call("/v1/user/highlights", (("user_id", subject),), subject, 1)
    url = f"https://api.hikerapi.com/v1/user/highlights?user_id={subject}"
    headers = (("content-type", "application/json"), ("content-length", str(len(body))))
    return Answer(call, url, 200, headers, body, STARTED, STARTED + timedelta(seconds=1))


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes inside the block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
