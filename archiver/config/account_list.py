"""The accounts of a configuration: ``[[accounts]]`` in its file and the lines of ``sync.accounts_file``.

An entry is added or removed as lines of text, so that all other lines stay as they are. The new text is
written only if, read as TOML, it differs from the old one by exactly these entries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from archiver.config import config_files
from archiver.config.sections import Config
from archiver.config.sources import refuse_unknown_keys
from archiver.errors import ConfigError, TargetError, UsageError
from archiver.model.target import Target, TargetIdentity, parse_target, read_targets

_NAMES = ("username", "user_id", "target")
_ENTRY_HEAD = re.compile(r"""\s*\[\[\s*(accounts|"accounts"|'accounts')\s*\]\]""")
_ANY_HEAD = re.compile(r"\s*\[")
_NO_CONTENT = re.compile(r"\s*(#|$)")


class ListedEntry(Struct, frozen=True):
    """An entry of the list of accounts, and where it is written. ``line``: its first line, from 1."""

    target: Target
    path: Path
    line: int


def read_account_tables(tables: object, path: Path) -> Iterator[Target]:
    """Yield the targets of ``[[accounts]]``. Raises ConfigError with the number of an invalid entry."""
    if not isinstance(tables, list):
        raise ConfigError(
            f"{path}: accounts must be a list: write [[accounts]], in double brackets, above each account"
        )
    for number, table in enumerate(tables, start=1):
        where = f"{path}: account {number}"
        if not isinstance(table, dict):
            raise ConfigError(f"{where} is not a table: write [[accounts]] above it")
        refuse_unknown_keys(table, (*_NAMES, "highlights"), path, f"account {number} ([[accounts]])")
        try:
            yield _read_target(table, where)
        except TargetError as error:
            raise ConfigError(f"{where}: {error}", error.hint) from error


def read_account_file(path: Path, what: str = "sync.accounts_file") -> Iterator[Target]:
    """Yield the targets of a list with one account per line. Raises ConfigError with the line number.

    ``what``: what the file is, for messages.
    """
    for entry in _entries_of_lines(config_files.read_lines(path, what), path):
        yield entry.target


def deduplicate(targets: Iterable[Target]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Return each account once, as its first entry states it, and warnings.

    There is a warning for each later entry that selects other highlights.
    """
    first_entries: dict[TargetIdentity, Target] = {}
    warnings = []
    for target in targets:
        first = first_entries.setdefault(target.identity, target)
        if first.highlights != target.highlights:
            warnings.append(
                f"{target.text} is listed twice with different highlights: the first entry counts"
            )
    return tuple(first_entries.values()), tuple(warnings)


def entry_fields(target: Target) -> dict[str, str | list[str]]:
    """Return the keys and values of ``[[accounts]]`` that name a target."""
    if target.username is not None:
        fields: dict[str, str | list[str]] = {"username": target.username}
    elif target.user_pk is not None:
        fields = {"user_id": target.user_pk}
    else:
        fields = {"target": target.text}
    return {**fields, "highlights": list(target.highlights)} if target.highlights else fields


def entry_lines(target: Target) -> list[str]:
    """Return the lines of ``[[accounts]]`` that name a target."""
    fields = entry_fields(target).items()
    return ["[[accounts]]", *(f"{name} = {toml_value(value)}" for name, value in fields)]


