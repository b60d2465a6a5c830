"""How the stand-in behaves where upstream can differ: set before or while it serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from archiver.sandbox.wire import Pace

DAY = 86_400.0


@dataclass(slots=True)
class Settings:
    """``rate``: API calls per second before 429, None = no limit; ``retry_after``: that header's value on a 429.

    ``latency``: seconds before each API answer. ``pace``: delay and rate of each CDN answer. ``funds_status``: what an empty account
    answers with (402, or 200 as some saw). ``image_life``, ``video_life``: seconds until a URL expires, may be negative. ``etag``: what
    the CDN offers. ``ranges``: False ignores ``Range``. ``digest``: the CDN states ``content-digest: adler32=``. ``clock``: Unix seconds.
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
