"""The accounts of a configuration: ``[[accounts]]`` of the file and the lines of ``sync.accounts_file``, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from archiver.config import files
from archiver.config.settings import refuse_unknown
from archiver.errors import ConfigError, TargetError
from archiver.model.target import Target, parse_target, read_targets

_NAMES = ("username", "user_id", "target")


def from_tables(tables: object, path: Path) -> Iterator[Target]:
    """The targets of ``[[accounts]]``. Raises ConfigError, saying which entry is wrong."""
    if not isinstance(tables, list):
        raise ConfigError(
            f"{path}: accounts is a list: write [[accounts]], in two brackets, above each account"
        )
    for number, table in enumerate(tables, start=1):
        where = f"{path}: account {number}"
        if not isinstance(table, dict):
            raise ConfigError(f"{where} is no table: write [[accounts]] above it")
        refuse_unknown(table, (*_NAMES, "highlights"), path, f"[[accounts]] {number}, ")
        try:
            yield _target(table, where)
        except TargetError as error:
            raise ConfigError(f"{where}: {error}", error.hint) from error


def from_file(path: Path) -> Iterator[Target]:
    """The targets of a list, one a line. Raises ConfigError, naming the line."""
    for number, line in enumerate(files.lines(path), start=1):
        for text in read_targets([line]):
            try:
                yield parse_target(text)
            except TargetError as error:
                raise ConfigError(f"{path}, line {number}: {error}", error.hint) from error


def each_once(targets: Iterable[Target]) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The targets without repetitions, the first of each counts; a warning where a later one wanted other highlights."""
    first: dict[tuple[str | None, ...], Target] = {}
    warnings = []
    for target in targets:
        kept = first.setdefault((target.username, target.user_pk, target.highlight_pk), target)
        if kept.highlights != target.highlights:
            warnings.append(
                f"{target.text} is listed twice with different highlights: the first entry counts"
            )
    return tuple(first.values()), tuple(warnings)


def _target(table: dict[str, object], where: str) -> Target:
    given = [name for name in _NAMES if name in table]
    if len(given) != 1:
        raise ConfigError(f"{where} must have one of username, user_id and target, and has {len(given)}")
    text = _text(table[given[0]], given[0], where)
    globs = _globs(table["highlights"], where) if "highlights" in table else ()
    if given[0] == "username" and text.isdigit():
        text = f"@{text}"
    target = parse_target(text, globs)
    if given[0] == "username" and (target.username is None or "/" in text):
        raise ConfigError(f"{where}: username is not a username", "put a link or a number under target")
    if given[0] == "user_id" and target.user_pk is None:
        raise ConfigError(f"{where}: user_id is not a number", "put a name under username")
    return target


def _text(value: object, name: str, where: str) -> str:
    if name == "user_id" and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**40:
        return str(value)
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {name} must be a text in quotes")
    return value


def _globs(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(glob, str) and glob for glob in value):
        raise ConfigError(f"{where}: highlights is a list of title patterns", "leave it out to keep all")
    return tuple(value)