def toml_value(value: str | list[str]) -> str:
    """Return a string, or a list of strings, as TOML writes it."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")


def add_to_list(config: Config, targets: Sequence[Target], *, dry_run: bool = False) -> None:
    """Add these targets to the files that ``file_for`` names, below their last entries.

    The caller has left out what is listed. ``dry_run``: write nothing. Raises UsageError if there is no
    configuration, ConfigError if its entries cannot be found as lines, StorageError if a file cannot be
    written.
    """
    path = require_file(config)
    by_file: dict[Path, list[Target]] = {}
    for target in targets:
        by_file.setdefault(file_for(config, target), []).append(target)
    with config_files.hold(path):
        for file, added in by_file.items():
            add = _add_tables if file == path else _add_lines
            add(file, added, dry_run=dry_run)


def file_for(config: Config, target: Target) -> Path:
    """Return the file to which a target is added: ``sync.accounts_file`` if there is one, as a line.

    A target with title patterns, which a line cannot have, is added to the configuration. Raises UsageError
    if there is none.
    """
    path, list_file = require_file(config), config.sync.accounts_file
    return path if list_file is None or target.highlights else list_file


def _add_tables(path: Path, targets: Sequence[Target], *, dry_run: bool) -> None:
    lines, tables = _read_tables(path)
    listed = {entry.identity for entry in read_account_tables(tables.get("accounts", []), path)}
    targets = [target for target in targets if target.identity not in listed]
    if not targets:  # another process has added them
        return
    spans = _entry_spans(lines, tables, path)
    place = _after_comments(lines, spans[-1][1]) if spans else len(lines) - (lines[-1] == "")
    added = [line for target in targets for line in ("", *entry_lines(target))][place == 0 :]
    if place < len(lines) and not _is_blank(lines[place]):
        added.append("")
    if lines[0].endswith("\r"):
        added = [f"{line}\r" for line in added]
    end = [""] if place == len(lines) else []  # the last line had no end
    changed = [*lines[:place], *added, *end, *lines[place:]]
    wanted = [*_tables_of(tables), *map(entry_fields, targets)]
    _replace_tables(path, changed, tables, wanted, dry_run=dry_run)


def _add_lines(path: Path, targets: Sequence[Target], *, dry_run: bool) -> None:
    lines = config_files.read_lines(path)
    listed = {entry.target.identity for entry in _entries_of_lines(lines, path)}
    added = [_entry_line(target) for target in targets if target.identity not in listed]
    if not added:  # another process has added them
        return
    if lines[0].endswith("\r"):
        added = [f"{line}\r" for line in added]
    before = lines[:-1] if lines[-1] == "" else lines
    config_files.replace_text(path, "\n".join([*before, *added, ""]), dry_run=dry_run)


def _entry_line(target: Target) -> str:
    if target.username is not None:
        return f"@{target.username}" if target.username.isdigit() else target.username
    return target.user_pk or target.text


def remove_from_list(
    config: Config, matches: Callable[[Target], bool], *, dry_run: bool = False
) -> tuple[ListedEntry, ...]:
    """Remove every entry whose target ``matches`` from the list of accounts; return what was removed.

    This covers ``[[accounts]]`` and the lines of ``sync.accounts_file``, also entries that are listed twice.
    An entry goes with the comments on its own lines; all other lines stay. ``dry_run``: write nothing.
    Without a file there is no list. Raises ConfigError if the entries cannot be found as lines, StorageError
    if a file cannot be written; also with ``dry_run``.
    """
    return tuple(entry for each in _remove(config, matches, dry_run=dry_run) for entry in each.removed)


def find_comments(
    config: Config, matches: Callable[[Target], bool], mentions: Callable[[str], bool], *, dry_run: bool
) -> tuple[str, ...]:
    """Return where a comment ``mentions`` something, besides those that go with the entries that match.

    Each is the path of a file and the number of a line: once these entries are removed from it; with
    ``dry_run``, as it is. Raises what ``remove_from_list`` raises.
    """
    return tuple(
        f"{each.path}, line {number if dry_run else place}"
        for each in _remove(config, matches, dry_run=True)
        for place, (number, line) in enumerate(each.kept_lines(), start=1)
        if mentions(line.partition("#")[2])
    )


class _ShortenedFile(Struct, frozen=True):
    path: Path
    removed: list[ListedEntry]
    before: Sequence[str]
    spans: Sequence[tuple[int, int]]

    def kept_lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are not removed, with their numbers before."""
        removed = {place for start, end in self.spans for place in range(start, end)}
        yield from ((place + 1, line) for place, line in enumerate(self.before) if place not in removed)


def _remove(config: Config, matches: Callable[[Target], bool], *, dry_run: bool) -> list[_ShortenedFile]:
    """Return the files of the list as they are without the entries that match."""
    if config.path is None:
        return []
    with config_files.hold(config.path):
        files = [_remove_tables(config.path, matches, dry_run=dry_run)]
        if config.sync.accounts_file is not None:
            files.append(_remove_lines(config.sync.accounts_file, matches, dry_run=dry_run))
        return files


def require_file(config: Config) -> Path:
    """Return the file of the configuration. Raises UsageError if there is none."""
    if config.path is None:
        from archiver.config.load_config import default_path  # which imports this module

        raise UsageError(
            f"there is no configuration at {default_path()}",
            "archiver init writes one; --config uses another",
        )
    return config.path


def _remove_tables(path: Path, matches: Callable[[Target], bool], *, dry_run: bool) -> _ShortenedFile:
    lines, tables = _read_tables(path)
    found = [*enumerate(read_account_tables(tables.get("accounts", []), path))]
    doomed = [number for number, target in found if matches(target)]
    if not doomed:
        return _ShortenedFile(path, [], lines, [])
    spans = _entry_spans(lines, tables, path)
    wanted = [table for number, table in enumerate(_tables_of(tables)) if number not in doomed]
    cut = [_with_blank_line(lines, *spans[number]) for number in doomed]
    _replace_tables(path, _without_lines(lines, cut), tables, wanted, dry_run=dry_run)
    removed = [
        ListedEntry(target, path, spans[number][0] + 1) for number, target in found if number in doomed
    ]
    return _ShortenedFile(path, removed, lines, cut)


