"""The CDN: it signs URLs, and serves files to anybody whose URL has a valid signature.

It does not know the access key. A URL is signed as Instagram's are: its path stays the same, its query
differs in every answer. ``oe`` is the expiry in hexadecimal Unix seconds; ``oh`` signs the path and the rest
of the query, so a change of either is noticed.

Copied from upstream: the texts of the 403 answers for an expired and for an altered signature, ``Range`` with
206, ``last-modified``, and on request ``content-digest: adler32=...``. It is not known whether upstream sends
ETags, so that is a setting.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import re
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from archiver.sandbox import media_files
from archiver.sandbox.api_json import Urls
from archiver.sandbox.http_server import HttpReply, HttpRequest, RequestSubject, StandInSettings
from archiver.sandbox.world_objects import Role, SandboxFile

Verdict = Literal["good", "expired", "altered"]

_SITES = ("sjc3-1", "sjc6-1", "lax3-1", "lax3-2", "lax7-1", "dfw5-1", "dfw5-2", "dfw6-1")


class Signer:
    """Signs URLs of these CDN origins (``http://host:port``), and checks signatures. Thread-safe."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = tuple(origins)
        self._secret = secrets.token_bytes(32)
        self._answers = itertools.count()

    def answer(self) -> SignedAnswer:
        """Return a signer for one API answer: the next answer gets other hosts, ``oh`` and ``_nc_*``."""
        return SignedAnswer(self, next(self._answers))

    def url(self, media: SandboxFile, expires: int, *, answer: int, gid: str, cache_key: str | None) -> str:
        """Return a URL of the file that is valid until ``expires`` (Unix seconds)."""
        number = zlib.crc32(media.path.encode())
        origin = self._origins[(number + answer) % len(self._origins)]
        site = _SITES[(number + answer) % len(_SITES)]
        ohc = f"{secrets.randbits(66):017x}"
        key = f"&ig_cache_key={cache_key}.3-ccb7-5" if cache_key else ""
        # ig_cache_key holds '=' of base64: written percent-encoded, as Instagram does.
        query = (
            f"_nc_ht=scontent-{site}.cdninstagram.com&_nc_cat={100 + number % 11}"
            f"&_nc_oc=Q6cZ2g{gid}&_nc_ohc={ohc}"
            f"&_nc_gid={gid}&edm=ANmP7GQBAAAA&ccb=7-5{key}&oe={expires & 0xFFFFFFFFFF:X}&_nc_sid=982cc7"
        )
        return f"{origin}{media.path}?{query}&oh={self._seal(media.path, query)}"

    def judge(self, path: str, query: str, now: float) -> Verdict:
        """Return whether a path and its raw query are correctly signed and valid at ``now`` (Unix time)."""
        parts = query.split("&")
        seal = next((p[3:] for p in parts if p.startswith("oh=")), "")
        rest = "&".join(p for p in parts if not p.startswith("oh="))
        if not hmac.compare_digest(seal.encode(), self._seal(path, rest).encode()):
            return "altered"
        expiry = next(int(p[3:], 16) for p in parts if p.startswith("oe="))
        return "expired" if now >= expiry else "good"

    def gid(self) -> str:
        """Return a new ``_nc_gid``, which is the same in all URLs of one answer."""
        return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")

    def _seal(self, path: str, query: str) -> str:
        digest = hmac.digest(self._secret, f"{path}?{query}".encode(), "sha256")
        return "00_Af" + base64.urlsafe_b64encode(digest[:30]).decode()


class SignedAnswer:
    """Signs all URLs of one API answer."""

    __slots__ = ("_gid", "_number", "_signer")

    def __init__(self, signer: Signer, number: int) -> None:
        self._signer = signer
        self._number = number
        self._gid = signer.gid()

    def url(self, media: SandboxFile, expires: int, item_pk: str | None = None) -> str:
        """Return a URL of the file.

        The URL of a story image also has an ``ig_cache_key``, made from its item's pk.
        """
        key = base64.b64encode(item_pk.encode()).decode().replace("=", "%3D") if item_pk else None
        return self._signer.url(media, expires, answer=self._number, gid=self._gid, cache_key=key)


_PLAIN = {"content-type": "text/plain"}
_MODIFIED = formatdate(1_764_846_391, usegmt=True)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class _OfferedFile:
    media: SandboxFile
    subject: RequestSubject


class FakeCdn:
    """Serves each file that an answer has offered while its signature is valid, even if it was removed
    since.
    """

    def __init__(self, origins: Sequence[str], settings: StandInSettings) -> None:
        self._signer = Signer(origins)
        self._settings = settings
        self._offered: dict[str, _OfferedFile] = {}

    def urls(self) -> Urls:
        """Return a function that signs the URLs of one answer."""
        answer = self._signer.answer()
        signed: dict[str, str] = {}
        now = self._settings.clock()
        image, video = int(now + self._settings.image_life), int(now + self._settings.video_life)

        def url(
            media: SandboxFile | None, role: Role, *, user: str, highlight: str = "", item: str = ""
        ) -> str | None:
            if media is None:
                return None
            if media.path in signed:  # an answer has only one URL for each file
                return signed[media.path]
            self._offered[media.path] = _OfferedFile(media, RequestSubject(user, highlight, item, role))
            expires = video if role == "video" else image
            signed[media.path] = answer.url(media, expires, item if role == "thumbnail" else None)
            return signed[media.path]

        return url

    def subject(self, request: HttpRequest) -> RequestSubject:
        """Return whose file a request asks for, if an answer has offered its path."""
        offered = self._offered.get(request.path)
        return offered.subject if offered else RequestSubject()

    def bill(self, _request: HttpRequest, _status: int) -> int:
        """Return 0: the CDN is free."""
        return 0

    def answer(self, request: HttpRequest) -> tuple[HttpReply, int]:
        """Return the reply to a request, and 0 units."""
        return self._reply(request), 0

    def _reply(self, request: HttpRequest) -> HttpReply:
        if request.method not in ("GET", "HEAD"):
            return HttpReply(405, b"Method Not Allowed", _PLAIN)
        offered = self._offered.get(request.path)
        if offered is None:
            return HttpReply(404, b"Not Found", _PLAIN)
        verdict = self._signer.judge(request.path, request.query, self._settings.clock())
        if verdict == "altered":
            return HttpReply(403, b"URL signature mismatch", _PLAIN)
        if verdict == "expired":
            return HttpReply(403, b"URL signature expired", _PLAIN)
        return self._file(request, offered.media)

    def _file(self, request: HttpRequest, media: SandboxFile) -> HttpReply:
        body = media_files.body(media)
        headers = {
            "content-type": media_files.content_type(media),
            "last-modified": _MODIFIED,
            "cache-control": "max-age=1209600, no-transform",
        }
        if self._settings.etag != "none":
            what = f"{media.base} {media.mark} {media.size}".encode()  # what determines the bytes
            tag = '"' + hashlib.sha256(what).hexdigest()[:32] + '"'
            headers["etag"] = tag if self._settings.etag == "strong" else "W/" + tag
        if self._settings.digest:
            headers["content-digest"] = f"adler32={zlib.adler32(body)}"
        if not self._settings.ranges:
            return HttpReply(200, body, headers)
        headers["accept-ranges"] = "bytes"
        return _apply_range(request.headers, body, headers)


def _apply_range(request_headers: Mapping[str, str], body: bytes, headers: dict[str, str]) -> HttpReply:
    """Return the whole body, or the part that ``Range`` and ``If-Range`` ask for (RFC 9110, 13.1.5, 14.2)."""
    found = _RANGE.fullmatch(request_headers.get("range", ""))
    if (
        found is None
        or found.groups() == ("", "")
        or not _is_unchanged(request_headers.get("if-range"), headers)
    ):
        return HttpReply(200, body, headers)
    first, last = found.groups()
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last), len(body) - 1) if first and last else len(body) - 1
    if start > end:
        return HttpReply(416, b"", {**headers, "content-range": f"bytes */{len(body)}"})
    part = f"bytes {start}-{end}/{len(body)}"
    return HttpReply(206, body[start : end + 1], {**headers, "content-range": part})


def _is_unchanged(condition: str | None, headers: Mapping[str, str]) -> bool:
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == headers.get("etag") and not condition.startswith("W/")
    return condition == headers["last-modified"]
