"""Sample API answers, for the tests of stored answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from archiver.model.api_calls import Answer, Call

STARTED = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)


def answer(body: bytes, subject: str = "1") -> Answer:
    call = Call("/v1/user/highlights", (("user_id", subject),), subject, 1)
    url = f"https://api.hikerapi.com/v1/user/highlights?user_id={subject}"
    headers = (("content-type", "application/json"), ("content-length", str(len(body))))
    return Answer(call, url, 200, headers, body, STARTED, STARTED + timedelta(seconds=1))
