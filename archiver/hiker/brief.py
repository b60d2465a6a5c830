"""What may be told to people of a text that came from outside: short, on one line, without signatures. Pure."""

from __future__ import annotations

import re

_SHOWN = 200
_READ = 1_000
_QUERY = re.compile(r"\?[^\s\"'<>]+=[^\s\"'<>]*")
_SIGNATURE = re.compile(r"\b(oe|oh|_nc_\w{1,20}|x-access-key)=[^&\s\"'<>]*", re.IGNORECASE)


def excerpt(text: str) -> str:
    """At most 200 characters of ``text``: queries of URLs cut, what does not print replaced by blanks, runs of blanks joined."""
    shown = _SIGNATURE.sub(r"\1=…", _QUERY.sub("?…", text[:_READ]))
    shown = " ".join("".join(c if c.isprintable() else " " for c in shown).split())
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
