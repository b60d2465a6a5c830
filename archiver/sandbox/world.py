"""The world upstream that the stand-in shows: made from the vendor's examples, generated at any size, or built by hand."""

from __future__ import annotations

from archiver.sandbox import generated, seed
from archiver.sandbox.edit import AccountEdits, HighlightEdits, ItemEdits


class World(AccountEdits, HighlightEdits, ItemEdits):
    """An editable world. Thread-safe: answers and edits take turns. ``World()`` is empty; ``add_account`` fills it."""

    @classmethod
    def seed(cls) -> World:
        """The two accounts of the vendor's example answers: natgeo (787132) and salwaaa_ki (75885841119)."""
        return cls(seed.accounts())

    @classmethod
    def generated(
        cls,
        accounts: int = 10,
        highlights: int = 5,
        items: int = 10,
        *,
        thumbnail_size: generated.Size = None,
        video_size: generated.Size = None,
    ) -> World:
        """Many accounts alike, made as they are asked for; photos and videos in turn.

        Usernames are ``account0000``, ``account0001``...; pks follow from the place in the world alone. A size is None
        (small), a number of bytes, or ``(least, most)``.
        """
        made = generated.Generated(accounts, highlights, items, thumbnail_size, video_size)
        return cls(made.accounts(), made.owner_of)
