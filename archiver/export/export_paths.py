"""The paths of the files of an export: from a template, and which file gets one that several want.

A template is ``{username}/{title} ({highlight_pk})/{taken_at} {code}.{ext}``. Fields are looked up by name;
Python's format strings, which can reach attributes, are not used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct

from archiver.errors import UsageError
from archiver.export import file_names
from archiver.export.export_entry import ExportEntry
from archiver.export.export_scan import MAX_DEPTH
from archiver.export.manifest import Manifest

DEFAULT_TEMPLATE = "{username}/{title} ({highlight_pk})/{taken_at} {code}.{ext}"

ACCOUNT_FIELDS = frozenset({"username", "full_name", "user_pk"})
HIGHLIGHT_FIELDS = frozenset({"title", "highlight_pk"})
ITEM_FIELDS = frozenset(
    {"taken_at", "date", "year", "month", "day", "code", "item_pk", "position", "type", "role", "ext"}
)
FIELDS = ACCOUNT_FIELDS | HIGHLIGHT_FIELDS | ITEM_FIELDS
FREE_TEXT_FIELDS = frozenset({"username", "full_name", "title", "code"})
"""Fields with texts written by strangers. Only these are cleaned, and shortened if a path is too long."""

_MAX_FIELD_LENGTHS = (
    dict.fromkeys(FREE_TEXT_FIELDS, 0)
    | dict.fromkeys(("user_pk", "highlight_pk", "item_pk"), 40)
    | {"taken_at": 19, "date": 10, "year": 7, "month": 7, "day": 7}  # or "undated"
    | {"position": 10, "type": 5, "role": 9, "ext": 4}
)
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class TemplatePiece(Struct, frozen=True):
    """A field by its name, or literal text."""

    text: str
    is_field: bool


_EXT = TemplatePiece("ext", True)

PathComponent = tuple[TemplatePiece, ...]
"""A directory name or the file name in a path."""


class PathTemplate(Struct, frozen=True):
    """The template of a path below the export, made by ``parse_template``."""

    components: tuple[PathComponent, ...]

    @property
    def fields(self) -> frozenset[str]:
        """Return the names of all fields in it."""
        return frozenset(piece.text for part in self.components for piece in part if piece.is_field)

    def beside(self, known: frozenset[str], name: str) -> PathTemplate:
        """Return the template of a file ``name`` that has only the fields ``known``.

        It goes into the deepest directory whose name needs only those.
        """
        directories: list[PathComponent] = []
        for component in self.components[:-1]:
            if any(piece.is_field and piece.text not in known for piece in component):
                break
            directories.append(component)
        return PathTemplate((*directories, (TemplatePiece(f"{name}.", False), _EXT)))


def parse_template(text: str) -> PathTemplate:
    """Return the template. Raises UsageError if a field is unknown or the path could not be used."""
    components = tuple(tuple(_pieces(part)) for part in text.split("/"))
    too_deep = f"it has more than {MAX_DEPTH} names" if len(components) > MAX_DEPTH else ""
    reasons = (*map(_why_unusable, components), too_deep, _why_file_unusable(components[-1]))
    if reason := next(filter(None, reasons), None):
        raise UsageError(
            f"the template {text!r} cannot be used: {reason}", "see archiver export folder --help"
        )
    return PathTemplate(components)


def _why_unusable(component: PathComponent) -> str:
    """Return why a component could not be a name; "" if it could."""
    if not component:
        return "a name in it is empty, or it begins or ends with /"
    if _is_literal(component) and not "".join(piece.text for piece in component).strip(". "):
        return "a name in it consists of dots and blanks"
    longest = sum(
        _MAX_FIELD_LENGTHS[piece.text] if piece.is_field else file_names.length(file_names.clean(piece.text))
        for piece in component
    )
    if longest > file_names.MAX_LENGTH:
        return f"a name in it may have {longest} characters, the limit is {file_names.MAX_LENGTH}"
    return ""


def _why_file_unusable(component: PathComponent) -> str:
    """Return why the last component could not be the name of a file; "" if it could."""
    *stem, dot, ext = (TemplatePiece("", False), TemplatePiece("", False), *component)
    if ext != _EXT or not dot.text.endswith("."):
        return "it must end in .{ext}, which distinguishes a video from its thumbnail"
    if _is_literal(stem) and not dot.text.strip(". "):
        return "the file has no name before .{ext}"
    return ""


def _is_literal(pieces: PathComponent | list[TemplatePiece]) -> bool:
    return not any(piece.is_field for piece in pieces)


def _pieces(text: str) -> Iterator[TemplatePiece]:
    for match in _TOKEN.finditer(text):
        token, field = match.group(), match[1]
        if field is not None:
            if field not in FIELDS:
                why = "; a field cannot have a format" if re.split(r"[!:.[]", field)[0] in FIELDS else ""
                raise UsageError(
                    f"there is no field {{{field}}}{why}", f"the fields are {', '.join(sorted(FIELDS))}"
                )
            yield TemplatePiece(field, True)
        elif token in ("{", "}"):
            raise UsageError(
                f"{text!r} contains a single {token}", f"write {token * 2} for the character itself"
            )
        else:
            yield TemplatePiece(token[0] if token in ("{{", "}}") else token, False)


class PathFiller:
    """Fills one template many times. Remembers the directories of the last path."""

    def __init__(self, template: PathTemplate) -> None:
        *directories, file = template.components
        self._directories = [_ComponentFiller(component) for component in directories]
        self._file = _ComponentFiller(file, is_file=True)
        self._fields = [piece.text for part in directories for piece in part if piece.is_field]
        self._last: tuple[tuple[str, ...], tuple[str, ...], int] | None = None

    def fill(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the path with these values, safe on every system: relative, without ``..``, not too long."""
        key = tuple([values[field] for field in self._fields])
        if self._last is None or self._last[0] != key:
            names = tuple([part.fill(values, file_names.MAX_LENGTH) for part in self._directories])
            self._last = key, names, sum(map(file_names.utf16_units, names)) + len(names)
        _, directories, units = self._last
        name = self._file.fill(values, file_names.MAX_LENGTH)
        if units + file_names.utf16_units(name) <= file_names.MAX_PATH_LENGTH:
            return (*directories, name)
        return self._fill_shorter(values)

    def _fill_shorter(self, values: Mapping[str, str]) -> tuple[str, ...]:
        limit = file_names.MAX_LENGTH
        while True:
            limit = limit * 3 // 4
            path = tuple([part.fill(values, limit) for part in (*self._directories, self._file)])
            units = sum(map(file_names.utf16_units, path)) + len(path) - 1
            if units <= file_names.MAX_PATH_LENGTH or not limit:
                return path


