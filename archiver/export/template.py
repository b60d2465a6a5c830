"""Templates of paths: ``{username}/{title} ({highlight_pk})/{taken_at} {code}.{ext}``. Fields are looked up by name, never formatted. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archiver.errors import UsageError
from archiver.export import names
from archiver.export.directories import DEEPEST

USUAL = "{username}/{title} ({highlight_pk})/{taken_at} {code}.{ext}"

OF_ACCOUNT = frozenset({"username", "full_name", "user_pk"})
OF_HIGHLIGHT = frozenset({"title", "highlight_pk"})
OF_ITEM = frozenset(
    {"taken_at", "date", "year", "month", "day", "code", "item_pk", "position", "type", "role", "ext"}
)
FIELDS = OF_ACCOUNT | OF_HIGHLIGHT | OF_ITEM
YIELDING = frozenset({"username", "full_name", "title", "code"})
"""Fields that come from others: cleaned, and cut where a name or path is too long. All other fields are digits and words of ours."""

_LONGEST = (
    dict.fromkeys(YIELDING, 0)
    | dict.fromkeys(("user_pk", "highlight_pk", "item_pk"), 40)
    | {"taken_at": 19, "date": 10, "year": 7, "month": 7, "day": 7}  # or "undated"
    | {"position": 10, "type": 5, "role": 9, "ext": 4}
)
"""Characters that a field may take of a name without giving way."""
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """A field by its name, or a text that stands as it is."""

    text: str
    is_field: bool


_EXT = Piece("ext", True)

Part = tuple[Piece, ...]
"""One component of a path."""


@dataclass(frozen=True, slots=True)
class Template:
    """A path below the export, component by component; made by ``parse``."""

    parts: tuple[Part, ...]

    @property
    def fields(self) -> frozenset[str]:
        """The names of all fields that it uses."""
        return frozenset(piece.text for part in self.parts for piece in part if piece.is_field)

    def leading(self, known: frozenset[str]) -> tuple[Part, ...]:
        """Its first directories, as far as these fields say them."""
        found: list[Part] = []
        for part in self.parts[:-1]:
            if any(piece.is_field and piece.text not in known for piece in part):
                break
            found.append(part)
        return tuple(found)

    def beside(self, known: frozenset[str], name: str) -> Template:
        """Where a file called ``name`` belongs that has these fields only: in the deepest directory that they lead to."""
        return Template((*self.leading(known), (Piece(f"{name}.", False), _EXT)))


def parse(text: str) -> Template:
    """The template that ``text`` writes. Raises UsageError, naming the known fields, for one that is unknown, or a path that cannot be."""
    parts = tuple(tuple(_pieces(part)) for part in text.split("/"))
    for part in parts:
        if not part:
            raise _unusable(text, "a name in it is empty, or it begins or ends with /")
        if all(not piece.is_field for piece in part) and not "".join(p.text for p in part).strip(". "):
            raise _unusable(text, "a name in it is made of dots and blanks")
        if (longest := _length(part)) > names.LONGEST:
            raise _unusable(
                text, f"a name in it may come to {longest} characters, of which there may be {names.LONGEST}"
            )
    if len(parts) > DEEPEST:
        raise _unusable(text, f"it has more than {DEEPEST} names")
    *stem, dot, ext = (Piece("", False), Piece("", False), *parts[-1])
    if ext != Piece("ext", True) or not dot.text.endswith("."):
        raise _unusable(
            text, "it does not end in .{ext}, by which the picture of a video is told from the video"
        )
    if not any(piece.is_field for piece in stem) and not dot.text.strip(". "):
        raise _unusable(text, "the file has no name before .{ext}")
    return Template(parts)


def _length(part: Part) -> int:
    """How long the name may come to be once all has given way that does."""
    return sum(
        _LONGEST[piece.text] if piece.is_field else names.length(names.clean(piece.text)) for piece in part
    )


def _pieces(text: str) -> Iterator[Piece]:
    for match in _PIECE.finditer(text):
        whole, field = match.group(), match[1]
        if field is not None:
            if field not in FIELDS:
                why = ", as none takes a format" if re.split(r"[!:.[]", field)[0] in FIELDS else ""
                raise UsageError(
                    f"there is no field {{{field}}}{why}", f"known are {', '.join(sorted(FIELDS))}"
                )
            yield Piece(field, True)
        elif whole in ("{", "}"):
            raise UsageError(
                f"a lone {whole} stands in {text!r}", f"write {whole * 2} for the character itself"
            )
        else:
            yield Piece(whole[0] if whole in ("{{", "}}") else whole, False)


def _unusable(text: str, why: str) -> UsageError:
    return UsageError(f"the template {text!r} cannot be used: {why}", "see archiver export folder --help")


class Filler:
    """Fills one template again and again: directories with the values of the last time are not made up anew."""

    def __init__(self, template: Template) -> None:
        *directories, file = template.parts
        self._directories = [_Filler(part) for part in directories]
        self._file = _Filler(file, ends=True)
        self._fields = [piece.text for part in directories for piece in part if piece.is_field]
        self._last: tuple[tuple[str, ...], tuple[str, ...], int] | None = None

    def filled(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The path with these values, safe on every system: relative, no ``..``, no name and no path too long."""
        of = tuple([values[field] for field in self._fields])
        if self._last is None or self._last[0] != of:
            above = tuple([part.filled(values, names.LONGEST) for part in self._directories])
            self._last = of, above, sum(map(names.units, above)) + len(above)
        _, above, units = self._last
        name = self._file.filled(values, names.LONGEST)
        if units + names.units(name) <= names.LONGEST_PATH:
            return (*above, name)
        return self._shortened(values)

    def _shortened(self, values: Mapping[str, str]) -> tuple[str, ...]:
        longest = names.LONGEST
        while True:
            longest = longest * 3 // 4
            path = tuple([part.filled(values, longest) for part in (*self._directories, self._file)])
            if sum(map(names.units, path)) + len(path) <= names.LONGEST_PATH + 1 or not longest:
                return path


class _Filler:
    """Of one component. A file keeps its extension, whatever its name is cut or changed to."""

    def __init__(self, part: Part, *, ends: bool = False) -> None:
        self._ends = ends
        if ends:
            *part_before, dot, _ = part
            part = (*part_before, Piece(dot.text[:-1], False))
        self._pieces = [p if p.is_field else Piece(names.clean(p.text), False) for p in part]
        self._as_it_is = "".join(
            f"%({piece.text})s" if piece.is_field else piece.text.replace("%", "%%") for piece in self._pieces
        )

    def filled(self, values: Mapping[str, str], longest: int) -> str:
        """The name, safe."""
        ending = f".{values['ext']}" if self._ends else ""
        name = self._as_it_is % values
        if len(name) + len(ending) <= longest and names.is_plain(name):
            return name + ending
        texts = [
            (names.clean(values[p.text]), True)
            if p.text in YIELDING
            else (values[p.text] if p.is_field else p.text, False)
            for p in self._pieces
        ]
        return names.whole(names.joined(texts, max(longest - len(ending), 0)), ending)
