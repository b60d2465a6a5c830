"""A world as somebody would build it to harm whoever archives it: titles, names and file names."""

from __future__ import annotations

from tests.support.standin.world_edits import EditableWorld

NATGEO = "787132"

ESCAPES = "\x1b[2J\x1b]52;c;ZXZpbA==\x07\x1b]8;;http://evil.example/\x07\x9b31m\r\b"
"""Clears the screen, writes the clipboard, makes a link, sets a colour by C1, and goes back over what was
written.
"""

FORGED = "quiet\n2026-01-01T00:00:00.000000Z INFO run 9 ended: ok\nAND MORE"

LONG = "👩‍👩‍👧‍👦" * 400

TITLES = (
    "../../../../etc/passwd",
    "/etc/cron.d/evil",
    "a\\..\\b",
    ".",
    "..",
    "",
    "   ",
    "CON",
    "nul.txt",
    "a.jpg:stream",
    "dot. ",
    "Twin",
    "twin",
    "é",
    "e\u0301",
    "\u202egnp.exe\u2066\u200b\u2069",
    "n\u0430tgeo",  # its second letter is Cyrillic
    LONG,
    "<script>alert(1)</script>",
    "{0.__class__.__init__.__globals__} %s%n ${HOME} $(id) `id`",
    "=cmd|'/c calc'!A1",
    "innocent\r=HYPERLINK(1)",
    "\t+1",
    f"ESC {ESCAPES} ESC",
    FORGED,
)

FILE_NAMES = (
    "shell.php",
    "evil.desktop",
    "evil.url",
    "evil.lnk",
    "run.sh",
    "x.svg",
    "index.html",
    "CON",
    "nul.txt:ads",
)


def hostile_world() -> EditableWorld:
    """natgeo under a hostile name, with a highlight of one item for each of TITLES and one whose title has
    100 kB; files under FILE_NAMES.
    """
    world = EditableWorld.seed()
    account = world.account(NATGEO)
    account.full_name = f"National {ESCAPES}\n{FORGED}"
    for title in reversed((*TITLES, "é" * 50_000)):
        world.add_highlight(NATGEO, title, 1)
    media = [h.items[0].thumbnail for h in account.highlights]
    for name, one in zip(FILE_NAMES, media, strict=False):
        assert one is not None
        one.path = f"/v/t51.2885-15/{name}"
    for one in (account.avatar, account.highlights[0].cover):
        assert one is not None
        one.path = f"/v/../../{one.name}.php"
    account.username = f"../{ESCAPES}{FORGED}"
    return world
