"""XMP sidecars (ISO 16684-1): what photo programs read about an item, in the properties that they read.

| property | for |
|---|---|
| ``exif:DateTimeOriginal``, ``photoshop:DateCreated``, ``xmp:CreateDate`` | when it was taken |
| ``dc:title`` | the title of the highlight |
| ``dc:creator`` | the account |
| ``dc:description`` | both: not every program shows titles |
| ``dc:subject``, ``digiKam:TagsList``, ``lr:hierarchicalSubject`` | hashtags, and mentions as ``@name`` |
| ``exif:GPSLatitude``, ``exif:GPSLongitude``, ``Iptc4xmpCore:Location`` | the place |
| ``dc:source`` | the tool that an adopted file comes from |

Of the three properties for tags, digiKam reads the first two, and Immich the last two.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator
from datetime import UTC

from archiver.model.archived import KeptAccount, KeptHighlight, KeptItem
from archiver.model.upstream import Location
from archiver.pages import page_text

_NAMESPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
_LONGEST = 500
"""The longest text, in characters: titles and names come from strangers."""


def describe_item(
    account: KeptAccount, highlight: KeptHighlight, item: KeptItem, source: str | None = None
) -> bytes:
    """Return the sidecar of a file of an item. Texts are escaped, on one line, with only what XML allows.

    ``source``: the tool that downloaded the file, if it was adopted.
    """
    names = "".join(f'\n    xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items())
    properties = "".join(f"   {line}\n" for line in _properties(account, highlight, item))
    if source is not None:
        properties += f"   <dc:source>{_escape(f'adopted from {source}')}</dc:source>\n"
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'  <rdf:Description rdf:about=""{names}>\n'
        f"{properties}"
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
    )
    return text.encode()


def _properties(account: KeptAccount, highlight: KeptHighlight, item: KeptItem) -> Iterator[str]:
    if item.taken_at is not None:
        taken_at = item.taken_at.astimezone(UTC).isoformat(timespec="seconds")
        for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate"):
            yield f"<{name}>{taken_at}</{name}>"
    title = _shorten(highlight.title or "")
    username = _shorten(account.username or "")
    if title:
        yield _array("dc:title", "Alt", [title])
    yield _array("dc:description", "Alt", [" – ".join(filter(None, (title, _account(username, account.pk))))])
    yield _array("dc:creator", "Seq", [username or account.pk])
    tags = tuple(dict.fromkeys(_tags(item)))
    if tags:
        yield _array("dc:subject", "Bag", tags)
        # In these two, / or | separates levels, so it is replaced.
        yield _array("digiKam:TagsList", "Seq", (tag.replace("/", "_") for tag in tags))
        yield _array("lr:hierarchicalSubject", "Bag", (tag.replace("|", "_") for tag in tags))
    yield from _place(item.locations)


def _tags(item: KeptItem) -> Iterator[str]:
    for hashtag in item.hashtags:
        if name := _shorten(hashtag.name or "").lstrip("#"):
            yield name
    for mention in item.mentions:
        if name := _shorten(mention.username or ""):
            yield f"@{name}"


def _place(locations: Iterable[Location]) -> Iterator[str]:
    """Yield the properties of the first place with coordinates, else of the first with a name."""
    places = sorted(locations, key=lambda place: not _has_coordinates(place))
    for place in places:
        name = _shorten(place.name or "")
        if name:
            yield f"<Iptc4xmpCore:Location>{_escape(name)}</Iptc4xmpCore:Location>"
        if _has_coordinates(place):
            assert place.lat is not None
            assert place.lng is not None
            yield f"<exif:GPSLatitude>{_angle(place.lat, 'NS')}</exif:GPSLatitude>"
            yield f"<exif:GPSLongitude>{_angle(place.lng, 'EW')}</exif:GPSLongitude>"
        if name or _has_coordinates(place):
            return


def _has_coordinates(place: Location) -> bool:
    lat, lng = place.lat, place.lng
    if lat is None or lng is None or not (math.isfinite(lat) and math.isfinite(lng)):
        return False
    return -90 <= lat <= 90 and -180 <= lng <= 180


def _angle(degrees: float, directions: str) -> str:
    """Return an angle as XMP writes it: degrees, minutes and a direction, as in ``48,51.500000N``."""
    millionths = round(abs(degrees) * 60_000_000)
    whole, minutes = divmod(millionths, 60_000_000)
    return f"{whole},{minutes / 1_000_000:.6f}{directions[degrees < 0]}"


def _account(username: str, pk: str) -> str:
    return f"@{username}" if username else f"account {pk}"


def _array(name: str, kind: str, values: Iterable[str]) -> str:
    language = ' xml:lang="x-default"' if kind == "Alt" else ""
    items = "".join(f"<rdf:li{language}>{_escape(value)}</rdf:li>" for value in values)
    return f"<{name}><rdf:{kind}>{items}</rdf:{kind}></{name}>"


def _shorten(text: str) -> str:
    return page_text.shorten(text, _LONGEST)


def _escape(text: str) -> str:
    return html.escape(page_text.clean(text))
