"""The rate of API calls over all workers of a run: one row, by the clock of the server.

Each call moves the time of the next one on by an interval (the generic cell rate algorithm), so calls of all
workers are spaced evenly.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_SET = text(
    "INSERT INTO api_rate (id, per_second, next_at, paused_until)"
    " VALUES (1, :per_second, clock_timestamp(), clock_timestamp())"
    " ON CONFLICT (id) DO UPDATE SET per_second = excluded.per_second,"
    " next_at = least(api_rate.next_at, clock_timestamp())"
)
_TAKE_SLOT = text(
    "UPDATE api_rate SET next_at ="
    " greatest(next_at, paused_until, clock_timestamp()) + interval '1 second' / per_second WHERE id = 1"
    " RETURNING extract(epoch FROM next_at - interval '1 second' / per_second - clock_timestamp())::float"
)
_PAUSE = text(
    "UPDATE api_rate SET paused_until ="
    " greatest(paused_until, clock_timestamp() + :seconds * interval '1 second') WHERE id = 1"
)
_PAUSE_LEFT = text("SELECT extract(epoch FROM paused_until - clock_timestamp())::float FROM api_rate")


def set_rate(connection: Connection, per_second: float) -> None:
    """Set the number of calls per second of all workers together, from now on.

    Those who have taken a slot keep it, but no other waits until those slots are over.
    """
    connection.execute(_SET, {"per_second": per_second})


def take_slot(connection: Connection) -> float:
    """Take the next slot for a call; return in how many seconds it is."""
    return float(connection.execute(_TAKE_SLOT).scalar_one())


def pause(connection: Connection, seconds: float) -> None:
    """Let no slot be in the next ``seconds``. A longer pause that has begun stays."""
    connection.execute(_PAUSE, {"seconds": seconds})


def pause_left(connection: Connection) -> float:
    """Return the seconds until the pause is over, less than 0 if it is."""
    return float(connection.execute(_PAUSE_LEFT).scalar_one())
