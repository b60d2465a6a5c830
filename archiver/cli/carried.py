"""What an item carries, in words: not safe yet."""

from __future__ import annotations

from collections.abc import Iterator

from archiver.model.archived import KeptItem


def rows(item: KeptItem) -> Iterator[tuple[str, str]]:
    """What an item carries, each entry as what it is and what is known of it."""
    for mention in item.mentions:
        yield (
            "mentions",
            joined(f"@{mention.username}" if mention.username else None, mention.full_name, mention.user_pk),
        )
    for link in item.web_links:
        yield "link", joined(link.url, link.title, link.display_url)
    for tag in item.hashtags:
        yield "hashtag", f"#{tag.name}"
    for place in item.locations:
        where = f"{place.lat:g} {place.lng:g}" if place.lat is not None and place.lng is not None else None
        yield "place", joined(place.name, where, place.location_pk)
    for sticker in item.stickers:
        yield "sticker", f"{sticker.kind} {sticker.extra}"
    for post in item.reshares:
        yield "reshares", joined(post.media_code, post.product_type, post.media_pk, post.user_pk)
    for sponsor in item.sponsors:
        yield "sponsor", joined(f"@{sponsor.username}" if sponsor.username else None, sponsor.user_pk)


def briefly(item: KeptItem) -> Iterator[str]:
    """What an item carries, in a line."""
    yield from (f"@{mention.username or mention.user_pk}" for mention in item.mentions)
    yield from (f"#{tag.name}" for tag in item.hashtags)
    yield from (f"at {place.name}" for place in item.locations)
    yield from (link.url for link in item.web_links)
    yield from (sticker.kind for sticker in item.stickers)
    yield from (f"reshares {post.media_code or post.media_pk}" for post in item.reshares)
    yield from (f"sponsored by {sponsor.username or sponsor.user_pk}" for sponsor in item.sponsors)


def joined(*parts: str | None) -> str:
    """What is known, with commas between."""
    return ", ".join(part for part in parts if part)
