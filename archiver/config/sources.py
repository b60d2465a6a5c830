"""Settings by source: a flag overrides the environment, which overrides the file, then the default.

A message names a setting as the user spelled it. It never quotes the value, which may be a password.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from archiver.config.sections import KEYS, SECTIONS
from archiver.errors import ConfigError

ENVIRONMENT = {f"ARCHIVER_{key.replace('.', '_')}".upper(): key for key in sorted(KEYS)} | {
    "ARCHIVER_ARCHIVE": "archive.directory"
}
"""The environment variable of each key.

Later entries win: ARCHIVER_ARCHIVE over ARCHIVER_ARCHIVE_DIRECTORY.
"""

_LONGEST_QUOTE = 80
_EXPECTED = {bool: "true or false", str: "a string in quotes", Path: "a path"}


class Setting(Struct, frozen=True):
    """A value as the user wrote it, and the name of the setting as the user spelled it.

    ``base`` is the directory for a relative path. ``is_text``: whether the value comes from the environment,
    where everything is text.
    """

    value: object
    name: str
    base: Path = Path()  # resolved only if a relative path needs it: the current directory may be gone
    is_text: bool = False

    def refusal(self, expected: str) -> ConfigError:
        """Return the error that says what is expected instead."""
        return ConfigError(f"{self.name} cannot be used: expected {expected}")


def read_settings(
    tables: Mapping[str, object],
    path: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
) -> dict[str, Setting]:
    """Return the settings that were set, by ``section.key``.

    ``tables`` are the sections of the file at ``path``. The value of a flag that was not given is None.
    Raises ConfigError for an unknown key.
    """
    settings = {
        key: Setting(value, f"{key} in {path}", path.parent) for key, value in _keys_of_file(tables, path)
    }
    settings |= {
        key: Setting(environ[name], name, is_text=True)
        for name, key in ENVIRONMENT.items()
        if environ.get(name)
    }
    for key, value in flags.items():
        if key not in KEYS:
            raise ConfigError(f"unknown setting {key}{_nearest(key, KEYS)}")
        if value is not None:
            settings[key] = Setting(value, key)
    return settings


def section_values(settings: Mapping[str, Setting], section: str) -> dict[str, Any]:
    """Return the values that were set in a section, by field. Raises ConfigError for an invalid value."""
    prefix = f"{section}."
    chosen = {
        key.removeprefix(prefix): setting for key, setting in settings.items() if key.startswith(prefix)
    }
    types = get_type_hints(SECTIONS[section], include_extras=True) if chosen else {}  # costs a millisecond
    return {field: convert(setting, types[field]) for field, setting in chosen.items()}


def convert(setting: Setting, kind: Any) -> Any:
    """Return the value of a setting as ``kind``, the type of a field. Raises ConfigError if it is invalid."""
    if NoneType in get_args(kind):  # None is the default, which no source can state
        kind = get_args(kind)[0]
    try:
        return msgspec.convert(
            _parse(setting, kind), kind, strict=not setting.is_text, dec_hook=_path_below(setting.base)
        )
    except msgspec.ValidationError as error:  # its own message would quote the value
        raise setting.refusal(str(error.__cause__ or _describe_type(kind))) from None
    except ValueError as error:
        raise setting.refusal(str(error)) from None


def _parse(setting: Setting, kind: Any) -> object:
    """Return the value. Strings that have a format of their own are parsed."""
    value = setting.value
    bare, meta = _split_annotated(kind)
    if setting.is_text and bare in (bool, int, float):
        value = str(value).strip()
        if bare is not bool and (meta is None or not meta.extra):
            with suppress(ValueError):
                value = bare(value)  # msgspec reads a text as JSON, which has no ".5"
    if get_origin(bare) is tuple:
        if setting.is_text:
            value = [part.strip() for part in str(value).split(",") if part.strip()]
        part_kind = get_args(bare)[0]
        parts = value if isinstance(value, list | tuple) else ()
        return [_parse(Setting(part, setting.name), part_kind) for part in parts]
    if meta is not None and meta.extra and meta.extra.get("takes_numbers") and type(value) in (int, float):
        value = str(value)
    if isinstance(value, str) and meta is not None and meta.extra:
        return meta.extra["parse"](value)
    return value


def _split_annotated(kind: Any) -> tuple[Any, msgspec.Meta | None]:
    if get_origin(kind) is Annotated:
        bare, meta = get_args(kind)
        return bare, meta
    return kind, None


def _path_below(base: Path) -> Callable[[type, object], Path]:
    """Return a function that turns a value into an absolute path, below ``base`` if relative.

    It expands ``~``.
    """

    def absolute_path(kind: type, value: object) -> Path:
        if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
            raise ValueError(_EXPECTED[Path])
        try:
            return (base / Path(value).expanduser()).absolute()
        except RuntimeError:
            raise ValueError("a path; the home directory for ~ is not known") from None

    return absolute_path


def _describe_type(kind: Any) -> str:
    bare, meta = _split_annotated(kind)
    if meta is not None and meta.description:
        return meta.description
    if get_origin(bare) is Literal:
        *first, last = (f'"{word}"' for word in get_args(bare))
        return f"{', '.join(first)} or {last}"
    return _EXPECTED[bare]


def warn_of_unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each unknown ARCHIVER_ variable. ARCHIVER_TEST_ is reserved for tests."""
    known = {"ARCHIVER_CONFIG", *ENVIRONMENT}
    for name in sorted(environ):
        if name.startswith("ARCHIVER_") and not name.startswith("ARCHIVER_TEST_") and name not in known:
            yield f"unknown environment variable {_quote(name)}{_nearest(name, known)}"


def refuse_unknown_keys(keys: Iterable[str], known: Iterable[str], path: Path, where: str = "") -> None:
    """Raise ConfigError for the first unknown key.

    It names the section that the key belongs to, or else the known key that is most similar. ``where``: the
    section that has the key, for the message.
    """
    known = frozenset(known)
    for key in keys:
        if key not in known:
            place = f" in {where}" if where else ""
            homes = [f"[{section}]" for section in SECTIONS if f"{section}.{key}" in KEYS]
            if homes:
                raise ConfigError(f"{path}: {key}{place} belongs under {' or '.join(homes)}")
            raise ConfigError(f"{path}: unknown setting {_quote(key)}{place}{_nearest(key, known)}")


def _keys_of_file(tables: Mapping[str, object], path: Path) -> Iterator[tuple[str, object]]:
    """Yield each setting of a file as ``section.key``. All of its sections must be known."""
    for section, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"{path}: {section} is a section: write [{section}] on a line of its own")
        known = [key.partition(".")[2] for key in KEYS if key.startswith(f"{section}.")]
        refuse_unknown_keys(table, known, path, f"[{section}]")
        yield from ((f"{section}.{key}", value) for key, value in table.items())


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib  # only after a mistake

    names = difflib.get_close_matches(name[:_LONGEST_QUOTE], sorted(known), n=1, cutoff=0.0)
    return f"; did you mean {names[0]}?" if names else ""


def _quote(name: str) -> str:
    return repr(name[:_LONGEST_QUOTE])