def _with_blank_line(lines: Sequence[str], start: int, end: int) -> tuple[int, int]:
    """Return the span with the blank line before it, if there is one behind it too: one of them stays."""
    has_two = start > 0 and end < len(lines) and _is_blank(lines[start - 1]) and _is_blank(lines[end])
    return start - has_two, end


def _without_lines(lines: Sequence[str], spans: Iterable[tuple[int, int]]) -> list[str]:
    rest = list(lines)
    for start, end in sorted(spans, reverse=True):
        rest[start:end] = [""] if end == len(rest) else []  # the end of the line before stays
    return rest


def _remove_lines(path: Path, matches: Callable[[Target], bool], *, dry_run: bool) -> _ShortenedFile:
    lines = config_files.read_lines(path)
    removed = [entry for entry in _entries_of_lines(lines, path) if matches(entry.target)]
    cut = sorted({(entry.line - 1, entry.line) for entry in removed})
    if removed:
        config_files.replace_text(path, "\n".join(_without_lines(lines, cut)), dry_run=dry_run)
    return _ShortenedFile(path, removed, lines, cut)


def _entries_of_lines(lines: Iterable[str], path: Path) -> Iterator[ListedEntry]:
    for number, line in enumerate(lines, start=1):
        for text in read_targets([line]):
            try:
                yield ListedEntry(parse_target(text), path, number)
            except TargetError as error:
                raise ConfigError(f"{path}, line {number}: {error}", error.hint) from error


def _read_tables(path: Path) -> tuple[list[str], Mapping[str, object]]:
    lines = config_files.read_lines(path, "the configuration")
    return lines, config_files.parse_toml("\n".join(lines), path)


def _tables_of(tables: Mapping[str, object]) -> list[object]:
    accounts = tables.get("accounts", [])
    assert isinstance(accounts, list)  # the configuration has been loaded
    return accounts


def _entry_spans(lines: Sequence[str], tables: Mapping[str, object], path: Path) -> list[tuple[int, int]]:
    """Return the first line of each entry, and the line after its last key."""
    heads = [number for number, line in enumerate(lines) if _ENTRY_HEAD.match(line)]
    if len(heads) != len(_tables_of(tables)) or ("accounts" in tables and not heads):
        raise ConfigError(f"the accounts in {path} are not all in [[accounts]] tables", "change it by hand")
    spans = []
    for head in heads:
        after = (number for number in range(head + 1, len(lines)) if _ANY_HEAD.match(lines[number]))
        end = next(after, len(lines))
        while _NO_CONTENT.match(lines[end - 1]):
            end -= 1
        spans.append((head, end))
    return spans


def _after_comments(lines: Sequence[str], place: int) -> int:
    """Return the line after the comments that directly follow an entry."""
    while place < len(lines) and lines[place].lstrip().startswith("#"):
        place += 1
    return place


def _is_blank(line: str) -> bool:
    return not line.strip()


def _replace_tables(
    path: Path,
    lines: Sequence[str],
    before: Mapping[str, object],
    wanted: Sequence[object],
    *,
    dry_run: bool,
) -> None:
    """Write the lines, if as TOML they are ``before`` with these entries."""
    text = "\n".join(lines)
    others = {name: table for name, table in before.items() if name != "accounts"}
    try:
        after = config_files.parse_toml(text, path)
    except ConfigError:
        after = {}
    if after != ({**others, "accounts": wanted} if wanted else others):
        raise ConfigError(f"{path} is written in a way that this command cannot change", "change it by hand")
    config_files.replace_text(path, text, dry_run=dry_run)


def _read_target(table: dict[str, object], where: str) -> Target:
    names = [name for name in _NAMES if name in table]
    if len(names) != 1:
        raise ConfigError(f"{where} must have exactly one of username, user_id and target, not {len(names)}")
    name = names[0]
    text = _read_text(table[name], name, where)
    globs = _read_globs(table["highlights"], where) if "highlights" in table else ()
    if name == "username" and text.isdigit():
        text = f"@{text}"
    target = parse_target(text, globs)
    if name == "username" and (target.username is None or "/" in text):
        raise ConfigError(f"{where}: username is not valid", "use target for a link or a number")
    if name == "user_id" and target.user_pk is None:
        raise ConfigError(f"{where}: user_id is not a number", "use username for a name")
    return target


def _read_text(value: object, name: str, where: str) -> str:
    if name == "user_id" and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**40:
        return str(value)
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {name} must be a string in quotes")
    return value


def _read_globs(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(glob, str) and glob for glob in value):
        raise ConfigError(f"{where}: highlights must be a list of title patterns", "leave it out to keep all")
    return tuple(value)
