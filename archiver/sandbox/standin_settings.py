"""Settings of the stand-in, for behaviour of upstream that varies. They may be changed while it serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from archiver.sandbox.http_server import Pace

DAY = 86_400.0


@dataclass(slots=True)
class StandInSettings:
    """How the API and the CDN behave.

    ``rate``: API calls per second before 429, None: no limit. ``retry_after``: the value of that header on a
    429. ``latency``: seconds before each API answer. ``funds_status``: the status when no units are left
    (402, or 200, which some have seen). ``image_life``, ``video_life``: seconds until a URL expires, may be
    negative. ``etag``: which kind the CDN sends. ``ranges``: whether it heeds ``Range``. ``digest``: whether
    it sends ``content-digest: adler32=``. ``pace``: of each CDN answer. ``clock``: returns Unix seconds.
    """

    rate: int | None = None
    retry_after: str | None = None
    latency: float = 0.0
    funds_status: Literal[402, 200] = 402
    image_life: float = 5 * DAY
    video_life: float = 2 * DAY
    etag: Literal["strong", "weak", "none"] = "strong"
    ranges: bool = True
    digest: bool = False
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.time