class _ComponentFiller:
    """Fills one component. A file keeps its extension, however its name is shortened or changed."""

    def __init__(self, component: PathComponent, *, is_file: bool = False) -> None:
        self._is_file = is_file
        if is_file:
            *stem, dot, _ = component
            component = (*stem, TemplatePiece(dot.text[:-1], False))
        self._pieces = [
            piece if piece.is_field else TemplatePiece(file_names.clean(piece.text), False)
            for piece in component
        ]
        self._format = "".join(
            f"%({piece.text})s" if piece.is_field else piece.text.replace("%", "%%") for piece in self._pieces
        )

    def fill(self, values: Mapping[str, str], limit: int) -> str:
        """Return the name, which is safe and at most as long as ``limit``."""
        ending = f".{values['ext']}" if self._is_file else ""
        name = self._format % values
        if len(name) + len(ending) <= limit and file_names.is_safe_ascii(name):
            return name + ending
        texts = [
            (file_names.clean(values[piece.text]), True)
            if piece.text in FREE_TEXT_FIELDS
            else (values[piece.text] if piece.is_field else piece.text, False)
            for piece in self._pieces
        ]
        return file_names.safe_name(file_names.join_parts(texts, max(limit - len(ending), 0)), ending)


class PathAllocator:
    """Gives each file of an export its own path. A file that has a path keeps it; a later one gets a suffix.

    Two paths are the same if their keys are equal: see ``file_names.collision_key``.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._avoided: set[str] = set()
        self._spellings: dict[str, tuple[str, ...]] = {"": ()}
        self._keys: dict[tuple[str, ...], str] = {(): ""}

    def allocate(self, entries: Sequence[ExportEntry]) -> dict[str, tuple[str, str]]:
        """Return a path and its key for each id; an id is missing if even its last suffix left no free path.

        The paths that these entries had before are free for all of them.
        """
        first_choices = [self._candidate(entry, 0) for entry in entries]
        holders = self._manifest.holders([key for _, key in first_choices])
        movers = {entry.id for entry in entries}
        used = set(self._avoided)
        paths = {}
        for entry, (path, key) in zip(entries, first_choices, strict=True):
            holder, suffixes = holders.get(key), 0
            while key in used or (holder is not None and holder not in movers):
                suffixes += 1
                if suffixes > len(entry.suffixes):
                    break
                path, key = self._candidate(entry, suffixes)
                holder = self._manifest.holders([key]).get(key)
            else:
                used.add(key)
                paths[entry.id] = path, key
        return paths

    def avoid(self, key: str) -> None:
        """Never allocate this path: a foreign file is there."""
        self._avoided.add(key)

    def preferred_path(self, entry: ExportEntry) -> str | None:
        """Return the path without any suffix if no other file of this export has it; None otherwise."""
        path, key = self._candidate(entry, 0)
        holders: Collection[str] = self._manifest.holders([key]).values()
        return path if all(holder == entry.id for holder in holders) and key not in self._avoided else None

    def _candidate(self, entry: ExportEntry, suffixes: int) -> tuple[str, str]:
        """Return the path with this number of suffixes, and its key."""
        name = entry.path[-1]
        if suffixes:
            name = file_names.with_suffix(name, " ".join(entry.suffixes[:suffixes]))
        directory, key = self._directory(entry.path[:-1])
        return "/".join((*directory, name)), f"{key}{file_names.collision_key(name)}"

    def _directory(self, path: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
        """Return a directory as this export spells it, and its key, which ends with ``/``.

        On another system, two spellings may be the same directory: the first one is used for both.
        """
        key = self._keys.get(path)
        if key is not None:
            return self._spellings[key], key
        parent, key = self._directory(path[:-1])
        key += file_names.collision_key(path[-1])
        if f"{key}/" not in self._spellings:
            example = self._manifest.path_below(key)
            name = example.split("/")[len(path) - 1] if example is not None else path[-1]
            self._spellings[f"{key}/"] = (*parent, name)
        self._keys[path] = f"{key}/"
        return self._spellings[f"{key}/"], f"{key}/"
