"""The accounts of a configuration: ``[[accounts]]`` in its file and the lines of ``sync.accounts_file``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from archiver.config import config_files
from archiver.config.sources import refuse_unknown_keys
from archiver.errors import ConfigError, TargetError
from archiver.model.target import Target, parse_target, read_targets

_NAMES = ("username", "user_id", "target")


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
        refuse_unknown_keys(table, (*_NAMES, "highlights"), path, f"[[accounts]] {number}, ")
        try:
            yield _read_target(table, where)
        except TargetError as error:
            raise ConfigError(f"{where}: {error}", error.hint) from error


def read_account_file(path: Path) -> Iterator[Target]:
    """Yield the targets of a list with one account per line. Raises ConfigError with the line number."""
    for number, line in enumerate(config_files.read_lines(path), start=1):
        for text in read_targets([line]):
            try:
                yield parse_target(text)
            except TargetError as error:
                raise ConfigError(f"{path}, line {number}: {error}", error.hint) from error


def deduplicate(targets: Iterable[Target]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """Return each account once, as its first entry states it, and warnings.

    There is a warning for each later entry that selects other highlights.
    """
    first_entries: dict[tuple[str | None, ...], Target] = {}
    warnings = []
    for target in targets:
        identity = (target.username, target.user_pk, target.highlight_pk)
        first = first_entries.setdefault(identity, target)
        if first.highlights != target.highlights:
            warnings.append(
                f"{target.text} is listed twice with different highlights: the first entry counts"
            )
    return tuple(first_entries.values()), tuple(warnings)


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
