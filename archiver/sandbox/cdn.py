"""The CDN: signs URLs for files, and serves the files to whoever comes with a good signature. It knows no key and no cookie.

Facts copied from upstream: 403 text for an expired and for an altered signature; ``Range`` with 206; ``last-modified``; on request a
``content-digest: adler32=...``. Whether it sends ETags is not known: a setting.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from archiver.sandbox import media
from archiver.sandbox.log import Subject
from archiver.sandbox.render import Urls
from archiver.sandbox.settings import Settings
from archiver.sandbox.signing import Signer
from archiver.sandbox.things import Media, Role
from archiver.sandbox.wire import Reply, Request

_PLAIN = {"content-type": "text/plain"}
_MODIFIED = formatdate(1_764_846_391, usegmt=True)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class _Served:
    media: Media
    subject: Subject


class Cdn:
    """Serves what some answer has offered, for as long as its signature lives, even if the owner has removed it since."""

    def __init__(self, addresses: Sequence[str], settings: Settings) -> None:
        self._signer = Signer(addresses)
        self._settings = settings
        self._served: dict[str, _Served] = {}

    def urls(self) -> Urls:
        """What signs the URLs of one answer: the next answer's differ in host and query."""
        answer = self._signer.answer()
        signed: dict[str, str] = {}
        now = self._settings.clock()
        image, video = int(now + self._settings.image_life), int(now + self._settings.video_life)

        def url(
            media: Media | None, role: Role, *, user: str, highlight: str = "", item: str = ""
        ) -> str | None:
            if media is None:
                return None
            if media.path in signed:  # one answer names one file by one URL, however often
                return signed[media.path]
            self._served[media.path] = _Served(media, Subject(user, highlight, item, role))
            expires = video if role == "video" else image
            signed[media.path] = answer.url(media, expires, item if role == "thumbnail" else None)
            return signed[media.path]

        return url

    def subject(self, request: Request) -> Subject:
        """What the request is about, if its path was ever offered."""
        served = self._served.get(request.path)
        return served.subject if served else Subject()

    def bill(self, _request: Request, _status: int) -> int:
        """Nothing here is billed."""
        return 0

    def answer(self, request: Request) -> tuple[Reply, int]:
        """The reply, and 0 units."""
        return self._reply(request), 0

    def _reply(self, request: Request) -> Reply:
        if request.method not in ("GET", "HEAD"):
            return Reply(405, b"Method Not Allowed", _PLAIN)
        served = self._served.get(request.path)
        if served is None:
            return Reply(404, b"Not Found", _PLAIN)
        verdict = self._signer.judge(request.path, request.query, self._settings.clock())
        if verdict == "altered":
            return Reply(403, b"URL signature mismatch", _PLAIN)
        if verdict == "expired":
            return Reply(403, b"URL signature expired", _PLAIN)
        return self._file(request, served.media)

    def _file(self, request: Request, served: Media) -> Reply:
        body = media.body(served)
        headers = {
            "content-type": media.content_type(served),
            "last-modified": _MODIFIED,
            "cache-control": "max-age=1209600, no-transform",
        }
        if self._settings.etag != "none":
            what = f"{served.base} {served.mark} {served.size}".encode()  # what the bytes follow from
            tag = '"' + hashlib.sha256(what).hexdigest()[:32] + '"'
            headers["etag"] = tag if self._settings.etag == "strong" else "W/" + tag
        if self._settings.digest:
            headers["content-digest"] = f"adler32={zlib.adler32(body)}"
        if not self._settings.ranges:
            return Reply(200, body, headers)
        headers["accept-ranges"] = "bytes"
        return _ranged(request.headers, body, headers)


def _ranged(asked: Mapping[str, str], body: bytes, headers: dict[str, str]) -> Reply:
    """The whole body, or the part that ``Range`` asks for if ``If-Range`` allows it (RFC 9110, 13.1.5 and 14.2)."""
    found = _RANGE.fullmatch(asked.get("range", ""))
    if found is None or found.groups() == ("", "") or not _unchanged(asked.get("if-range"), headers):
        return Reply(200, body, headers)
    first, last = found.groups()
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last), len(body) - 1) if first and last else len(body) - 1
    if start > end:
        return Reply(416, b"", {**headers, "content-range": f"bytes */{len(body)}"})
    part = f"bytes {start}-{end}/{len(body)}"
    return Reply(206, body[start : end + 1], {**headers, "content-range": part})


def _unchanged(condition: str | None, headers: Mapping[str, str]) -> bool:
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == headers.get("etag") and not condition.startswith("W/")
    return condition == headers["last-modified"]
