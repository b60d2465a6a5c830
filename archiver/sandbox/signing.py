"""Signed URLs like Instagram's: a path that stays, and a query that differs in every answer and dies at ``oe``.

``oh`` signs the path and the whole query without itself, so that any change of either is noticed. ``oe`` is the expiry in
hexadecimal Unix seconds.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import random
import secrets
import zlib
from collections.abc import Sequence
from typing import Literal

from archiver.sandbox.things import Media

Verdict = Literal["good", "expired", "altered"]

_SITES = ("sjc3-1", "sjc6-1", "lax3-1", "lax3-2", "lax7-1", "dfw5-1", "dfw5-2", "dfw6-1")


class Signer:
    """Signs URLs for some CDN addresses (``host:port``) and judges them again. Thread-safe."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = tuple(addresses)
        self._secret = secrets.token_bytes(32)
        self._answers = itertools.count()
        self._random = random.Random()  # noqa: S311  # decoration: only oh guards anything

    def answer(self) -> Answer:
        """The signatures of one API answer: the next answer differs from it in host, ``oh`` and ``_nc_*``."""
        return Answer(self, next(self._answers))

    def url(self, media: Media, expires: int, *, answer: int, gid: str, cache_key: str | None) -> str:
        """A URL for the file that lives until ``expires`` (Unix seconds)."""
        number = zlib.crc32(media.path.encode())
        address = self._addresses[(number + answer) % len(self._addresses)]
        site = _SITES[(number + answer) % len(_SITES)]
        ohc = f"{self._random.getrandbits(66):017x}"
        key = f"&ig_cache_key={cache_key}.3-ccb7-5" if cache_key else ""
        # ig_cache_key holds '=' of base64: written percent-encoded, as Instagram does.
        query = (
            f"_nc_ht=scontent-{site}.cdninstagram.com&_nc_cat={100 + number % 11}&_nc_oc=Q6cZ2g{gid}&_nc_ohc={ohc}"
            f"&_nc_gid={gid}&edm=ANmP7GQBAAAA&ccb=7-5{key}&oe={expires & 0xFFFFFFFFFF:X}&_nc_sid=982cc7"
        )
        return f"http://{address}{media.path}?{query}&oh={self._seal(media.path, query)}"

    def judge(self, path: str, query: str, now: float) -> Verdict:
        """What the CDN says of a URL whose path and raw query are these, at ``now`` (Unix seconds)."""
        parts = query.split("&")
        seal = next((p[3:] for p in parts if p.startswith("oh=")), "")
        rest = "&".join(p for p in parts if not p.startswith("oh="))
        if not hmac.compare_digest(seal.encode(), self._seal(path, rest).encode()):
            return "altered"
        expiry = next(int(p[3:], 16) for p in parts if p.startswith("oe="))
        return "expired" if now >= expiry else "good"

    def gid(self) -> str:
        """A fresh ``_nc_gid``: names one answer."""
        return base64.urlsafe_b64encode(self._random.randbytes(16)).decode().rstrip("=")

    def _seal(self, path: str, query: str) -> str:
        digest = hmac.digest(self._secret, f"{path}?{query}".encode(), "sha256")
        return "00_Af" + base64.urlsafe_b64encode(digest[:30]).decode()


class Answer:
    """Signs all URLs of one API answer."""

    __slots__ = ("_gid", "_number", "_signer")

    def __init__(self, signer: Signer, number: int) -> None:
        self._signer = signer
        self._number = number
        self._gid = signer.gid()

    def url(self, media: Media, expires: int, item_pk: str | None = None) -> str:
        """A URL for the file until ``expires``. A story image also carries ``ig_cache_key``, from the pk of its item."""
        key = base64.b64encode(item_pk.encode()).decode().replace("=", "%3D") if item_pk else None
        return self._signer.url(media, expires, answer=self._number, gid=self._gid, cache_key=key)
