"""A stand-in for HikerAPI and Instagram's CDN over real loopback sockets: for ``archiver demo``, the tests and the benchmarks.

It imports nothing else of the program, so that it is an independent witness of what the program asks and what it must survive::

    with StandIn(World.seed()) as upstream:
        upstream.faults.add(actions.truncated(100), listener="cdn", role="video")
        ...  # the program runs against upstream.base_url with upstream.key
        assert upstream.units == 3
"""

from __future__ import annotations

from archiver.sandbox import actions
from archiver.sandbox.faults import Fault, Faults
from archiver.sandbox.log import Asked, Log, Subject
from archiver.sandbox.settings import Settings
from archiver.sandbox.standin import StandIn
from archiver.sandbox.things import Account, Highlight, Item, Media
from archiver.sandbox.wire import Pace
from archiver.sandbox.world import World

__all__ = [
    "Account",
    "Asked",
    "Fault",
    "Faults",
    "Highlight",
    "Item",
    "Log",
    "Media",
    "Pace",
    "Settings",
    "StandIn",
    "Subject",
    "World",
    "actions",
]
