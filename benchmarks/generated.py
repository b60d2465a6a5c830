"""Values for the rows of a generated archive: names, titles and words in several scripts, and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

OPENED = datetime(2024, 9, 1, 2, 0, tzinfo=UTC)
"""The first night, in UTC."""

NIGHTS = 540
LAST = OPENED + timedelta(days=NIGHTS - 1)

_GIVEN = [
    "maria",
    "lena",
    "yuki",
    "wei",
    "jose",
    "fatima",
    "olga",
    "ravi",
    "amara",
    "noah",
    "sofia",
    "liam",
    "chloe",
    "hiro",
    "ines",
    "omar",
    "tariq",
    "elif",
    "mateo",
    "anya",
    "kofi",
    "ingrid",
    "pablo",
    "mina",
    "sven",
    "aiko",
    "zara",
    "luca",
    "priya",
    "ivan",
]
_TRADE = [
    "photo",
    "travel",
    "studio",
    "kitchen",
    "climbs",
    "paints",
    "museum",
    "news",
    "runs",
    "lab",
    "garden",
    "surf",
    "wild",
    "maps",
    "archive",
    "books",
    "design",
    "coffee",
    "cycling",
    "film",
    "style",
    "music",
    "lens",
    "trips",
    "stories",
]
_NAMES = (
    "Maria López", "Lena Müller", "佐藤 由紀", "王伟", "José Ñandú", "فاطمة علي",
    "Ольга Смирнова", "रवि शर्मा", "김민수", "Amara Okafor", "Sofía Ruiz 🌻", "Chloé Dubois",
    "Elif Yılmaz", "נועה לוי", "Ἑλένη", "สมชาย ใจดี",
)  # fmt: skip
_TITLES = (
    "Travel", "Q&A", "北京旅行", "東京の夜", "서울 여행", "Gift Guide", "Food 🍜", "Москва",
    "Путешествия", "سفر", "Iceland 🇮🇸", "Behind the scenes", "me ✨", "🦋", "Été à Paris", "भारत",
    "Recipes", "Press", "台灣小吃", "Oaxaca", "Workshops", "🏔️ Alps", "Книги", "Studio",
    "春", "Reviews", "Wedding 💍", "São Paulo", "Archive", "FAQ",
)  # fmt: skip
_TAGS = [
    "travel",
    "photography",
    "旅行",
    "sunset",
    "foodie",
    "природа",
    "architecture",
    "wildlife",
    "art",
    "street",
    "東京",
    "museum",
    "ocean",
    "hiking",
    "streetart",
    "design",
    "climate",
    "love",
    "여행",
    "سفر",
    "coffee",
    "books",
    "science",
    "history",
    "conservation",
]
_PLACES = (
    ("Reykjavík", 64.15, -21.94), ("東京都", 35.68, 139.69), ("北京市", 39.9, 116.4),
    ("Paris, France", 48.86, 2.35), ("Санкт-Петербург", 59.94, 30.31), ("Oaxaca de Juárez", 17.07, -96.72),
    ("القاهرة", 30.04, 31.24), ("São Paulo", -23.55, -46.63), ("서울", 37.57, 126.98),
    ("Nairobi", -1.29, 36.82), ("New York, New York", 40.71, -74.0),
)  # fmt: skip
_SHOPS = [
    "shop",
    "blog",
    "news",
    "store",
    "books",
    "music",
    "tickets",
    "film",
    "maps",
    "lab",
    "press",
    "journal",
    "photo",
    "travel",
    "art",
    "gallery",
]
_ENDS = (".com", ".org", ".net", ".co.uk", ".de", ".jp", ".com.br", ".io", ".museum")
_PATHS = ["article", "story", "2024", "2025", "product", "event", "archive", "exhibition", "episode", "guide"]


def draw_username(draw: Random, number: int) -> str:
    """Return a username that no other number gets."""
    if number == 0:
        return "natgeo"
    return f"{draw.choice(_GIVEN)}{draw.choice(('.', '_', ''))}{draw.choice(_TRADE)}{number}"


def draw_full_name(draw: Random) -> str:
    return draw.choice(_NAMES)


def draw_title(draw: Random) -> str:
    """Return a title of a highlight. Most are short; some have a year or two words."""
    text = draw.choice(_TITLES)
    chance = draw.random()
    if chance < 0.25:
        return f"{text} {draw.randrange(2016, 2027)}"
    return f"{text} {draw.choice(_TITLES)}" if chance < 0.4 else text


def draw_tag(draw: Random) -> str:
    return f"{draw.choice(_TAGS)}{draw.choice(('', '', draw.randrange(400)))}"


def draw_place(draw: Random) -> tuple[str, str, float, float]:
    """Return pk, name, latitude and longitude of one of a few thousand places."""
    name, lat, lng = draw.choice(_PLACES)
    number = draw.randrange(300)
    shown = name if number < 50 else f"{draw.choice(_SHOPS).title()} {number}, {name}"
    return (
        f"2134{abs(stable_hash(name)) % 10**6:06}{number:03}",
        shown,
        lat + number / 1000,
        lng - number / 1000,
    )


def stable_hash(text: str) -> int:
    """Return a hash that is the same in every process, unlike ``hash``."""
    return sum(ord(letter) * 31**at for at, letter in enumerate(text))


def draw_domains(draw: Random) -> list[str]:
    """Return a few hundred different domains."""
    every = [f"{a}{b}{end}" for a in _GIVEN[:12] for b in _SHOPS for end in _ENDS]
    return ["www.nationalgeographic.com", "on.natgeo.com", "bit.ly", "youtu.be", *draw.sample(every, 320)]


def draw_url(draw: Random, hosts: list[str]) -> str:
    """Return the URL of a web page. The first hosts are the most frequent."""
    host = hosts[min(int(draw.expovariate(1 / 40)), len(hosts) - 1)]
    return f"https://{host}/{draw.choice(_PATHS)}/{draw.randrange(100_000)}?utm_source=ig_story"


def format_time(time: datetime) -> str:
    """Return a time in UTC in the form in which it is stored in SQLite."""
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def first_night(time: datetime, joined: int) -> int:
    """Return the night, counted from 0, in which something from this time is first seen.

    ``joined``: the first night in which its account is visited.
    """
    return min(max(joined, (time - OPENED).days + 1), NIGHTS - 1)
